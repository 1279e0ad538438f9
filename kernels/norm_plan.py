"""How a batch norm takes its m rows of C channels, and its launches, laid out once per shape.

Memory is m rows of C channels. `wide` rows are taken as one row of wide * C values
("positions", at least WIDTH of them), so that the inner loops are long and vectorise whatever C
is; the statistics of the positions that hold the same channel are merged at the end. The rows left
over are one shorter row.

The plans leave open what norm.py gives at each launch, in the order that their texts say. `vectors`
is what norm_loops.prepare reads: weight, bias, mean, var, cut_off, and for a gradient slope and
offset.
"""

import math
from functools import lru_cache

from kernels.norm_loops import gradient, gradient_sums, normalize, statistics
from kernels.parallel import HERE, LaunchPlan

WIDTH = 256
"""Least number of positions in a row: an inner loop of 16 to 64 vectors."""
SUM_WIDTH = 64
"""The same for sums, which are kept in registers: few channels are then read in order."""
BLOCK = 8192
"""Values in a block of rows: at least 8 rows and at most 64."""
ONE_THREAD = 1 << 14
"""Arrays of fewer elements are not split over threads."""

VECTORS, GRADIENT_VECTORS = 5, 7
"""How many vectors there are."""


class Rows:
    """How m rows of C channels become rows of `width` positions, and over how many threads."""

    def __init__(self, shape: tuple[int, ...], least: int, threads: int) -> None:
        self.channels = shape[1]
        self.count = shape[0] * math.prod(shape[2:])
        self.wide = -(-least // self.channels)
        self.width = self.wide * self.channels
        self.rows, self.left = divmod(self.count, self.wide)
        self.rest = self.left * self.channels
        self.block = min(max(BLOCK // self.width, 8), 64)
        self.tasks = 1 if self.count * self.channels < ONE_THREAD else threads

    def vectors(self, n: int) -> int:
        """Bytes of n float32 at each position, for each task."""
        return 4 * n * self.tasks * self.width


@lru_cache(maxsize=512)
def statistics_plan(
    shape: tuple[int, ...], momentum: float, running: bool, threads: int
) -> tuple[LaunchPlan, int, int]:
    """To be given: x, room for sums, for those of a block; mean, var, cut_off; the running
    statistics. Bytes of the sums, and of both."""
    rows = Rows(shape, SUM_WIDTH, threads)
    ints = [
        *(HERE, HERE, HERE, rows.width, rows.rows, rows.rest, rows.block, [0]),
        *(HERE, HERE, HERE, rows.channels, rows.wide, rows.left),
        *((1, HERE, HERE) if running else (0, 0, 0)),
    ]
    sums = 2 * rows.vectors(2)  # float64
    plan = LaunchPlan(statistics, ints, (momentum,), rows.tasks)
    return plan, sums, sums + rows.vectors(4)


@lru_cache(maxsize=512)
def normalize_plan(
    shape: tuple[int, ...], eps: float, residual: bool, relu: bool, passes: bool, threads: int
) -> tuple[LaunchPlan, int]:
    """To be given: x, room for factors, out, residual and passes where there are such; vectors.
    Bytes of the factors."""
    rows = Rows(shape, WIDTH, threads)
    ints = [
        *(HERE, HERE, HERE, HERE if residual else 0, HERE if passes else 0, int(relu)),
        *(rows.width, rows.rows, rows.rest, rows.channels, [HERE] * VECTORS),
    ]
    return LaunchPlan(normalize, ints, (eps,), rows.tasks), rows.vectors(3)


@lru_cache(maxsize=512)
def gradient_plan(
    shape: tuple[int, ...], eps: float, relu: int, threads: int
) -> tuple[LaunchPlan, int]:
    """To be given: grad, x, room for factors, out; vectors. Bytes of the factors."""
    rows = Rows(shape, WIDTH, threads)
    ints = [
        *(HERE, HERE, HERE, HERE, rows.width, rows.rows, rows.rest, relu),
        *(rows.channels, [HERE] * GRADIENT_VECTORS),
    ]
    return LaunchPlan(gradient, ints, (eps,), rows.tasks), rows.vectors(5)


@lru_cache(maxsize=512)
def sums_plan(
    shape: tuple[int, ...], eps: float, counts: int, threads: int
) -> tuple[LaunchPlan, int, int, int]:
    """To be given: grad, x, room for factors, for sums, for those of a block; what relu let pass if
    `counts` is 2; vectors; grad_weight, grad_bias, masked. Bytes of the sums, of sums and factors,
    and of all."""
    rows = Rows(shape, SUM_WIDTH, threads)
    ints = [
        *(HERE, HERE, HERE, HERE, HERE, rows.width, rows.rows, rows.rest, rows.block),
        *(counts, HERE if counts == 2 else 0, [0], rows.channels),
        *([HERE] * GRADIENT_VECTORS, rows.count, HERE, HERE, HERE),
    ]
    first = 2 * rows.vectors(3)  # float64
    second = first + rows.vectors(3)
    plan = LaunchPlan(gradient_sums, ints, (eps,), rows.tasks)
    return plan, first, second, second + rows.vectors(4)
