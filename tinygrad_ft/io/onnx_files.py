"""load_onnx and save_onnx: ONNX files with errors that name them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_ft.io.errors import BadContentError, WriteError, named_errors
from tinygrad_ft.io.onnx_reader import OnnxNetwork, read_onnx
from tinygrad_ft.io.onnx_writer import write_onnx


def load_onnx(path: str | os.PathLike[str]) -> OnnxNetwork:
    """Read a classification network of the ResNet kind from an ONNX file.

    Convolutions, batch norms, activations, poolings, additions, one last Gemm (or MatMul and Add);
    the operators that are read are in docs/weights.md, others are refused by name. All numbers
    become float32. Weights in a second file are read if it lies beside the first.

    Needs the package onnx. Raises WeightsError, with one sentence that names the file.
    """
    source = Path(path)
    with named_errors(source):
        return read_onnx(source)


def save_onnx(
    path: str | os.PathLike[str],
    graph: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    metadata: Mapping[str, str],
    *,
    version: str,
) -> None:
    """Write a network to an ONNX file (opset 17), atomically; the number of images is left open.

    graph: the network as plain JSON, as `models.graph_of` makes it.
    weights: its state_dict as arrays. metadata: strings to keep in the file.
    Needs the package onnx. Raises WriteError.
    """
    target = Path(path)
    try:
        write_onnx(target, graph, weights, metadata, version)
    except BadContentError as problem:
        raise WriteError(f"{target} {problem}") from problem
