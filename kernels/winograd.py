"""3x3 convolution of stride 1 by Winograd's F(4x4, 3x3): a quarter of the multiplications.

winograd_transforms.py has the formulas. Between the transforms the work is 36 independent matrix products, one
for each position xi of the 6x6 tiles:

    forward, input gradient   M[xi] (tiles x outputs) = V[xi] (tiles x inputs) U[xi] (inputs x outputs)
    weight gradient          dU[xi] (inputs x outputs) = V[xi]^T D[xi]   (over tiles)

An input gradient is the forward convolution of grad_out with the kernels turned by 180 degrees, inputs and
outputs exchanged, and padding 2 - p.

Two schedules, chosen by the number of channels:

fused      each task takes one unit of tiles after the other through all steps; V and M of a unit stay in its
           second-level cache. In the weight gradient each task sums its own dU; these are added in the order
           of the tasks.
by step    for many channels, whose U or dU would not fit a cache anyway: first all tiles are transformed, then
           the 36 products are shared out by position and output panel, then all tiles are transformed back. Each
           task reads only its part of U and owns its part of dU.

Rounding: the transforms multiply by up to 8 and cancel, so errors are some ten times those of the direct path:
see README.md for the table by layer, and tests/kernels/test_winograd.py for the bound that is tested. An
infinity or NaN in the input makes all 16 results of every tile that reads it NaN (infinity minus infinity inside
the transform), where the direct path would keep some infinities and spoil fewer pixels: nothing non-finite is
ever hidden, but it spreads up to 5 pixels further. `set_winograd(False)` forces the direct path.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels import buffers
from kernels.conv_direct import one_step_positions
from kernels.parallel import get_num_threads, launch
from kernels.winograd_loops import (
    all_gradients,
    all_inputs,
    all_outputs,
    all_products,
    all_weight_products,
    fused_forward,
    fused_weight_gradient,
    transform_weights,
    write_weight_gradient,
)
from kernels.winograd_plan import TilePlan, tile_plan

Array = NDArray[Any]
PANEL = 16

UNIT_BYTES = 640 * 1024
"""V and M of a fused unit are about this large."""
BY_STEP_CHANNELS = 192
"""From this many inputs and outputs (their geometric mean) on, the steps run one after the other."""
BY_STEP_BYTES = 96 * 2**20
"""V and M of all tiles; more images are done in several rounds."""

_enabled = True


def set_winograd(enabled: bool) -> None:
    """Allow (default) or forbid Winograd's algorithm for 3x3 convolutions of stride 1."""
    global _enabled
    _enabled = bool(enabled)


def winograd_enabled() -> bool:
    """Whether 3x3 convolutions of stride 1 may use Winograd's algorithm."""
    return _enabled


def pays(
    x_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    result_shape: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> bool:
    """Whether this path is allowed for a convolution, and faster than the direct one."""
    if not _enabled or weight_shape[2:] != (3, 3) or groups != 1:
        return False
    if stride != (1, 1) or dilation != (1, 1):
        return False
    n, _, height, width = result_shape
    tiles = n * -(-height // 4) * -(-width // 4)
    covered = height * width / (16 * -(-height // 4) * -(-width // 4))
    return min(weight_shape[:2]) >= 8 and tiles >= 24 and covered >= 0.4


def _unit_ints(source: Array, plan: TilePlan) -> list[Any]:
    """The first 26 numbers of every body's argument block."""
    n_step, c_step, h_step, w_step = source.strides
    n, c, h, w = source.shape
    return [
        *(source, n_step, h_step, w_step, c_step, h, w, c),
        *(plan.first_row, plan.first_column),
        *(n, plan.count, plan.images, plan.bands, plan.band_rows),
        *(plan.tiles_in_image, plan.columns),
        *(plan.stage_rows, plan.stage_columns),
        *(plan.stage_pixel, plan.stage_row, plan.stage_image),
        plan.tiles,
        *(plan.patch_pixel, plan.patch_row, plan.patch_image),
    ]


def _image_table(image: Array) -> Array:
    """address, steps of image, row, pixel, channel; height, width, channels"""
    n_step, c_step, h_step, w_step = image.strides
    _, c, h, w = image.shape
    return np.array([image.ctypes.data, n_step, h_step, w_step, c_step, h, w, c], np.int64)


def _panels(channels: int) -> int:
    return -(-channels // PANEL)


def _position_step(nbytes: int) -> int:
    """Distance between the 36 matrices: an odd number of cache lines, so that they use different sets."""
    lines = -(-nbytes // 64)
    return 64 * (lines | 1)


def _by_step(inputs: int, outputs: int) -> bool:
    return inputs * outputs >= BY_STEP_CHANNELS**2


def _wanted_tiles(inputs: int, outputs: int) -> int:
    """Tiles of a fused unit: as many as fit, in multiples of 8, from 16 to 96."""
    fit = UNIT_BYTES // (36 * 64 * (_panels(inputs) + _panels(outputs)))
    return max(16, min(96, fit // 8 * 8))


def forward(x: Array, weight: Array, result: Array, padding: tuple[int, int]) -> None:
    """result (N,O,H,W, channels contiguous) = conv(x, weight), stride 1."""
    _convolve(x, weight, result, padding, turned=False)


def grad_input(grad_out: Array, weight: Array, result: Array, padding: tuple[int, int]) -> None:
    """result (N,C,H,W, channels contiguous): the gradient with respect to the convolution's input."""
    _convolve(grad_out, weight, result, (2 - padding[0], 2 - padding[1]), turned=True)


def _convolve(
    source: Array, weight: Array, result: Array, padding: tuple[int, int], turned: bool
) -> None:
    inner, outer = source.shape[1], result.shape[1]
    tasks = get_num_threads()
    u, u_position = _transformed(weight, inner, outer, turned)
    if _by_step(inner, outer):
        tiles = -(-result.shape[2] // 4) * -(-result.shape[3] // 4)
        per_image = 36 * 64 * tiles * (_panels(inner) + _panels(outer))
        together = max(1, BY_STEP_BYTES // per_image)
        for n in range(0, source.shape[0], together):
            part = slice(n, n + together)
            _convolve_by_step(source[part], u, u_position, result[part], padding)
        return
    size = (result.shape[2], result.shape[3])
    wanted = _wanted_tiles(inner, outer)
    plan = tile_plan(source.shape[0], inner, outer, size, padding, wanted, tasks)
    v_position = _position_step(plan.unit_tiles * _panels(inner) * 64)
    m_panel = plan.unit_tiles * 64
    m_position = _position_step(m_panel * _panels(outer))
    stage_bytes = plan.images * plan.stage_image
    offset_bytes = 1024 + 64 + 16 * plan.unit_tiles
    task_bytes = _position_step(stage_bytes + 36 * (v_position + m_position) + offset_bytes)
    table = _result_table(result)
    launch(
        fused_forward,
        [
            *_unit_ints(source, plan),
            table,
            u,
            u_position,
            buffers.aligned(tasks * task_bytes),
            task_bytes,
            stage_bytes,
            v_position,
            36 * v_position,
            m_position,
            m_panel,
            36 * m_position,
            plan.unit_tiles,
        ],
        tasks=min(tasks, plan.count),
    )


def _result_table(result: Array) -> Array:
    """address, steps of image, row, pixel; height, width, channels"""
    n_step, _, h_step, w_step = result.strides
    _, c, h, w = result.shape
    return np.array([result.ctypes.data, n_step, h_step, w_step, h, w, c], np.int64)


def _transformed(weight: Array, inner: int, outer: int, turned: bool) -> tuple[Array, int]:
    """U, and the distance between its 36 matrices."""
    weight = one_step_positions(weight)
    o_step, i_step, _, position_step = weight.strides
    lane_step, k_step = (i_step, o_step) if turned else (o_step, i_step)
    u_position = _position_step(_panels(outer) * inner * 64)
    u = buffers.aligned(36 * u_position)
    tasks = get_num_threads() if inner * outer >= 1024 else 1
    launch(
        transform_weights,
        (
            weight,
            lane_step,
            k_step,
            position_step,
            outer,
            inner,
            int(turned),
            u,
            u_position,
            buffers.aligned(tasks * 9 * 64),
        ),
        tasks=tasks,
    )
    return u, u_position


def _convolve_by_step(
    source: Array, u: Array, u_position: int, result: Array, padding: tuple[int, int]
) -> None:
    inner, outer = source.shape[1], result.shape[1]
    tasks = get_num_threads()
    size = (result.shape[2], result.shape[3])
    plan = tile_plan(source.shape[0], inner, outer, size, padding, 16, tasks)
    total = source.shape[0] * plan.tiles_in_image
    v_row = _panels(inner) * 64
    v_position = _position_step(total * v_row)
    m_panel = total * 64
    m_position = _position_step(m_panel * _panels(outer))
    v = buffers.aligned(36 * v_position)
    m = buffers.aligned(36 * m_position)
    units = _unit_ints(source, plan)
    stage_bytes = _position_step(plan.images * plan.stage_image)
    stage = buffers.aligned(tasks * stage_bytes)
    some = min(tasks, plan.count)
    launch(all_inputs, [*units, v, v_position, v_row, 64, stage, stage_bytes], tasks=some)
    block = max(8, 192 * 1024 // v_row // 8 * 8)
    rows = np.arange(min(block, total), dtype=np.int64)
    v_rows, m_rows = rows * v_row, rows * 64
    zero = np.zeros(1, np.int64)
    launch(
        all_products,
        (
            v,
            v_position,
            inner,
            u,
            u_position,
            m,
            m_position,
            m_panel,
            _panels(outer),
            total,
            zero,
            v_rows,
            m_rows,
            block,
        ),
    )
    scratch = buffers.aligned(tasks * 1024)
    table = _result_table(result)
    launch(all_outputs, [*units, table, m, m_position, m_panel, scratch, 1024], tasks=some)


def grad_weight(grad_out: Array, x: Array, result: Array, padding: tuple[int, int]) -> None:
    """result (O,C,3,3, C order): the gradient with respect to the convolution's weight."""
    inner, outer = x.shape[1], grad_out.shape[1]
    tasks = get_num_threads()
    du_position = _position_step(_panels(outer) * inner * 64)
    du_task = 36 * du_position
    if _by_step(inner, outer):
        du = buffers.aligned(du_task)
        n_partials = 1
        tiles = -(-grad_out.shape[2] // 4) * -(-grad_out.shape[3] // 4)
        per_image = 36 * 64 * tiles * (_panels(inner) + _panels(outer))
        together = max(1, BY_STEP_BYTES // per_image)
        for n in range(0, x.shape[0], together):
            part = slice(n, n + together)
            _weight_gradient_by_step(grad_out[part], x[part], du, du_position, padding, n > 0)
    else:
        size = (grad_out.shape[2], grad_out.shape[3])
        wanted = _wanted_tiles(inner, outer)
        plan = tile_plan(x.shape[0], inner, outer, size, padding, wanted, tasks)
        n_partials = min(tasks, plan.count)
        du = buffers.aligned(n_partials * du_task)
        _fused_weight_gradient(grad_out, x, du, du_position, du_task, plan, n_partials)
    tasks = get_num_threads() if inner * outer >= 1024 else 1
    launch(
        write_weight_gradient,
        (
            du,
            du_position,
            n_partials,
            du_task,
            outer,
            inner,
            result,
            buffers.aligned(tasks * 45 * 64),
        ),
        tasks=tasks,
    )


def _fused_weight_gradient(
    grad_out: Array,
    x: Array,
    du: Array,
    du_position: int,
    du_task: int,
    plan: TilePlan,
    tasks: int,
) -> None:
    panel_step = plan.unit_tiles * 64
    v_position = _position_step(panel_step * _panels(x.shape[1]))
    d_position = _position_step(panel_step * _panels(grad_out.shape[1]))
    stage_bytes = plan.images * plan.stage_image
    patch_bytes = plan.images * plan.patch_image
    task_bytes = _position_step(stage_bytes + patch_bytes + 36 * (v_position + d_position) + 64)
    table = _image_table(grad_out)
    launch(
        fused_weight_gradient,
        [
            *_unit_ints(x, plan),
            table,
            du,
            du_position,
            du_task,
            buffers.aligned(tasks * task_bytes),
            task_bytes,
            stage_bytes,
            patch_bytes,
            v_position,
            36 * v_position,
            d_position,
            36 * d_position,
            panel_step,
        ],
        tasks=tasks,
    )


def _weight_gradient_by_step(
    grad_out: Array,
    x: Array,
    du: Array,
    du_position: int,
    padding: tuple[int, int],
    accumulate: bool,
) -> None:
    inner, outer = x.shape[1], grad_out.shape[1]
    tasks = get_num_threads()
    size = (grad_out.shape[2], grad_out.shape[3])
    plan = tile_plan(x.shape[0], inner, outer, size, padding, 16, tasks)
    total = x.shape[0] * plan.tiles_in_image
    panel_step = total * 64
    v_position = _position_step(panel_step * _panels(inner))
    d_position = _position_step(panel_step * _panels(outer))
    v = buffers.aligned(36 * v_position)
    d = buffers.aligned(36 * d_position)
    units = _unit_ints(x, plan)
    stage_bytes = _position_step(plan.images * max(plan.stage_image, plan.patch_image))
    stage = buffers.aligned(tasks * stage_bytes)
    some = min(tasks, plan.count)
    launch(all_inputs, [*units, v, v_position, 64, panel_step, stage, stage_bytes], tasks=some)
    table = _image_table(grad_out)
    launch(all_gradients, [*units, table, d, d_position, panel_step, stage, stage_bytes], tasks=some)
    launch(
        all_weight_products,
        (
            v,
            v_position,
            inner,
            d,
            d_position,
            du,
            du_position,
            panel_step,
            _panels(outer),
            total,
            np.zeros(1, np.int64),
            256,
            int(accumulate),
        ),
    )
