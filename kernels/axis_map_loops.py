"""The loop of kernels/axis_map.py."""

import numpy as np

from kernels.cache import kernel
from kernels.parallel import share
from kernels.simd import float32_at, int64_at


@kernel()
def apply_rows(ints, floats, task, tasks):
    """x (outer, size, inner) to out (outer, rows, inner); tasks share the outer * rows lines."""
    starts, indices, weights = int64_at(ints[2]), int64_at(ints[3]), float32_at(ints[4])
    outer, size, rows, inner = ints[5], ints[6], ints[7], ints[8]
    lines = outer * rows
    for line in range(share(lines, task, tasks), share(lines, task + 1, tasks)):
        image, row = line // rows, line % rows
        out = float32_at(ints[1] + line * inner * 4)
        begin, end = starts[row], starts[row + 1]
        if begin == end:
            for j in range(inner):
                out[j] = np.float32(0)
        for k in range(begin, end):
            x = float32_at(ints[0] + (image * size + indices[k]) * inner * 4)
            weight = weights[k]
            if k == begin:
                for j in range(inner):
                    out[j] = weight * x[j]
            else:
                for j in range(inner):
                    out[j] += weight * x[j]
