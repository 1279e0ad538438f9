"""Cases of pooling: over windows, and to a given size."""

from typing import Any

import numpy as np
import op_reference as ref
import op_reference_image as image
from op_case import Case, Input, case, distinct, options, real


def pool(name: str, note: str, x: Input, *args: Any, **kwargs: Any) -> Case:
    reference = getattr(ref, name, None) or getattr(image, name)
    renamed = {"return_indices": "indices", "divisor_override": "divisor"}
    mapped = {renamed.get(k, k): v for k, v in kwargs.items()}

    def expected(array: np.ndarray) -> Any:
        return reference(array, *args, **mapped)

    call = options(*args, **kwargs)
    return case(name, [x], expected, call, order=3, note=note)


POOLS = [
    pool("max_pool2d", "", distinct(2, 1, 2, 4), 2),
    pool("max_pool2d", "overlap", distinct(1, 1, 3, 4), 3, (1, 2), 1),
    pool("max_pool2d", "dilation", distinct(1, 1, 5, 3), (2, 3), (1, 2), (0, 1), (3, 2)),
    pool("max_pool2d", "ceil", distinct(1, 1, 3, 4), 2, 2, ceil_mode=True),
    pool("max_pool2d", "indices", distinct(2, 3, 2), 2, 1, return_indices=True),
    pool("max_pool2d", "empty", distinct(0, 1, 2, 4), 2),
    pool("max_pool1d", "", distinct(1, 2, 4), 2),
    pool("max_pool1d", "overlap", distinct(1, 1, 6), 3, 2, 1),
    pool("max_pool1d", "dilation", distinct(1, 1, 6), 2, 1, 1, 3),
    pool("max_pool1d", "ceil", distinct(1, 5), 2, 2, ceil_mode=True),
    pool("max_pool1d", "ceil, beyond", distinct(1, 3), 5, 3, ceil_mode=True),
    pool("max_pool1d", "indices", distinct(1, 1, 5), 3, 2, return_indices=True),
    pool("max_pool1d", "empty", distinct(0, 1, 4), 2),
    pool("avg_pool2d", "", real(2, 1, 2, 4), 2),
    pool("avg_pool2d", "overlap", real(1, 1, 3, 3), 3, 2, 1),
    pool("avg_pool2d", "inside", real(1, 1, 3, 3), 3, 2, 1, count_include_pad=False),
    pool("avg_pool2d", "ceil", real(1, 1, 3, 4), (2, 3), 2, (0, 1), ceil_mode=True),
    pool("avg_pool2d", "ceil, beyond", real(1, 1, 2, 3), (4, 3), 3, 1, ceil_mode=True),
    pool("avg_pool2d", "divisor", real(2, 3, 2), 2, 1, divisor_override=3),
    pool("avg_pool2d", "empty", real(0, 1, 2, 4), 2),
    pool("avg_pool1d", "", real(1, 2, 4), 2),
    pool("avg_pool1d", "inside", real(1, 5), 3, 2, 1, count_include_pad=False),
    pool("avg_pool1d", "ceil", real(1, 1, 6), 3, 2, 1, ceil_mode=True),
    pool("avg_pool1d", "empty", real(0, 1, 4), 2),
    pool("adaptive_avg_pool2d", "", real(1, 2, 4, 2), 2),
    pool("adaptive_avg_pool2d", "one", real(2, 2, 3, 2), 1),
    pool("adaptive_avg_pool2d", "uneven", real(1, 1, 5, 3), (3, 2)),
    pool("adaptive_avg_pool2d", "larger", real(1, 1, 2, 3), (3, 4)),
    pool("adaptive_avg_pool2d", "kept", real(2, 2, 3), (None, 3)),
    pool("adaptive_avg_pool2d", "empty", real(0, 1, 3, 2), 2),
    pool("adaptive_avg_pool1d", "", real(1, 2, 4), 2),
    pool("adaptive_avg_pool1d", "uneven", real(2, 5), 3),
    pool("adaptive_avg_pool1d", "empty", real(0, 1, 4), 3),
    pool("adaptive_max_pool2d", "", distinct(1, 2, 2, 4), 2),
    pool("adaptive_max_pool2d", "uneven", distinct(1, 1, 5, 3), (3, 2)),
    pool("adaptive_max_pool2d", "larger", distinct(1, 1, 2, 3), (3, 4)),
    pool("adaptive_max_pool2d", "indices", distinct(1, 3, 2), (2, None), return_indices=True),
    pool("adaptive_max_pool2d", "empty", distinct(0, 1, 3, 2), 2),
]
