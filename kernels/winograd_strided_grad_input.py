"""The input gradient of a 3x3 convolution of stride 2 and padding 1 by Winograd's algorithm.

winograd_strided_transforms.py has the formulas: a tile of 8x8 pixels of the gradient comes from a
window of 5x5 pixels of the result's gradient, by way of 5x5 positions xi that four phases share:

    M[xi, phase] (tiles x channels) = D[xi] (tiles x outputs) * U[xi, phase]

The schedules, and what decides between them, are those of winograd_strided.py.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels import buffers
from kernels.conv_direct import one_step_positions
from kernels.launch_plan import HERE, LaunchPlan, Work
from kernels.parallel import get_num_threads
from kernels.winograd_plan import image_ints, panels, tile_plan, tile_table, unit_ints
from kernels.winograd_strided import (
    UNIT_BYTES,
    covered,
    in_pieces,
    is_strided,
    pays,
    tiles_in,
    transformed,
    u_position,
)
from kernels.winograd_strided_grad_input_loops import (
    CHUNK,
    PHASES,
    POSITIONS,
    U_POSITION,
    WINDOW,
    strided_back,
    strided_back_products,
    strided_back_weights,
    strided_windows,
)
from kernels.winograd_weights import OWN_SCRATCH

Array = NDArray[Any]
Shape = tuple[int, ...]

MOST_TILES = 64
"""Output by output, about so many tiles are done at a time: M of a panel (330 KiB) stays in the
cache."""
MANY_WEIGHTS = 2**18
"""So many weights pay even if tiles reach far beyond the result."""


def suits(
    weight_shape: Shape,
    result_shape: Shape,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> bool:
    """Whether this path serves the input gradient of a convolution with this result, and is faster
    than the direct one.

    Measured: where a quarter of the tiles lies outside, 1.0 to 1.3 of the direct path's time, but
    0.75 to 0.95 with 512 channels."""
    if padding != (1, 1) or not is_strided(weight_shape, stride, dilation, groups):
        return False
    if not pays(weight_shape, result_shape):
        return False
    many = weight_shape[0] * weight_shape[1] >= MANY_WEIGHTS
    return many or (tiles_in(result_shape) >= 32 and covered(result_shape) >= 0.9)


def grad_input(grad_out: Array, weight: Array, result: Array, accumulate: bool = False) -> None:
    """result (N,C,H,W, channels contiguous) = the gradient with respect to the convolution's input,
    or += with `accumulate`."""
    weight = one_step_positions(weight)
    threads = get_num_threads()
    if in_pieces(weight.shape, grad_out.shape):
        images = result.shape[0]
        together = max(1, MOST_TILES * images // tiles_in(grad_out.shape))
        for n in range(0, images, together):
            part, to = grad_out[n : n + together], result[n : n + together]
            shapes = (part.shape, part.strides, to.shape, to.strides)
            way = _by_outputs(*shapes, weight.strides, accumulate, threads)
            d = buffers.aligned(way.d_bytes, later=True)
            way.windows.launch(part, d)
            way.products.launch(weight, d, to)
        return
    u = transformed(strided_back_weights, weight, turned=True)
    shapes = (grad_out.shape, grad_out.strides, result.shape, result.strides)
    _by_units(*shapes, accumulate, threads).launch(grad_out, result, u)


@lru_cache(maxsize=512)
def _by_units(
    shape: Shape,
    strides: Shape,
    result_shape: Shape,
    result_strides: Shape,
    accumulate: bool,
    threads: int,
) -> LaunchPlan:
    """To be given: the result's gradient, the gradient, U."""
    inner, outer = shape[1], result_shape[1]
    tile_bytes = (POSITIONS * panels(inner) + 81 * panels(outer)) * 64
    wanted = max(16, min(64, UNIT_BYTES // tile_bytes // 8 * 8))
    plan = tile_plan(shape[0], inner, outer, (shape[2], shape[3]), (0, 0), wanted, threads)
    tasks, tiles = min(threads, plan.count), plan.unit_tiles
    d_tile, m_panel = panels(inner) * 64, tiles * 64
    d_position = buffers.spread(tiles * d_tile)
    m_position = buffers.spread(PHASES * panels(outer) * m_panel)
    d_at = buffers.spread(WINDOW * plan.stage_row)
    m_at = d_at + POSITIONS * d_position
    scratch_at = m_at + POSITIONS * m_position
    task_bytes = buffers.spread(scratch_at + 1024)
    rows = np.arange(tiles, dtype=np.int64)
    ints = [
        *unit_ints(HERE, shape, strides, plan),
        image_ints(HERE, result_shape, result_strides, accumulate=accumulate),
        *(Work(), task_bytes, d_at, d_position, m_at, m_position, m_panel, scratch_at),
        *(HERE, u_position(outer, inner)),
        *(rows * d_tile, np.zeros(1, np.int64), rows * 64),
    ]
    return LaunchPlan(strided_back, ints, tasks=tasks, work_bytes=tasks * task_bytes)


class _ByOutputs(NamedTuple):
    """D of all tiles (to be given: the result's gradient, D of d_bytes), and the products (weight,
    D, the gradient)."""

    windows: LaunchPlan
    d_bytes: int
    products: LaunchPlan


@lru_cache(maxsize=512)
def _by_outputs(
    shape: Shape,
    strides: Shape,
    result_shape: Shape,
    result_strides: Shape,
    weight_strides: Shape,
    accumulate: bool,
    threads: int,
) -> _ByOutputs:
    inner, outer = shape[1], result_shape[1]
    plan = tile_plan(shape[0], inner, outer, (shape[2], shape[3]), (0, 0), 8, threads)
    tiles = shape[0] * plan.tiles_in_image
    d_chunk = tiles * CHUNK * 4
    d_position = buffers.spread(-(-inner // CHUNK) * d_chunk)
    stage_bytes = buffers.spread(WINDOW * plan.stage_row)
    tasks = min(threads, plan.count)
    place = (HERE, d_position, d_chunk, Work(), stage_bytes)
    windows = LaunchPlan(
        strided_windows,
        [*unit_ints(HERE, shape, strides, plan), *place],
        tasks=tasks,
        work_bytes=tasks * stage_bytes,
    )
    rows = np.arange(tiles, dtype=np.int64)
    m_panel = buffers.spread(tiles * 64)
    products_bytes = POSITIONS * (U_POSITION + PHASES * m_panel)
    task_bytes = buffers.spread(products_bytes + max(OWN_SCRATCH, 1024))
    tasks = min(threads, panels(outer))
    n_step, _, row_step, pixel_step = result_strides
    size = (result_shape[2], result_shape[3])
    lane_step, k_step, position_step = weight_strides[1], weight_strides[0], weight_strides[3]
    products = LaunchPlan(
        strided_back_products,
        [
            *(HERE, lane_step, k_step, position_step, outer, inner),
            *(HERE, d_position, d_chunk),
            *(tiles, np.zeros(1, np.int64), rows * (CHUNK * 4), rows * 64),
            *(HERE, row_step, pixel_step),
            tile_table(shape[0], size, (n_step, row_step, pixel_step), 8),
            *(int(accumulate), m_panel, Work(), task_bytes),
        ],
        tasks=tasks,
        work_bytes=tasks * task_bytes,
    )
    return _ByOutputs(windows, POSITIONS * d_position, products)
