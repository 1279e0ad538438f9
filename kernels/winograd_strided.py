"""3x3 convolution of stride 2 by Winograd's algorithm: 81 multiplications in the place of 144.

winograd_strided_transforms.py has the formulas: a tile of 4x4 results reads a window of 9x9 pixels,
whose even and odd rows and columns, the phases, become numbers at 5x5 positions xi. Between the
transforms the work is 25 matrix products, one a position, over channels and phases:

    M[xi] (tiles x outputs) = sum over phases of  V[xi, phase] (tiles x inputs) * U[xi, phase]

Two schedules:

unit by unit      each task takes one unit of tiles after the other through all steps; U is made
                  before, whole.
output by output  where U, nine times as large as the weights, would not fit the caches: V of all
                  tiles is made first; then a task takes some outputs after the other, and U of a
                  chunk of inputs at a time is made, multiplied and forgotten.

Rounding: about twice the direct path's errors, and half of those that F(4x4, 3x3) makes (README.md
has the table, tests/kernel/test_winograd_strided.py derives and tests a bound). What winograd.py
says of NaN and infinity holds here as well.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels import buffers
from kernels.cache import Kernel
from kernels.conv_direct import one_step_positions
from kernels.finish import NO_FINISH, Finish, FinishTable, finish_result
from kernels.launch_plan import HERE, LaunchPlan, Work
from kernels.parallel import get_num_threads
from kernels.prepared import Prepared
from kernels.winograd_plan import image_ints, panels, tile_plan, tile_table, unit_ints
from kernels.winograd_strided_loops import (
    CHUNK,
    GROUP,
    PHASES,
    POSITIONS,
    U_PANEL,
    WINDOW,
    strided_forward,
    strided_inputs,
    strided_products,
    strided_weights,
)
from kernels.winograd_weights import OWN_SCRATCH, few, weight_ints

Array = NDArray[Any]
Shape = tuple[int, ...]

WHOLE_BYTES = 16 * 2**20
"""A U of more bytes is never made whole, nor"""
WHOLE_FROM = 128
"""one that is for so few tiles or fewer, unless"""
SMALL_WEIGHTS = 8192
"""there are fewer weights than this."""
V_BYTES = 12 * 2**20
"""V of so many images at a time is about so large, output by output."""
UNIT_BYTES = 3072 * 1024
"""V and M of a unit are at most about this large."""


def is_strided(
    weight_shape: Shape, stride: tuple[int, int], dilation: tuple[int, int], groups: int
) -> bool:
    """Whether a convolution is of the kind that this file is for."""
    return weight_shape[2:] == (3, 3) and groups == 1 and stride == (2, 2) and dilation == (1, 1)


def suits(
    weight_shape: Shape,
    result_shape: Shape,
    stride: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> bool:
    """Whether this path serves a convolution, and is faster than the direct one."""
    return is_strided(weight_shape, stride, dilation, groups) and pays(weight_shape, result_shape)


def pays(weight_shape: Shape, result_shape: Shape) -> bool:
    """Whether there are enough channels and tiles, and these do not reach far beyond the result.

    Measured: with three quarters covered, 1.0 to 0.8 of the direct path's time; with 260,000
    products a position, 0.8 when called again and again, 1.1 within a training step, which leaves
    the caches to others in between."""
    tiles, (outer, inner) = tiles_in(result_shape), weight_shape[:2]
    if min(inner, outer) < 16 or tiles < 16 or covered(result_shape) < 0.75:
        return False
    return tiles * inner * outer >= 500_000


def covered(shape: Shape) -> float:
    """The share of its tiles that a result fills."""
    return shape[0] * shape[2] * shape[3] / (16 * tiles_in(shape))


def in_pieces(weight_shape: Shape, result_shape: Shape) -> bool:
    """Whether U is never whole."""
    outer, inner = weight_shape[:2]
    if POSITIONS * u_position(outer, inner) > WHOLE_BYTES:
        return True
    return tiles_in(result_shape) <= WHOLE_FROM and inner * outer >= SMALL_WEIGHTS


def forward(
    x: Array,
    weight: Array,
    result: Array,
    padding: tuple[int, int],
    finish: Finish | None = None,
    prepared: Prepared | None = None,
) -> None:
    """result (N,O,H,W, channels contiguous) = conv(x, weight), stride 2, finished (dense then)."""
    weight = one_step_positions(weight)
    threads = get_num_threads()
    if in_pieces(weight.shape, result.shape):
        image_bytes = POSITIONS * PHASES * x.shape[1] * 4 * tiles_in(result.shape) // x.shape[0]
        together = max(1, V_BYTES // image_bytes)
        for n in range(0, x.shape[0], together):
            part, to = x[n : n + together], result[n : n + together]
            shapes = (part.shape, part.strides, to.shape, to.strides)
            way = _by_outputs(*shapes, weight.strides, padding, threads)
            v = buffers.aligned(way.v_bytes, later=True)
            way.inputs.launch(part, v)
            way.products.launch(weight, v, to)
        if finish is not None:
            finish_result(result, finish)
        return
    u = None if prepared is None else prepared.get("winograd strided")
    if u is None:
        u = transformed(strided_weights, weight, turned=False)
        if prepared is not None:
            prepared.keep("winograd strided", u)
    shapes = (x.shape, x.strides, result.shape, result.strides)
    plan = _by_units(*shapes, padding, threads, finish is not None)
    if finish is None:
        plan.launch(x, result, u)
    else:
        table = FinishTable(finish, result.shape[1])
        plan.launch(x, result, table.numbers, u, keep=(table,))


def tiles_in(shape: Shape) -> int:
    """Tiles of a result of this shape."""
    return shape[0] * -(-shape[2] // 4) * -(-shape[3] // 4)


def u_position(outer: int, inner: int) -> int:
    """Bytes from one of the 25 matrices of U to the next."""
    return buffers.spread(PHASES * panels(outer) * inner * 64)


def transformed(body: Kernel, weight: Array, turned: bool) -> Array:
    """U as `body` makes it of the weights, turned or not."""
    plan, u_bytes = _weight_plan(body, weight.shape, weight.strides, turned, get_num_threads())
    u = buffers.aligned(u_bytes, later=True)
    plan.launch(weight, u, beside=True)
    return u


@lru_cache(maxsize=512)
def _weight_plan(
    body: Kernel, shape: Shape, strides: Shape, turned: bool, threads: int
) -> tuple[LaunchPlan, int]:
    """How weights are transformed, and the bytes of U."""
    outer, inner = (shape[1], shape[0]) if turned else shape[:2]
    tasks = 1 if few(inner, outer) else threads
    u_step = u_position(outer, inner)
    ints = [*weight_ints(strides, inner, outer, turned), HERE, u_step, Work()]
    plan = LaunchPlan(body, ints, tasks=tasks, work_bytes=tasks * OWN_SCRATCH)
    return plan, POSITIONS * u_step


@lru_cache(maxsize=512)
def _by_units(
    shape: Shape,
    strides: Shape,
    result_shape: Shape,
    result_strides: Shape,
    padding: tuple[int, int],
    threads: int,
    finished: bool,
) -> LaunchPlan:
    """To be given: source, result, the table of what follows if it is to be finished, U."""
    inner, outer = shape[1], result_shape[1]
    size = (result_shape[2], result_shape[3])
    tile_bytes = (81 * panels(inner) + POSITIONS * panels(outer)) * 64
    wanted = max(16, min(64, UNIT_BYTES // tile_bytes // 8 * 8))
    plan = tile_plan(shape[0], inner, outer, size, padding, wanted, threads, stride=2)
    tasks, tiles = min(threads, plan.count), plan.unit_tiles
    v_phase, m_panel = panels(inner) * 64, tiles * 64
    v_position = buffers.spread(tiles * PHASES * v_phase)
    m_position = buffers.spread(panels(outer) * m_panel)
    v_at = buffers.spread(WINDOW * plan.stage_row)
    m_at = v_at + POSITIONS * v_position
    scratch_at = m_at + POSITIONS * m_position
    task_bytes = buffers.spread(scratch_at + 1024)
    rows = np.arange(tiles, dtype=np.int64)
    ints = [
        *unit_ints(HERE, shape, strides, plan),
        image_ints(HERE, result_shape, result_strides, HERE if finished else NO_FINISH),
        *(Work(), task_bytes, v_at, v_position, m_at, m_position, m_panel, scratch_at),
        *(HERE, u_position(outer, inner)),
        *(rows * (PHASES * v_phase), np.arange(PHASES, dtype=np.int64) * v_phase, rows * 64),
    ]
    return LaunchPlan(strided_forward, ints, tasks=tasks, work_bytes=tasks * task_bytes)


class _ByOutputs(NamedTuple):
    """V of all tiles (to be given: source, V of v_bytes), and the products (weight, V, result)."""

    inputs: LaunchPlan
    v_bytes: int
    products: LaunchPlan


@lru_cache(maxsize=512)
def _by_outputs(
    shape: Shape,
    strides: Shape,
    result_shape: Shape,
    result_strides: Shape,
    weight_strides: Shape,
    padding: tuple[int, int],
    threads: int,
) -> _ByOutputs:
    inner, outer = shape[1], result_shape[1]
    size = (result_shape[2], result_shape[3])
    plan = tile_plan(shape[0], inner, outer, size, padding, 8, threads, stride=2)
    tiles = shape[0] * plan.tiles_in_image
    tile_bytes = PHASES * CHUNK * 4
    v_chunk = tiles * tile_bytes
    v_position = buffers.spread(-(-inner // CHUNK) * v_chunk)
    stage_bytes = buffers.spread(WINDOW * plan.stage_row)
    tasks = min(threads, plan.count)
    inputs = LaunchPlan(
        strided_inputs,
        [
            *unit_ints(HERE, shape, strides, plan),
            *(HERE, v_position, v_chunk, Work(), stage_bytes),
        ],
        tasks=tasks,
        work_bytes=tasks * stage_bytes,
    )
    rows = np.arange(tiles, dtype=np.int64)
    m_panel = buffers.spread(tiles * 64)
    task_bytes = buffers.spread(GROUP * (U_PANEL + POSITIONS * m_panel) + max(OWN_SCRATCH, 1024))
    tasks = min(threads, -(-panels(outer) // GROUP))
    n_step, _, row_step, pixel_step = result_strides
    lane_step, k_step, position_step = weight_strides[0], weight_strides[1], weight_strides[3]
    products = LaunchPlan(
        strided_products,
        [
            *(HERE, lane_step, k_step, position_step, outer, inner),
            *(HERE, v_position, v_chunk),
            *(tiles, np.arange(PHASES, dtype=np.int64) * (CHUNK * 4)),
            *(rows * tile_bytes, rows * 64),
            *(HERE, row_step, pixel_step),
            *(tile_table(shape[0], size, (n_step, row_step, pixel_step)), m_panel),
            *(Work(), task_bytes),
        ],
        tasks=tasks,
        work_bytes=tasks * task_bytes,
    )
    return _ByOutputs(inputs, POSITIONS * v_position, products)
