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
from numba import njit
from numpy.typing import NDArray

from kernels import buffers
from kernels.cache import kernel
from kernels.conv_direct import one_step_positions
from kernels.microkernel import multiply_columns, multiply_rows
from kernels.packing import copy_block, stage_rows
from kernels.parallel import get_num_threads, launch, share
from kernels.simd import LANES, PANEL, add, int64_at, load, store
from kernels.winograd_plan import TilePlan, tile_plan
from kernels.winograd_transforms import (
    transform_gradient,
    transform_input,
    transform_output,
    transform_weight,
    transform_weight_gradient,
)

UNIT_BYTES = 640 * 1024
"""V and M of a fused unit are about this large."""
BY_STEP_CHANNELS = 192
"""From this many inputs and outputs (their geometric mean) on, the steps run one after the other."""
BY_STEP_BYTES = 96 * 2**20
"""V and M of all tiles; more images are done in several rounds."""

_multiply_rows = multiply_rows.symbol
_multiply_columns = multiply_columns.symbol
_copy_block = copy_block.symbol
_stage_rows = stage_rows.symbol
_transform_input = transform_input.symbol
_transform_gradient = transform_gradient.symbol
_transform_output = transform_output.symbol
_transform_weight = transform_weight.symbol
_transform_weight_gradient = transform_weight_gradient.symbol

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


# ------------------------------------------------------------------------------------------- weights


@kernel(needs=[copy_block, transform_weight])
def transform_weights(ints, floats, task, tasks):
    """U[xi][panel of outputs][input][16] from weights of any strides."""
    weight, lane_step, k_step, position_step = ints[0], ints[1], ints[2], ints[3]
    outer, inner, turned = ints[4], ints[5], ints[6]
    target, target_position = ints[7], ints[8]
    scratch = ints[9] + task * 9 * 64
    panels = (outer + PANEL - 1) // PANEL
    total = panels * inner
    for item in range(share(total, task, tasks), share(total, task + 1, tasks)):
        p = item // inner
        k = item - p * inner
        at = weight + p * PANEL * lane_step + k * k_step
        lanes = min(PANEL, outer - p * PANEL)
        _copy_block(at, position_step, lane_step, 9, lanes, scratch, 64, PANEL)
        if turned:
            _transform_weight(scratch + 8 * 64, -192, -64, target + item * 64, target_position)
        else:
            _transform_weight(scratch, 192, 64, target + item * 64, target_position)


# ------------------------------------------------------------------------- pieces of the two schedules
#
# The argument block of all bodies below begins with the same numbers (see `_unit_ints`):
#
#   0 .. 7    source: address, steps of image, row, pixel, channel; height, width, channels
#   8, 9      first row and column of the window of tile (0, 0)
#   10 .. 16  number of images; units: count, images, bands, band_rows; tiles in an image; tiles in a row
#   17 .. 21  stage: rows, columns, pixel, row and image in bytes
#   22        table of tiles
#   23 .. 25  patch stage (of 4x4 windows): pixel, row and image in bytes


@njit(nogil=True)
def _unit(ints, unit):
    """First image, images, first row of tiles and number of tiles of a unit."""
    images, bands, band_rows = ints[12], ints[13], ints[14]
    n, top = unit * images, 0
    rows = ints[15] // ints[16]
    if bands > 1:
        n = unit // bands
        top = (unit - n * bands) * band_rows
    here = min(images, ints[10] - n)
    return n, here, top, here * min(band_rows, rows - top) * ints[16]


@njit(nogil=True)
def _stage_source(ints, n, here, top, buffer):
    """Stage the 6x6 windows of a unit."""
    for i in range(here):
        _stage_rows(
            ints[0] + (n + i) * ints[1],
            ints[2],
            ints[3],
            ints[4],
            ints[5],
            ints[6],
            ints[7],
            4 * top + ints[8],
            ints[17],
            ints[9],
            ints[18],
            buffer + i * ints[21],
            ints[20],
            ints[19],
            ints[19] // 4,
        )


@njit(nogil=True)
def _stage_patches(ints, gradient, n, here, top, buffer):
    """Stage the 4x4 windows of a unit; `gradient`: address, 4 steps, height, width, channels."""
    for i in range(here):
        _stage_rows(
            gradient[0] + (n + i) * gradient[1],
            gradient[2],
            gradient[3],
            gradient[4],
            gradient[5],
            gradient[6],
            gradient[7],
            4 * top,
            4 * ints[14],
            0,
            4 * ints[16],
            buffer + i * ints[25],
            ints[24],
            ints[23],
            ints[23] // 4,
        )


@njit(nogil=True)
def _write_tiles(ints, result, n, top, tiles, products, position_step, panel_step, scratch):
    """Transform a unit's products back into the result.

    `result`: address, steps of image, row, pixel; height, width, channels"""
    table = int64_at(ints[22])
    for t in range(tiles):
        row, column = 4 * top + table[5 * t + 2], table[5 * t + 3]
        to = result[0] + (n + table[5 * t + 4]) * result[1] + row * result[2] + column * result[3]
        _transform_output(
            products + t * 64,
            position_step,
            panel_step,
            result[6],
            to,
            result[2],
            result[3],
            min(4, result[4] - row),
            min(4, result[5] - column),
            scratch,
        )


# ---------------------------------------------------------------------------------------- fused


@kernel(needs=[multiply_rows, stage_rows, transform_input, transform_output])
def fused_forward(ints, floats, task, tasks):
    """stage -> V -> M -> result, unit by unit."""
    result = int64_at(ints[26])
    u, u_position = ints[27], ints[28]
    buffer = ints[29] + task * ints[30]
    v, v_position = buffer + ints[31], ints[32]
    m, m_position, m_panel = v + ints[33], ints[34], ints[35]
    scratch = m + ints[36]
    offsets = scratch + 1024  # 64 bytes of zeros, then the rows of V, then the rows of M
    unit_tiles = ints[37]
    table = int64_at(ints[22])
    channels = ints[7]
    panels, v_panels = (result[6] + PANEL - 1) // PANEL, (channels + PANEL - 1) // PANEL
    int64_at(offsets)[0] = 0
    v_rows = offsets + 64
    m_rows = v_rows + 8 * unit_tiles
    for t in range(unit_tiles):
        int64_at(v_rows)[t] = t * v_panels * 64
        int64_at(m_rows)[t] = t * 64
    for unit in range(share(ints[11], task, tasks), share(ints[11], task + 1, tasks)):
        n, here, top, tiles = _unit(ints, unit)
        _stage_source(ints, n, here, top, buffer)
        for t in range(tiles):
            at = buffer + table[5 * t]
            to = v + t * v_panels * 64
            _transform_input(at, ints[20], ints[19], v_panels, to, v_position, 64)
        for xi in range(36):
            for p in range(panels):
                _multiply_rows(
                    tiles,
                    v + xi * v_position,
                    v_rows,
                    offsets,
                    1,
                    channels,
                    u + xi * u_position + p * channels * 64,
                    m + xi * m_position + p * m_panel,
                    m_rows,
                    PANEL,
                    0,
                )
        _write_tiles(ints, result, n, top, tiles, m, m_position, m_panel, scratch)


@kernel(needs=[multiply_columns, stage_rows, transform_input, transform_gradient])
def fused_weight_gradient(ints, floats, task, tasks):
    """stage -> V, D -> dU of this task, unit by unit."""
    gradient = int64_at(ints[26])
    du, du_position, du_task = ints[27], ints[28], ints[29]
    buffer = ints[30] + task * ints[31]
    patches = buffer + ints[32]
    v, v_position = patches + ints[33], ints[34]
    d, d_position = v + ints[35], ints[36]
    zero = d + ints[37]
    panel_step = ints[38]
    table = int64_at(ints[22])
    channels = ints[7]
    v_panels, d_panels = (channels + PANEL - 1) // PANEL, (gradient[7] + PANEL - 1) // PANEL
    du += task * du_task
    int64_at(zero)[0] = 0
    begin = share(ints[11], task, tasks)
    for unit in range(begin, share(ints[11], task + 1, tasks)):
        n, here, top, tiles = _unit(ints, unit)
        _stage_source(ints, n, here, top, buffer)
        _stage_patches(ints, gradient, n, here, top, patches)
        for t in range(tiles):
            at = buffer + table[5 * t]
            _transform_input(at, ints[20], ints[19], v_panels, v + t * 64, v_position, panel_step)
            at = patches + table[5 * t + 1]
            _transform_gradient(at, ints[24], ints[23], d_panels, d + t * 64, d_position, panel_step)
        for xi in range(36):
            for p in range(d_panels):
                for q in range(v_panels):
                    _multiply_columns(
                        min(PANEL, channels - q * PANEL),
                        v + xi * v_position + q * panel_step,
                        zero,
                        1,
                        tiles,
                        64,
                        d + xi * d_position + p * panel_step,
                        64,
                        du + xi * du_position + (p * channels + q * PANEL) * 64,
                        64,
                        PANEL,
                        1 if unit > begin else 0,
                    )


# --------------------------------------------------------------------------------------- by step


@kernel(needs=[stage_rows, transform_input])
def all_inputs(ints, floats, task, tasks):
    """V of all tiles."""
    v, v_position, tile_step, panel_step = ints[26], ints[27], ints[28], ints[29]
    buffer = ints[30] + task * ints[31]
    table = int64_at(ints[22])
    panels = (ints[7] + PANEL - 1) // PANEL
    for unit in range(share(ints[11], task, tasks), share(ints[11], task + 1, tasks)):
        n, here, top, tiles = _unit(ints, unit)
        first = n * ints[15] + top * ints[16]
        _stage_source(ints, n, here, top, buffer)
        for t in range(tiles):
            to = v + (first + t) * tile_step
            at = buffer + table[5 * t]
            _transform_input(at, ints[20], ints[19], panels, to, v_position, panel_step)


@kernel(needs=[stage_rows, transform_gradient])
def all_gradients(ints, floats, task, tasks):
    """D of all tiles."""
    gradient = int64_at(ints[26])
    d, d_position, panel_step = ints[27], ints[28], ints[29]
    buffer = ints[30] + task * ints[31]
    table = int64_at(ints[22])
    panels = (gradient[7] + PANEL - 1) // PANEL
    for unit in range(share(ints[11], task, tasks), share(ints[11], task + 1, tasks)):
        n, here, top, tiles = _unit(ints, unit)
        first = n * ints[15] + top * ints[16]
        _stage_patches(ints, gradient, n, here, top, buffer)
        for t in range(tiles):
            at = buffer + table[5 * t + 1]
            to = d + (first + t) * 64
            _transform_gradient(at, ints[24], ints[23], panels, to, d_position, panel_step)


@kernel(needs=[transform_output])
def all_outputs(ints, floats, task, tasks):
    """Results of all tiles."""
    result = int64_at(ints[26])
    m, m_position, m_panel = ints[27], ints[28], ints[29]
    scratch = ints[30] + task * ints[31]
    for unit in range(share(ints[11], task, tasks), share(ints[11], task + 1, tasks)):
        n, here, top, tiles = _unit(ints, unit)
        first = n * ints[15] + top * ints[16]
        _write_tiles(ints, result, n, top, tiles, m + first * 64, m_position, m_panel, scratch)


@kernel(needs=[multiply_rows])
def all_products(ints, floats, task, tasks):
    """M = V U: a task's share of the (position, panel) pairs, in blocks of tiles that stay in the cache."""
    v, v_position, channels, u, u_position = ints[0], ints[1], ints[2], ints[3], ints[4]
    m, m_position, m_panel, panels, tiles = ints[5], ints[6], ints[7], ints[8], ints[9]
    zero, v_rows, m_rows, block = ints[10], ints[11], ints[12], ints[13]
    v_row = (channels + PANEL - 1) // PANEL * 64
    begin, end = share(36 * panels, task, tasks), share(36 * panels, task + 1, tasks)
    while begin < end:
        xi = begin // panels
        stop = min(end, (xi + 1) * panels)
        for t in range(0, tiles, block):
            for item in range(begin, stop):
                p = item - xi * panels
                _multiply_rows(
                    min(block, tiles - t),
                    v + xi * v_position + t * v_row,
                    v_rows,
                    zero,
                    1,
                    channels,
                    u + xi * u_position + p * channels * 64,
                    m + xi * m_position + p * m_panel + t * 64,
                    m_rows,
                    PANEL,
                    0,
                )
        begin = stop


@kernel(needs=[multiply_columns])
def all_weight_products(ints, floats, task, tasks):
    """dU (+)= V^T D: a task's share of the (position, panel of outputs) pairs."""
    v, v_position, channels, d, d_position = ints[0], ints[1], ints[2], ints[3], ints[4]
    du, du_position, panel_step, d_panels, tiles = ints[5], ints[6], ints[7], ints[8], ints[9]
    zero, block, accumulate = ints[10], ints[11], ints[12]
    v_panels = (channels + PANEL - 1) // PANEL
    begin, end = share(36 * d_panels, task, tasks), share(36 * d_panels, task + 1, tasks)
    while begin < end:
        xi = begin // d_panels
        stop = min(end, (xi + 1) * d_panels)
        for t in range(0, tiles, block):
            for item in range(begin, stop):
                p = item - xi * d_panels
                for q in range(v_panels):
                    _multiply_columns(
                        min(PANEL, channels - q * PANEL),
                        v + xi * v_position + q * panel_step + t * 64,
                        zero,
                        1,
                        min(block, tiles - t),
                        64,
                        d + xi * d_position + p * panel_step + t * 64,
                        64,
                        du + xi * du_position + (p * channels + q * PANEL) * 64,
                        64,
                        PANEL,
                        1 if accumulate or t else 0,
                    )
        begin = stop


@kernel(needs=[copy_block, transform_weight_gradient])
def write_weight_gradient(ints, floats, task, tasks):
    """(O, I, 3, 3) from the sum of the tasks' dU[xi][panel of outputs][input][16]."""
    du, du_position, n_partials, du_task = ints[0], ints[1], ints[2], ints[3]
    outer, inner, result = ints[4], ints[5], ints[6]
    scratch = ints[7] + task * 45 * 64
    panels = (outer + PANEL - 1) // PANEL
    total = panels * inner
    for item in range(share(total, task, tasks), share(total, task + 1, tasks)):
        p = item // inner
        k = item - p * inner
        source, step = du + item * 64, du_position
        if n_partials > 1:
            for xi in range(36):
                for v in range(0, 64, 4 * LANES):
                    at = du + xi * du_position + item * 64 + v
                    value = load(at)
                    for i in range(1, n_partials):
                        value = add(value, load(at + i * du_task))
                    store(scratch + xi * 64 + v, value)
            source, step = scratch, 64
        _transform_weight_gradient(source, step, scratch + 36 * 64)
        to = result + (p * PANEL * inner + k) * 36
        lanes = min(PANEL, outer - p * PANEL)
        _copy_block(scratch + 36 * 64, 4, 64, lanes, 9, to, inner * 36, 9)


# ------------------------------------------------------------------------------------- the drivers


Array = NDArray[Any]


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
