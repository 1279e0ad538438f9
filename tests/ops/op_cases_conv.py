"""Cases of convolution, its transpose, and windows as columns."""

from collections.abc import Callable
from typing import Any

import numpy as np
import op_reference as ref
import op_reference_image as image
from op_case import Case, Input, case, options, real


def _case(
    name: str, reference: Callable, note: str, inputs: list[Input], order: int, **settings: Any
) -> Case:
    def expected(*arrays: np.ndarray) -> np.ndarray:
        return reference(*arrays, **settings)

    # PyTorch warns of the copy that an even window with "same" needs
    torch = note != "same even"
    return case(name, inputs, expected, options(**settings), order=order, note=note, torch=torch)


def conv(note: str, *inputs: Input, order: int = 2, **geometry: Any) -> Case:
    return _case("conv2d", ref.conv2d, note, list(inputs), order, **geometry)


def conv1d(note: str, *inputs: Input, order: int = 2, **geometry: Any) -> Case:
    return _case("conv1d", image.conv1d, note, list(inputs), order, **geometry)


def transpose1d(note: str, *inputs: Input, order: int = 2, **geometry: Any) -> Case:
    return _case("conv_transpose1d", image.conv_transpose1d, note, list(inputs), order, **geometry)


def transpose2d(note: str, *inputs: Input, order: int = 2, **geometry: Any) -> Case:
    return _case("conv_transpose2d", image.conv_transpose2d, note, list(inputs), order, **geometry)


def unfold(note: str, x: Input, *args: Any) -> Case:
    return case("unfold", [x], lambda x: image.unfold(x, *args), options(*args), note=note)


def fold(note: str, x: Input, *args: Any) -> Case:
    return case("fold", [x], lambda x: image.fold(x, *args), options(*args), note=note)


CONVOLUTIONS = [
    conv("", real(2, 2, 4, 3), real(2, 2, 3, 3), real(2), padding=1),
    conv("order 3", real(1, 2, 3, 3), real(2, 2, 2, 2), order=3),
    conv("pointwise", real(2, 3, 2, 2), real(2, 3, 1, 1)),
    conv("stride", real(1, 2, 5, 4), real(2, 2, 3, 2), stride=(2, 1), padding=(1, 0)),
    conv("dilation", real(1, 1, 6, 5), real(2, 1, 2, 2), dilation=(3, 2)),
    conv("groups", real(1, 4, 3, 3), real(4, 2, 2, 2), groups=2),
    conv("depthwise", real(1, 3, 3, 3), real(3, 1, 3, 3), real(3), padding=1, groups=3),
    conv("same", real(1, 1, 4, 4), real(1, 1, 3, 1), padding="same"),
    conv("same even", real(1, 1, 3, 4), real(1, 1, 2, 4), padding="same"),
    conv("valid", real(1, 1, 4, 4), real(1, 1, 3, 1), padding="valid"),
    conv("no batch", real(2, 3, 3), real(1, 2, 3, 3)),
    conv("unread border", real(1, 1, 6, 6), real(1, 1, 2, 2), stride=3),
    conv("empty", real(0, 2, 4, 3), real(2, 2, 3, 3), real(2)),
    conv1d("", real(2, 2, 4), real(3, 2, 3), real(3), padding=1),
    conv1d("order 3", real(1, 1, 3), real(2, 1, 2), order=3),
    conv1d("stride", real(1, 2, 6), real(2, 2, 3), stride=2, dilation=2, padding=1),
    conv1d("groups", real(2, 4, 3), real(2, 2, 2), real(2), groups=2),
    conv1d("same", real(1, 1, 4), real(1, 1, 3), padding="same", dilation=2),
    conv1d("same even", real(1, 2, 4), real(1, 2, 2), padding="same"),
    conv1d("no batch", real(2, 3), real(1, 2, 2), real(1)),
    conv1d("empty", real(0, 2, 3), real(1, 2, 2)),
    transpose2d("", real(2, 2, 2, 3), real(2, 2, 3, 2), real(2), stride=2, padding=1),
    transpose2d("order 3", real(1, 1, 2, 2), real(1, 2, 2, 2), stride=(2, 1), order=3),
    transpose2d("plain", real(1, 2, 3, 2), real(2, 1, 2, 2)),
    transpose2d("groups", real(1, 4, 2, 2), real(4, 1, 2, 3), real(2), groups=2, padding=(0, 1)),
    transpose2d(
        "output padding",
        real(1, 1, 2, 2),
        real(1, 2, 3, 3),
        stride=(3, 2),
        padding=1,
        output_padding=(2, 1),
    ),
    transpose2d(
        "output padding beyond a stride",
        real(1, 1, 2, 3),
        real(1, 1, 2, 2),
        stride=(1, 2),
        dilation=(3, 4),
        padding=1,
        output_padding=(2, 3),
    ),
    transpose2d("no batch", real(2, 2, 2), real(2, 1, 2, 2), real(1), dilation=2),
    transpose2d("empty", real(0, 1, 2, 2), real(1, 1, 2, 2)),
    transpose1d("", real(2, 2, 3), real(2, 3, 3), real(3), stride=2, padding=1, output_padding=1),
    transpose1d("order 3", real(1, 1, 2), real(1, 2, 2), stride=2, order=3),
    transpose1d("groups", real(1, 4, 2), real(4, 1, 2), groups=2, dilation=2),
    transpose1d("no batch", real(2, 3), real(2, 1, 2), real(1)),
    transpose1d("empty", real(0, 1, 2), real(1, 1, 2)),
    unfold("", real(2, 2, 3, 3), 2),
    unfold("options", real(1, 1, 4, 5), (2, 3), (2, 1), (1, 0), (1, 2)),
    unfold("no batch", real(2, 2, 3), (1, 2)),
    unfold("empty", real(0, 2, 3, 3), 2),
    fold("", real(2, 8, 4), (3, 3), 2),
    fold("options", real(1, 6, 8), (4, 5), (2, 3), (2, 1), (1, 0), (1, 2)),
    fold("no batch", real(2, 2), (2, 2), (1, 2), 1, 0, (1, 2)),
    fold("empty", real(0, 8, 4), (3, 3), 2),
]
