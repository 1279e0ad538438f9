"""The weight gradient of a 3x3 convolution of stride 2 and padding 1 by Winograd's algorithm.

It is the bilinear form of the input gradient (winograd_strided_grad_input.py) read the other way:
blocks of 8x8 pixels of the input take the place of the input's gradient, and

    dU[xi, phase] (inputs x outputs) = V[xi, phase]^T D[xi]    (over tiles)

Two schedules:

unit by unit      each task takes one unit of tiles after the other and sums its own dU; these are
                  added in the order of the tasks.
output by output  where dU is large: V and D of all tiles are made first; then a task takes some
                  inputs and outputs after the other, whose dU it sums over all tiles and transforms
                  at once to 3x3.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels import buffers
from kernels.launch_plan import HERE, LaunchPlan, Work
from kernels.parallel import get_num_threads
from kernels.winograd_plan import TilePlan, image_ints, panels, tile_plan, unit_ints
from kernels.winograd_strided import (
    UNIT_BYTES,
    covered,
    is_strided,
    pays,
    tiles_in,
    u_position,
)
from kernels.winograd_strided_grad_weight_loops import (
    BLOCK,
    DU_PANEL,
    GROUP,
    PANEL,
    PHASES,
    POSITIONS,
    WINDOW,
    strided_blocks_and_windows,
    strided_weight_products,
    strided_weight_sums,
    strided_write_weights,
)
from kernels.winograd_transforms import KERNEL
from kernels.winograd_weights import few

Array = NDArray[Any]
Shape = tuple[int, ...]

WHOLE_BYTES = 8 * 2**20
"""A dU of more bytes is never whole."""
V_BYTES = 12 * 2**20
"""Then V is read again for every 32 outputs; more than this would come from memory."""


def suits(
    weight_shape: Shape,
    result_shape: Shape,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> bool:
    """Whether this path serves the weight gradient of a convolution with this result, and is faster
    than the direct one."""
    if padding != (1, 1) or not is_strided(weight_shape, stride, dilation, groups):
        return False
    if not pays(weight_shape, result_shape):
        return False
    if not in_pieces(weight_shape):
        return True
    tiles = tiles_in(result_shape)
    # what is saved a tile, and the transform of dU, in multiplications
    saved = tiles * (130 * covered(result_shape) - 81) > 1000
    return saved and 81 * 4 * tiles * weight_shape[1] <= V_BYTES


def grad_weight(grad_out: Array, x: Array, result: Array) -> None:
    """result (O,C,3,3, C order): the gradient with respect to the convolution's weight."""
    way = _plan if in_pieces(result.shape) else _sum_plan
    plans = way(grad_out.shape, grad_out.strides, x.shape, x.strides, get_num_threads())
    memory = [buffers.aligned(nbytes, later=True) for nbytes in plans.bytes]
    plans.first.launch(grad_out, x, *memory)
    plans.second.launch(*memory, result)


def in_pieces(weight_shape: Shape) -> bool:
    """Whether dU is never whole."""
    return POSITIONS * u_position(*weight_shape[:2]) > WHOLE_BYTES


class _Plans(NamedTuple):
    """Two launches, and the memory through which one hands over to the other. To be given:
    grad_out, x, memory; memory, result."""

    first: LaunchPlan
    bytes: tuple[int, ...]
    second: LaunchPlan


def _stage_bytes(plan: TilePlan, inner: int) -> int:
    """Of the larger of the two stages of a row of tiles."""
    return buffers.spread(
        max(WINDOW * plan.stage_row, BLOCK * BLOCK * plan.columns * panels(inner) * 64)
    )


def _source_ints(shape: Shape, strides: Shape, plan: TilePlan) -> list[Any]:
    """The table of the input: image_ints' beginning, distances of pixels and rows in its stage."""
    pixel = panels(shape[1]) * 64
    return [*image_ints(HERE, shape, strides)[:8], pixel, BLOCK * plan.columns * pixel]


@lru_cache(maxsize=512)
def _sum_plan(
    shape: Shape, strides: Shape, x_shape: Shape, x_strides: Shape, threads: int
) -> _Plans:
    """Unit by unit, through dU."""
    outer, inner = shape[1], x_shape[1]
    tile_bytes = (81 * panels(inner) + POSITIONS * panels(outer)) * 64
    wanted = max(16, min(64, UNIT_BYTES // tile_bytes // 8 * 8))
    plan = tile_plan(shape[0], outer, 0, (shape[2], shape[3]), (0, 0), wanted, threads)
    tasks = min(threads, plan.count)
    stage_bytes = _stage_bytes(plan, inner)
    panel_step = buffers.spread(plan.unit_tiles * 64)
    v_phase = panels(inner) * panel_step
    v_position = buffers.spread(PHASES * v_phase)
    d_at = stage_bytes + POSITIONS * v_position
    d_position = buffers.spread(panels(outer) * panel_step)
    task_bytes = buffers.spread(d_at + POSITIONS * d_position)
    du_position, du_phase = u_position(outer, inner), panels(outer) * inner * 64
    first = LaunchPlan(
        strided_weight_sums,
        [
            *unit_ints(HERE, shape, strides, plan),
            _source_ints(x_shape, x_strides, plan),
            *(HERE, du_position, du_phase, Work(), task_bytes),
            *(stage_bytes, v_position, v_phase, d_at, d_position, panel_step),
            np.zeros(1, np.int64),
        ],
        tasks=tasks,
        work_bytes=tasks * task_bytes,
    )
    writers = 1 if few(inner, outer) else threads
    work_bytes = buffers.spread(DU_PANEL + PANEL * KERNEL)
    second = LaunchPlan(
        strided_write_weights,
        [HERE, du_position, du_phase, tasks, outer, inner, HERE, Work(), work_bytes],
        tasks=writers,
        work_bytes=writers * work_bytes,
    )
    return _Plans(first, (tasks * POSITIONS * du_position,), second)


@lru_cache(maxsize=512)
def _plan(shape: Shape, strides: Shape, x_shape: Shape, x_strides: Shape, threads: int) -> _Plans:
    """Output by output, through V and D."""
    outer, inner = shape[1], x_shape[1]
    plan = tile_plan(shape[0], outer, 0, (shape[2], shape[3]), (0, 0), 8, threads)
    tiles, tasks = tiles_in(shape), min(threads, plan.count)
    stage_bytes = _stage_bytes(plan, inner)
    panel_step = buffers.spread(tiles * 64)
    v_phase = panels(inner) * panel_step
    v_position = buffers.spread(PHASES * v_phase)
    d_position = buffers.spread(panels(outer) * panel_step)
    first = LaunchPlan(
        strided_blocks_and_windows,
        [
            *unit_ints(HERE, shape, strides, plan),
            _source_ints(x_shape, x_strides, plan),
            *(Work(), stage_bytes, HERE, v_position, v_phase, HERE, d_position, panel_step),
        ],
        tasks=tasks,
        work_bytes=tasks * stage_bytes,
    )
    items = -(-panels(outer) // GROUP) * panels(inner)
    tasks = min(threads, items)
    task_bytes = buffers.spread(GROUP * DU_PANEL + PANEL * KERNEL)
    second = LaunchPlan(
        strided_weight_products,
        [
            *(HERE, v_position, v_phase, HERE, d_position, panel_step, outer, inner, tiles),
            *(np.zeros(1, np.int64), HERE, Work(), task_bytes),
        ],
        tasks=tasks,
        work_bytes=tasks * task_bytes,
    )
    return _Plans(first, (POSITIONS * v_position, POSITIONS * d_position), second)
