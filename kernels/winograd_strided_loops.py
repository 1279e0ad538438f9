"""The loops of Winograd's convolution of stride 2 (winograd_strided.py says what they are for)."""

from kernels.cache import kernel
from kernels.language import njit
from kernels.microkernel import multiply_rows
from kernels.packing import stage_rows
from kernels.parallel import share
from kernels.simd import PANEL, int64_at
from kernels.winograd_loops import (
    CHANNELS,
    COLUMNS,
    FIRST_COLUMN,
    FIRST_ROW,
    HEIGHT,
    OWN,
    ROWS_OF_TILES,
    SOURCE,
    SOURCE_CHANNEL,
    SOURCE_IMAGE,
    SOURCE_PIXEL,
    SOURCE_ROW,
    STAGE_COLUMNS,
    STAGE_PIXEL,
    STAGE_ROW,
    TILES_IN_IMAGE,
    UNITS,
    WIDTH,
    tile_writer,
    unit_of,
)
from kernels.winograd_strided_transforms import (
    PHASES,
    POINTS,
    transform_strided_input,
    transform_strided_output,
    transform_strided_weight,
)
from kernels.winograd_transforms import KERNEL
from kernels.winograd_weight_loops import (
    TOGETHER,
    items_transform,
    kernels_transform,
    read_kernels,
)

_multiply_rows = multiply_rows.symbol
_stage_rows = stage_rows.symbol
_transform_input = transform_strided_input.symbol
_transform_output = transform_strided_output.symbol
_transform_weight = transform_strided_weight.symbol

POSITIONS = POINTS * POINTS
WINDOW = 9
"""Pixels of a tile's window, in each direction."""
CHUNK = 32
"""Inputs whose U is made and multiplied before the next ones, where U is never whole."""
GROUP = 2
"""Panels of outputs whose U is made and multiplied at a time."""
U_POSITION = PHASES * CHUNK * 64 + 64
"""Bytes between the positions of a panel of such a U, and"""
U_PANEL = POSITIONS * U_POSITION
"""between its panels."""


@njit(nogil=True)
def phases(position):
    """How many phases a position has."""
    row = position // POINTS
    return (1 if row == 3 else 2) * (1 if position - POINTS * row == 3 else 2)


@njit(nogil=True)
def _transform(kernels, inputs, turned, target, position_step, phase_step):
    _transform_weight(kernels, 192, 64, inputs, target, position_step, phase_step)


@njit(nogil=True)
def stage_row(ints, n, row, window, buffer):
    """Stage the windows of a row of tiles: `window` rows of image n, the first of them `row` below
    FIRST_ROW."""
    _stage_rows(
        ints[SOURCE] + n * ints[SOURCE_IMAGE],
        ints[SOURCE_ROW],
        ints[SOURCE_PIXEL],
        ints[SOURCE_CHANNEL],
        ints[HEIGHT],
        ints[WIDTH],
        ints[CHANNELS],
        row + ints[FIRST_ROW],
        window,
        ints[FIRST_COLUMN],
        ints[STAGE_COLUMNS],
        buffer,
        ints[STAGE_ROW],
        ints[STAGE_PIXEL],
        ints[STAGE_PIXEL] // 4,
    )


_transform_kernels = kernels_transform(_transform)
_transform_items = items_transform(_transform_kernels)
_write_tiles = tile_writer(_transform_output)


@kernel(needs=[read_kernels, transform_strided_weight])
def strided_weights(ints, floats, task, tasks):
    """U[xi][panel of outputs][phase][input][16] of weights, shared by the tasks."""
    phase = ints[5] * 64
    scratch = ints[9] + task * TOGETHER * KERNEL
    _transform_items(ints, ints[7], ints[8], PHASES * phase, phase, scratch, task, tasks)


@kernel(needs=[multiply_rows, stage_rows, transform_strided_input, transform_strided_output])
def strided_forward(ints, floats, task, tasks):
    """stage -> V -> M -> result, unit by unit."""
    result = int64_at(ints[OWN])
    buffer = ints[OWN + 1] + task * ints[OWN + 2]
    v, v_position = buffer + ints[OWN + 3], ints[OWN + 4]
    m, m_position, m_panel = buffer + ints[OWN + 5], ints[OWN + 6], ints[OWN + 7]
    scratch = buffer + ints[OWN + 8]
    u, u_position = ints[OWN + 9], ints[OWN + 10]
    v_rows, phase_table, m_rows = ints[OWN + 11], ints[OWN + 12], ints[OWN + 13]
    channels, rows, columns = ints[CHANNELS], int64_at(ints[ROWS_OF_TILES]), ints[COLUMNS]
    panels = (channels + PANEL - 1) // PANEL
    begin, end = share(ints[UNITS], task, tasks), share(ints[UNITS], task + 1, tasks)
    for unit in range(begin, end):
        n, here, top, tiles = unit_of(ints, unit)
        for i in range(tiles // columns):
            row = 2 * (4 * top + rows[4 * i + 2])
            stage_row(ints, n + rows[4 * i + 3], row, WINDOW, buffer)
            _transform_input(
                buffer,
                ints[STAGE_ROW],
                ints[STAGE_PIXEL],
                panels,
                v + i * columns * PHASES * panels * 64,
                v_position,
                panels * 64,
                64,
                columns,
                PHASES * panels * 64,
            )
        for xi in range(POSITIONS):
            _multiply_rows(
                tiles,
                v + xi * v_position,
                v_rows,
                phase_table,
                phases(xi),
                channels,
                u + xi * u_position,
                PHASES * channels * 64,
                m + xi * m_position,
                m_rows,
                m_panel,
                (result[7] + PANEL - 1) // PANEL * PANEL,
                0,
            )
        _write_tiles(ints, result, n, here, top, tiles, m, m_position, m_panel, scratch)


@kernel(needs=[stage_rows, transform_strided_input])
def strided_inputs(ints, floats, task, tasks):
    """V of all tiles: [position][chunk of inputs][tile][phase][CHUNK]."""
    v, v_position, v_chunk = ints[OWN], ints[OWN + 1], ints[OWN + 2]
    buffer = ints[OWN + 3] + task * ints[OWN + 4]
    rows, columns = int64_at(ints[ROWS_OF_TILES]), ints[COLUMNS]
    panels, chunk = (ints[CHANNELS] + PANEL - 1) // PANEL, CHUNK // PANEL
    tile_step = PHASES * CHUNK * 4
    for unit in range(share(ints[UNITS], task, tasks), share(ints[UNITS], task + 1, tasks)):
        n, _, top, tiles = unit_of(ints, unit)
        first = n * ints[TILES_IN_IMAGE] + top * columns
        for i in range(tiles // columns):
            row = 2 * (4 * top + rows[4 * i + 2])
            stage_row(ints, n + rows[4 * i + 3], row, WINDOW, buffer)
            for q in range(0, panels, chunk):
                _transform_input(
                    buffer + 64 * q,
                    ints[STAGE_ROW],
                    ints[STAGE_PIXEL],
                    min(chunk, panels - q),
                    v + (first + i * columns) * tile_step + q // chunk * v_chunk,
                    v_position,
                    CHUNK * 4,
                    64,
                    columns,
                    tile_step,
                )


@kernel(needs=[multiply_rows, read_kernels, transform_strided_weight, transform_strided_output])
def strided_products(ints, floats, task, tasks):
    """U -> M -> result, GROUP panels of outputs at a time; V is there.

    tile table   per tile: offset in the result, height and width of what is written"""
    weight, lane_step, k_step, position_step = ints[0], ints[1], ints[2], ints[3]
    outer, inner = ints[4], ints[5]
    v, v_position, v_chunk = ints[6], ints[7], ints[8]
    tiles, phase_table, v_rows, m_rows = ints[9], ints[10], ints[11], ints[12]
    result, row_step, pixel_step, table = ints[13], ints[14], ints[15], int64_at(ints[16])
    m_panel = ints[17]
    u = ints[18] + task * ints[19]  # GROUP panels of [position][phase][input of the chunk][16]
    m = u + GROUP * U_PANEL
    m_position = GROUP * m_panel
    scratch = m + POSITIONS * m_position
    groups = (outer + GROUP * PANEL - 1) // (GROUP * PANEL)
    for group in range(share(groups, task, tasks), share(groups, task + 1, tasks)):
        first = group * GROUP * PANEL
        channels = min(GROUP * PANEL, outer - first)
        columns = (channels + PANEL - 1) // PANEL * PANEL
        for k in range(0, inner, CHUNK):
            here = min(CHUNK, inner - k)
            for p in range(0, channels, PANEL):
                _transform_kernels(
                    weight + (first + p) * lane_step + k * k_step,
                    lane_step,
                    k_step,
                    position_step,
                    here,
                    min(PANEL, channels - p),
                    0,
                    u + p // PANEL * U_PANEL,
                    U_POSITION,
                    here * 64,
                    scratch,
                )
            for xi in range(POSITIONS):
                _multiply_rows(
                    tiles,
                    v + xi * v_position + k // CHUNK * v_chunk,
                    v_rows,
                    phase_table,
                    phases(xi),
                    here,
                    u + xi * U_POSITION,
                    U_PANEL,
                    m + xi * m_position,
                    m_rows,
                    m_panel,
                    columns,
                    1 if k else 0,
                )
        for t in range(tiles):
            _transform_output(
                m + 64 * t,
                m_position,
                m_panel,
                channels,
                result + table[3 * t] + first * 4,
                row_step,
                pixel_step,
                table[3 * t + 1],
                table[3 * t + 2],
                scratch,
                0,
            )
