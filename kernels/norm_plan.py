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
from typing import Any, NamedTuple

from kernels.launch_plan import HERE, LaunchPlan, Work
from kernels.norm_gradient_loops import gradient, gradient_sums
from kernels.norm_loops import normalize, statistics
from kernels.winograd_plan import TilePlan

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

    def of_image(self, pixels: int) -> int:
        """Rows in an image of so many pixels; 0 if rows go from one image to the next."""
        return 0 if pixels % self.wide else pixels // self.wide

    def vectors(self, n: int) -> int:
        """Bytes of n float32 at each position, for each task."""
        return 4 * n * self.tasks * self.width


@lru_cache(maxsize=512)
def statistics_plan(
    shape: tuple[int, ...], momentum: float, running: bool, threads: int
) -> LaunchPlan:
    """To be given: x; mean, var, cut_off; the running statistics."""
    rows = Rows(shape, SUM_WIDTH, threads)
    ints, work_bytes = statistics_ints(rows, running)
    return LaunchPlan(statistics, ints, (momentum,), rows.tasks, work_bytes=work_bytes)


def statistics_ints(rows: Rows, running: bool, work: int = 0) -> tuple[list[Any], int]:
    """The arguments, and the bytes of working memory, which begins at `work`: the sums, and those
    of a block."""
    sums = 2 * rows.vectors(2)  # float64
    ints = [
        *(HERE, Work(work), Work(work + sums), rows.width, rows.rows, rows.rest, rows.block, [0]),
        *(HERE, HERE, HERE, rows.channels, rows.wide, rows.left),
        *((1, HERE, HERE) if running else (0, 0, 0)),
    ]
    return ints, sums + rows.vectors(4)


@lru_cache(maxsize=512)
def normalize_plan(
    shape: tuple[int, ...], eps: float, residual: bool, relu: bool, passes: bool, threads: int
) -> LaunchPlan:
    """To be given: x, out, residual and passes where there are such; vectors."""
    rows = Rows(shape, WIDTH, threads)
    ints, work_bytes = normalize_ints(rows, residual, relu, passes)
    return LaunchPlan(normalize, ints, (eps,), rows.tasks, work_bytes=work_bytes)


def normalize_ints(
    rows: Rows, residual: bool, relu: bool, passes: bool, work: int = 0
) -> tuple[list[Any], int]:
    """The arguments, and the bytes of working memory, which begins at `work`: factors."""
    ints = [
        *(HERE, Work(work), HERE, HERE if residual else 0, HERE if passes else 0, int(relu)),
        *(rows.width, rows.rows, rows.rest, rows.channels, [HERE] * VECTORS),
    ]
    return ints, rows.vectors(3)


@lru_cache(maxsize=512)
def gradient_plan(shape: tuple[int, ...], eps: float, relu: int, threads: int) -> LaunchPlan:
    """To be given: grad, x, out; vectors. Working memory: factors."""
    rows = Rows(shape, WIDTH, threads)
    ints = [
        *(HERE, HERE, Work(), HERE, rows.width, rows.rows, rows.rest, relu),
        *(rows.channels, [HERE] * GRADIENT_VECTORS),
    ]
    return LaunchPlan(gradient, ints, (eps,), rows.tasks, work_bytes=rows.vectors(5))


@lru_cache(maxsize=512)
def sums_plan(shape: tuple[int, ...], eps: float, counts: int, threads: int) -> LaunchPlan:
    """To be given: grad, x; what relu let pass if `counts` is 2; vectors; grad_weight, grad_bias,
    masked."""
    rows = Rows(shape, SUM_WIDTH, threads)
    ints, work_bytes = sums_ints(rows, counts)
    return LaunchPlan(gradient_sums, ints, (eps,), rows.tasks, work_bytes=work_bytes)


def sums_ints(rows: Rows, counts: int, work: int = 0) -> tuple[list[Any], int]:
    """The arguments, and the bytes of working memory, which begins at `work`: the sums, factors,
    and the sums of a block."""
    factors = work + 2 * rows.vectors(3)  # float64
    block = factors + rows.vectors(3)
    ints = [
        *(HERE, HERE, Work(factors), Work(work), Work(block)),
        *(rows.width, rows.rows, rows.rest, rows.block),
        *(counts, HERE if counts == 2 else 0, [0], rows.channels),
        *([HERE] * GRADIENT_VECTORS, rows.count, HERE, HERE, HERE),
    ]
    return ints, block + rows.vectors(4) - work


# --------------------------------------------------------------- as a part of a convolution's units


class Joined(NamedTuple):
    """A pass over an activation as a part of a launch that works unit by unit.

    ints         its arguments, and its rows in an image
    work_bytes   its working memory
    """

    ints: tuple[list[Any], int]
    work_bytes: int


NOT_JOINED = Joined(([], 0), 0)


def normalize_in_units(
    facts: tuple[Any, ...], units: TilePlan, tasks: int, work: int
) -> Joined | None:
    """`normalize` before a convolution, with the facts (shape, eps, residual, relu, passes) and
    working memory that begins at `work`. None if a unit is not some whole images, or an image not
    some whole rows."""
    shape, _, residual, relu, passes = facts
    rows = Rows(shape, WIDTH, tasks)
    image_rows = rows.of_image(math.prod(shape[2:]))
    if units.bands > 1 or not image_rows:
        return None
    ints, _ = normalize_ints(rows, residual, relu, passes, work)
    return Joined((ints, image_rows), 12 * rows.width * tasks)


def statistics_in_units(
    facts: tuple[Any, ...], units: TilePlan, tasks: int, work: int
) -> Joined | None:
    """`statistics` after a convolution, with the facts (shape, momentum) and working memory that
    begins at `work`. None if it would take other rows together, or by other tasks, than alone."""
    rows = Rows(facts[0], SUM_WIDTH, tasks)
    image_rows = _summed_rows(rows, facts[0], units, tasks)
    ints, work_bytes = statistics_ints(rows, True, work)
    return Joined((ints, image_rows), work_bytes) if image_rows else None


def sums_in_units(facts: tuple[Any, ...], units: TilePlan, tasks: int, work: int) -> Joined | None:
    """`gradient_sums` after a convolution's gradients, with the facts (shape, eps, counts) and
    working memory that begins at `work`. None as for statistics."""
    rows = Rows(facts[0], SUM_WIDTH, tasks)
    image_rows = _summed_rows(rows, facts[0], units, tasks)
    ints, work_bytes = sums_ints(rows, facts[2], work)
    return Joined((ints, image_rows), work_bytes) if image_rows else None


def _summed_rows(rows: Rows, shape: tuple[int, ...], units: TilePlan, tasks: int) -> int:
    """Rows in an image, if units are made of whole blocks of them, and a task's units have the rows
    that the task would sum alone; else 0."""
    image_rows = rows.of_image(math.prod(shape[2:]))
    if not image_rows or units.bands > 1 or units.images * image_rows % rows.block:
        return 0
    images = [
        min(units.count * task // tasks * units.images, shape[0]) for task in range(tasks + 1)
    ]
    own = [rows.rows * task // tasks for task in range(tasks + 1)]
    same = rows.tasks == tasks and own == [n * image_rows for n in images]
    return image_rows if same else 0
