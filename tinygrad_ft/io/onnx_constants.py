"""The parts of an ONNX graph that are known beforehand: shapes and paddings put together by nodes.

Exporters write `x.flatten(1)` as Shape, Gather, Unsqueeze, Concat and Reshape, and the paddings of
a shortcut as five nodes on constants. The reference evaluator of the package `onnx` computes them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ft.io.errors import BadContentError
from tinygrad_ft.io.onnx_proto import described, onnx_package

FOLDED = (
    "Cast", "Concat", "ConstantOfShape", "Gather", "Reshape", "Slice", "Squeeze", "Transpose",
    "Unsqueeze",
)  # fmt: skip

#: stands for the number of images in a shape: no real extent is negative but -1
BATCH = -987_654_321

_MAX_NUMBERS = 4096  # shapes have a handful


def fold(node: Any, inputs: dict[str, np.ndarray], opset: int) -> np.ndarray:
    """The output of a node of FOLDED whose inputs are all known. Raises BadContentError.

    inputs: {name: array}. Only arrays of the size that shapes have are computed with.
    """
    sizes = [array.size for array in inputs.values()]
    if node.op_type == "ConstantOfShape":
        # an extent beyond int64 wraps around; the check of each keeps the product in range
        extents = [int(n) for array in inputs.values() for n in array.reshape(-1)[:8]]
        if any(not 0 <= n <= _MAX_NUMBERS for n in extents):
            sizes.append(_MAX_NUMBERS + 1)
        else:
            sizes.append(int(np.prod(extents, dtype=np.float64)))
    if max(sizes, default=0) > _MAX_NUMBERS:
        raise BadContentError(f"computes with large constants in {described(node)}; refused")
    helper = onnx_package("onnx.helper")
    reference = onnx_package("onnx.reference")
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), None)
        for name, array in inputs.items()
    ]
    wanted = [helper.make_tensor_value_info(node.output[0], 0, None)]
    graph = helper.make_graph([node], "constants", given, wanted)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        (result,) = reference.ReferenceEvaluator(model).run(None, dict(inputs))
    except Exception as fault:  # the evaluator is plain NumPy and raises whatever that raises
        raise BadContentError(f"is damaged: {described(node)} makes no sense") from fault
    array = np.asarray(result)
    if array.size > _MAX_NUMBERS:
        raise BadContentError(f"computes with large constants in {described(node)}; refused")
    return array
