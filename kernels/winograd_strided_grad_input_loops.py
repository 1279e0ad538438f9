"""The loops of Winograd's input gradient of stride 2 (winograd_strided_grad_input.py)."""

from kernels.cache import kernel
from kernels.language import njit
from kernels.microkernel import multiply_rows
from kernels.packing import stage_rows
from kernels.parallel import share
from kernels.simd import PANEL, int64_at
from kernels.winograd_loops import (
    CHANNELS,
    COLUMNS,
    OWN,
    ROWS_OF_TILES,
    STAGE_PIXEL,
    STAGE_ROW,
    TILES_IN_IMAGE,
    UNITS,
    unit_of,
)
from kernels.winograd_strided_loops import POSITIONS, stage_row
from kernels.winograd_strided_transforms import (
    PHASES,
    POINTS,
    transform_strided_pixels,
    transform_strided_weight_back,
    transform_strided_window,
)
from kernels.winograd_transforms import KERNEL
from kernels.winograd_weight_loops import (
    TOGETHER,
    items_transform,
    kernels_transform,
    read_kernels,
)

_multiply_rows = multiply_rows.symbol
_transform_window = transform_strided_window.symbol
_transform_pixels = transform_strided_pixels.symbol
_transform_weight = transform_strided_weight_back.symbol

WINDOW = 5
"""Pixels of a tile's window, in each direction."""
CHUNK = 64
"""Inputs whose U is made and multiplied before the next ones, where U is never whole."""
U_POSITION = PHASES * CHUNK * 64 + 64
"""Bytes between the positions of such a U."""


@njit(nogil=True)
def _transform(kernels, inputs, turned, target, position_step, phase_step):
    _transform_weight(kernels + 8 * 64, -192, -64, inputs, target, position_step, phase_step)


_transform_kernels = kernels_transform(_transform)
_transform_items = items_transform(_transform_kernels)


@kernel(needs=[read_kernels, transform_strided_weight_back])
def strided_back_weights(ints, floats, task, tasks):
    """U[xi][phase][panel of outputs][input][16] of weights, shared by the tasks."""
    panel = ints[5] * 64
    phase = (ints[4] + PANEL - 1) // PANEL * panel
    scratch = ints[9] + task * TOGETHER * KERNEL
    _transform_items(ints, ints[7], ints[8], panel, phase, scratch, task, tasks)


@njit(nogil=True)
def _multiply(
    tiles, d, d_position, d_rows, zero, k, u, u_position, u_phase, u_panel, m, m_position, m_phase,
    m_panel, m_rows, panels, accumulate,
):  # fmt: skip
    """M[xi, phase] (+)= D[xi] U[xi, phase], for all positions and the phases that they have: the
    two of a column phase lie side by side in U and in M."""
    for xi in range(POSITIONS):
        row = xi // POINTS
        n_rows = 1 if row == 4 else 2
        for column_phase in range(1 if xi - POINTS * row == 4 else 2):
            _multiply_rows(
                tiles,
                d + xi * d_position,
                d_rows,
                zero,
                1,
                k,
                u + xi * u_position + 2 * column_phase * u_phase,
                u_panel,
                m + xi * m_position + 2 * column_phase * m_phase,
                m_rows,
                m_panel,
                n_rows * panels * PANEL,
                accumulate,
            )


@njit(nogil=True)
def _write(
    m, m_position, m_phase, m_panel, channels, target, row_step, pixel_step, height, width, scratch,
    accumulate,
):  # fmt: skip
    """The results of a row of tiles: `height` x `width` pixels of the gradient."""
    for phase in range(PHASES):
        single_column = phase // 2
        single_row = phase - 2 * single_column
        y, x = 1 - single_row, 1 - single_column
        _transform_pixels(
            m + phase * m_phase,
            m_position,
            m_panel,
            channels,
            target + y * row_step + x * pixel_step,
            2 * row_step,
            2 * pixel_step,
            (height - y + 1) // 2,
            (width - x + 1) // 2,
            scratch,
            accumulate,
            single_row,
            single_column,
        )


@kernel(needs=[multiply_rows, stage_rows, transform_strided_window, transform_strided_pixels])
def strided_back(ints, floats, task, tasks):
    """stage -> D -> M -> result, unit by unit."""
    result = int64_at(ints[OWN])
    buffer = ints[OWN + 1] + task * ints[OWN + 2]
    d, d_position = buffer + ints[OWN + 3], ints[OWN + 4]
    m, m_position, m_panel = buffer + ints[OWN + 5], ints[OWN + 6], ints[OWN + 7]
    scratch = buffer + ints[OWN + 8]
    u, u_position = ints[OWN + 9], ints[OWN + 10]
    d_rows, zero, m_rows = ints[OWN + 11], ints[OWN + 12], ints[OWN + 13]
    inner, rows, columns = ints[CHANNELS], int64_at(ints[ROWS_OF_TILES]), ints[COLUMNS]
    d_panels, panels = (inner + PANEL - 1) // PANEL, (result[7] + PANEL - 1) // PANEL
    m_phase, u_panel = panels * m_panel, inner * 64
    for unit in range(share(ints[UNITS], task, tasks), share(ints[UNITS], task + 1, tasks)):
        n, _, top, tiles = unit_of(ints, unit)
        for i in range(tiles // columns):
            stage_row(ints, n + rows[4 * i + 3], 4 * top + rows[4 * i + 2], WINDOW, buffer)
            _transform_window(
                buffer,
                ints[STAGE_ROW],
                ints[STAGE_PIXEL],
                d_panels,
                d + i * columns * d_panels * 64,
                d_position,
                64,
                columns,
                d_panels * 64,
            )
        _multiply(
            tiles,
            d,
            d_position,
            d_rows,
            zero,
            inner,
            u,
            u_position,
            panels * u_panel,
            u_panel,
            m,
            m_position,
            m_phase,
            m_panel,
            m_rows,
            panels,
            0,
        )
        for i in range(tiles // columns):
            y = 2 * (4 * top + rows[4 * i + 2])
            _write(
                m + i * columns * 64,
                m_position,
                m_phase,
                m_panel,
                result[7],
                result[0] + (n + rows[4 * i + 3]) * result[1] + y * result[2],
                result[2],
                result[3],
                min(8, result[5] - y),
                result[6],
                scratch,
                result[9],
            )


@kernel(needs=[stage_rows, transform_strided_window])
def strided_windows(ints, floats, task, tasks):
    """D of all tiles: [position][chunk of inputs][tile][CHUNK]."""
    d, d_position, d_chunk = ints[OWN], ints[OWN + 1], ints[OWN + 2]
    buffer = ints[OWN + 3] + task * ints[OWN + 4]
    rows, columns = int64_at(ints[ROWS_OF_TILES]), ints[COLUMNS]
    panels, chunk = (ints[CHANNELS] + PANEL - 1) // PANEL, CHUNK // PANEL
    for unit in range(share(ints[UNITS], task, tasks), share(ints[UNITS], task + 1, tasks)):
        n, _, top, tiles = unit_of(ints, unit)
        first = n * ints[TILES_IN_IMAGE] + top * columns
        for i in range(tiles // columns):
            stage_row(ints, n + rows[4 * i + 3], 4 * top + rows[4 * i + 2], WINDOW, buffer)
            for q in range(0, panels, chunk):
                _transform_window(
                    buffer + 64 * q,
                    ints[STAGE_ROW],
                    ints[STAGE_PIXEL],
                    min(chunk, panels - q),
                    d + (first + i * columns) * CHUNK * 4 + q // chunk * d_chunk,
                    d_position,
                    64,
                    columns,
                    CHUNK * 4,
                )


@kernel(
    needs=[multiply_rows, read_kernels, transform_strided_weight_back, transform_strided_pixels]
)
def strided_back_products(ints, floats, task, tasks):
    """U -> M -> result, one panel of outputs after the other; D is there.

    tile table   per tile: offset in the result, height and width of what is written"""
    weight, lane_step, k_step, position_step = ints[0], ints[1], ints[2], ints[3]
    outer, inner = ints[4], ints[5]
    d, d_position, d_chunk = ints[6], ints[7], ints[8]
    tiles, zero, d_rows, m_rows = ints[9], ints[10], ints[11], ints[12]
    result, row_step, pixel_step, table = ints[13], ints[14], ints[15], int64_at(ints[16])
    accumulate, m_panel = ints[17], ints[18]
    u = ints[19] + task * ints[20]  # [position][phase][input of the chunk][16]
    m = u + POSITIONS * U_POSITION
    m_position = PHASES * m_panel
    scratch = m + POSITIONS * m_position
    panels = (outer + PANEL - 1) // PANEL
    for p in range(share(panels, task, tasks), share(panels, task + 1, tasks)):
        channels = min(PANEL, outer - p * PANEL)
        for k in range(0, inner, CHUNK):
            here = min(CHUNK, inner - k)
            _transform_kernels(
                weight + p * PANEL * lane_step + k * k_step,
                lane_step,
                k_step,
                position_step,
                here,
                channels,
                0,
                u,
                U_POSITION,
                here * 64,
                scratch,
            )
            _multiply(
                tiles,
                d + k // CHUNK * d_chunk,
                d_position,
                d_rows,
                zero,
                here,
                u,
                U_POSITION,
                here * 64,
                here * 64,
                m,
                m_position,
                m_panel,
                m_panel,
                m_rows,
                1,
                1 if k else 0,
            )
        for t in range(tiles):
            _write(
                m + 64 * t,
                m_position,
                m_panel,
                m_panel,
                channels,
                result + table[3 * t] + p * 64,
                row_step,
                pixel_step,
                table[3 * t + 1],
                table[3 * t + 2],
                scratch,
                accumulate,
            )
