"""The loops of Winograd's convolution step by step, for many channels (winograd.py)."""

from kernels.cache import kernel
from kernels.microkernel import TOGETHER, multiply_columns, multiply_rows
from kernels.packing import stage_rows
from kernels.parallel import share
from kernels.simd import PANEL, int64_at
from kernels.winograd_loops import (
    CHANNELS,
    COLUMNS,
    OWN,
    PATCH_PIXEL,
    PATCH_ROW,
    ROWS_OF_TILES,
    STAGE_PIXEL,
    STAGE_ROW,
    TILES_IN_IMAGE,
    UNITS,
    stage_patches,
    stage_windows,
    transform_gradients,
    unit_of,
    write_tiles,
)
from kernels.winograd_transforms import transform_gradient, transform_input, transform_output

_multiply_rows = multiply_rows.symbol
_multiply_columns = multiply_columns.symbol
_transform_input = transform_input.symbol


@kernel(needs=[stage_rows, transform_input])
def all_inputs(ints, floats, task, tasks):
    """V of all tiles, in chunks of channels: as many panels, each panel_step after the last."""
    v, v_position, tile_step, panel_step = ints[OWN], ints[OWN + 1], ints[OWN + 2], ints[OWN + 3]
    buffer = ints[OWN + 4] + task * ints[OWN + 5]
    chunk, chunk_step = ints[OWN + 6], ints[OWN + 7]
    rows, columns = int64_at(ints[ROWS_OF_TILES]), ints[COLUMNS]
    panels = (ints[CHANNELS] + PANEL - 1) // PANEL
    for unit in range(share(ints[UNITS], task, tasks), share(ints[UNITS], task + 1, tasks)):
        n, here, top, tiles = unit_of(ints, unit)
        first = n * ints[TILES_IN_IMAGE] + top * ints[COLUMNS]
        stage_windows(ints, ints, n, here, top, buffer, ints[STAGE_PIXEL])
        for i in range(tiles // columns):
            for q in range(0, panels, chunk):
                _transform_input(
                    buffer + rows[4 * i] + 64 * q,
                    ints[STAGE_ROW],
                    ints[STAGE_PIXEL],
                    min(chunk, panels - q),
                    v + (first + i * columns) * tile_step + q // chunk * chunk_step,
                    v_position,
                    panel_step,
                    columns,
                    tile_step,
                )


@kernel(needs=[stage_rows, transform_gradient])
def all_gradients(ints, floats, task, tasks):
    """D of all tiles."""
    gradient = int64_at(ints[OWN])
    d, d_position, panel_step = ints[OWN + 1], ints[OWN + 2], ints[OWN + 3]
    buffer = ints[OWN + 4] + task * ints[OWN + 5]
    row, pixel = ints[PATCH_ROW], ints[PATCH_PIXEL]
    for unit in range(share(ints[UNITS], task, tasks), share(ints[UNITS], task + 1, tasks)):
        n, here, top, tiles = unit_of(ints, unit)
        first = n * ints[TILES_IN_IMAGE] + top * ints[COLUMNS]
        stage_patches(ints, gradient, n, here, top, buffer)
        to = d + first * 64
        transform_gradients(
            ints, buffer, 1, row, pixel, tiles, gradient[7], to, d_position, panel_step
        )


@kernel(needs=[transform_output])
def all_outputs(ints, floats, task, tasks):
    """Results of all tiles."""
    result = int64_at(ints[OWN])
    m, m_position, m_panel = ints[OWN + 1], ints[OWN + 2], ints[OWN + 3]
    scratch = ints[OWN + 4] + task * ints[OWN + 5]
    for unit in range(share(ints[UNITS], task, tasks), share(ints[UNITS], task + 1, tasks)):
        n, here, top, tiles = unit_of(ints, unit)
        first = n * ints[TILES_IN_IMAGE] + top * ints[COLUMNS]
        at = m + first * 64
        write_tiles(ints, result, n, here, top, tiles, at, m_position, m_panel, scratch)


@kernel(needs=[multiply_rows])
def all_products(ints, floats, task, tasks):
    """M = V U: a task's share of the (position, panel) pairs, in blocks of tiles that stay in the
    cache."""
    v, v_position, channels, u, u_position = ints[0], ints[1], ints[2], ints[3], ints[4]
    m, m_position, m_panel, panels, tiles = ints[5], ints[6], ints[7], ints[8], ints[9]
    zero, v_rows, m_rows, block = ints[10], ints[11], ints[12], ints[13]
    v_row = (channels + PANEL - 1) // PANEL * 64
    begin, end = share(36 * panels, task, tasks), share(36 * panels, task + 1, tasks)
    while begin < end:
        xi = begin // panels
        stop = min(end, (xi + 1) * panels)
        for t in range(0, tiles, block):
            p = begin - xi * panels
            _multiply_rows(
                min(block, tiles - t),
                v + xi * v_position + t * v_row,
                v_rows,
                zero,
                1,
                channels,
                u + xi * u_position + p * channels * 64,
                channels * 64,
                m + xi * m_position + p * m_panel + t * 64,
                m_rows,
                m_panel,
                (stop - begin) * PANEL,
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
            for item in range(begin, stop, TOGETHER):
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
                        panel_step,
                        du + xi * du_position + (p * channels + q * PANEL) * 64,
                        64,
                        channels * 64,
                        min(TOGETHER, stop - item) * PANEL,
                        1 if accumulate or t else 0,
                    )
        begin = stop
