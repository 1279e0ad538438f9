"""The loops of Winograd's convolution (winograd.py says what they are for)."""

from typing import Any

from kernels.cache import kernel
from kernels.finish import finish_pixels
from kernels.language import njit
from kernels.microkernel import multiply_columns, multiply_rows
from kernels.norm_loops import (
    add_block,
    add_statistics,
    begin_normalize,
    begin_statistics,
    end_statistics,
    merge_statistics,
    normalize_rows,
    normalize_some,
    prepare,
)
from kernels.packing import stage_rows
from kernels.parallel import share
from kernels.simd import PANEL, int64_at
from kernels.square import SQUARE_PAYS, add_square, multiply_square
from kernels.winograd_transforms import (
    transform_gradient,
    transform_input,
    transform_output,
    transform_weight,
)
from kernels.winograd_weight_loops import read_kernels, transform_items

_multiply_rows = multiply_rows.symbol
_multiply_columns = multiply_columns.symbol
_multiply_square = multiply_square.symbol
_add_square = add_square.symbol
_stage_rows = stage_rows.symbol
_transform_input = transform_input.symbol
_transform_gradient = transform_gradient.symbol


# ---------------------------------------------------------------------- pieces of the two schedules
#
# The bodies that walk over units share the beginning of their argument block: the source image, the
# units of winograd_plan.TilePlan, and the layout of the two stages. Steps and sizes are in bytes.

(
    SOURCE,
    SOURCE_IMAGE,
    SOURCE_ROW,
    SOURCE_PIXEL,
    SOURCE_CHANNEL,
    HEIGHT,
    WIDTH,
    CHANNELS,
    FIRST_ROW,
    FIRST_COLUMN,
    IMAGES,
    UNITS,
    UNIT_IMAGES,
    BANDS,
    BAND_ROWS,
    TILES_IN_IMAGE,
    COLUMNS,
    STAGE_ROWS,
    STAGE_COLUMNS,
    STAGE_PIXEL,
    STAGE_ROW,
    STAGE_IMAGE,
    ROWS_OF_TILES,
    PATCH_PIXEL,
    PATCH_ROW,
    PATCH_IMAGE,
    OWN,  # where a body's own arguments begin
) = range(27)


@njit(nogil=True)
def unit_of(ints, unit):
    """First image, images, first row of tiles and number of tiles of a unit."""
    images, bands, band_rows = ints[UNIT_IMAGES], ints[BANDS], ints[BAND_ROWS]
    n, top = unit * images, 0
    rows = ints[TILES_IN_IMAGE] // ints[COLUMNS]
    if bands > 1:
        n = unit // bands
        top = (unit - n * bands) * band_rows
    here = min(images, ints[IMAGES] - n)
    return n, here, top, here * min(band_rows, rows - top) * ints[COLUMNS]


@njit(nogil=True)
def stage_windows(ints, image, n, here, top, buffer, pixel):
    """Stage the 6x6 windows of a unit of `image` (address, 4 steps, height, width, channels), in
    pixels of `pixel` bytes."""
    row = ints[STAGE_COLUMNS] * pixel
    for i in range(here):
        _stage_rows(
            image[SOURCE] + (n + i) * image[SOURCE_IMAGE],
            image[SOURCE_ROW],
            image[SOURCE_PIXEL],
            image[SOURCE_CHANNEL],
            image[HEIGHT],
            image[WIDTH],
            image[CHANNELS],
            4 * top + ints[FIRST_ROW],
            ints[STAGE_ROWS],
            ints[FIRST_COLUMN],
            ints[STAGE_COLUMNS],
            buffer + i * ints[STAGE_ROWS] * row,
            row,
            pixel,
            pixel // 4,
        )


@njit(nogil=True)
def stage_patches(ints, gradient, n, here, top, buffer):
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
            4 * ints[BAND_ROWS],
            0,
            4 * ints[COLUMNS],
            buffer + i * ints[PATCH_IMAGE],
            ints[PATCH_ROW],
            ints[PATCH_PIXEL],
            ints[PATCH_PIXEL] // 4,
        )


def tile_writer(transform: Any) -> Any:
    """A function that transforms a unit's products back into the result, and finishes it;
    `transform` is the symbol of the transform of a row of tiles."""

    @njit(nogil=True)
    def write(ints, result, n, here, top, tiles, products, position_step, panel_step, scratch):
        """`result`: address, steps of image, row, pixel, channel; height, width, channels; finish;
        accumulate"""
        rows, columns = int64_at(ints[ROWS_OF_TILES]), ints[COLUMNS]
        for i in range(tiles // columns):
            row = 4 * top + rows[4 * i + 2]
            transform(
                products + i * columns * 64,
                position_step,
                panel_step,
                result[7],
                result[0] + (n + rows[4 * i + 3]) * result[1] + row * result[2],
                result[2],
                result[3],
                min(4, result[5] - row),
                result[6],
                scratch,
                result[9],
            )
        for i in range(here):
            at = (n + i) * result[1] + 4 * top * result[2]
            pixels = min(4 * ints[BAND_ROWS], result[5] - 4 * top) * result[6]
            finish_pixels(pixels, result[0] + at, result[7], int64_at(result[8]), at)

    return write


write_tiles = tile_writer(transform_output.symbol)


@njit(nogil=True)
def transform_inputs(ints, stage, pixel, tiles, channels, v, v_step, panel_step, step):
    """V of a unit from its stage of pixels of `pixel` bytes; tiles of V are `step` apart."""
    rows, columns = int64_at(ints[ROWS_OF_TILES]), ints[COLUMNS]
    for i in range(tiles // columns):
        _transform_input(
            stage + rows[4 * i] // ints[STAGE_PIXEL] * pixel,
            ints[STAGE_COLUMNS] * pixel,
            pixel,
            (channels + PANEL - 1) // PANEL,
            v + i * columns * step,
            v_step,
            panel_step,
            columns,
            step,
        )


@njit(nogil=True)
def transform_gradients(
    ints, stage, where, row_step, pixel, tiles, channels, d, d_step, panel_step
):
    """D of a unit from the stage that column `where` of the table of its rows is for."""
    rows, columns = int64_at(ints[ROWS_OF_TILES]), ints[COLUMNS]
    for i in range(tiles // columns):
        _transform_gradient(
            stage + rows[4 * i + where],
            row_step,
            pixel,
            (channels + PANEL - 1) // PANEL,
            d + i * columns * 64,
            d_step,
            panel_step,
            columns,
            64,
        )


@njit(nogil=True)
def multiply_unit(
    tiles, v, v_step, v_rows, zero, inner, u, u_step, outer_panels, m, m_step, m_panel, m_rows
):
    """M[xi] = V[xi] U[xi] of a unit, for all 36 positions."""
    if SQUARE_PAYS and inner == PANEL:
        for xi in range(36):
            for p in range(outer_panels):
                to = m + xi * m_step + p * m_panel
                _multiply_square(tiles, v + xi * v_step, u + xi * u_step + p * PANEL * 64, to)
        return
    for xi in range(36):
        _multiply_rows(
            tiles,
            v + xi * v_step,
            v_rows,
            zero,
            1,
            inner,
            u + xi * u_step,
            inner * 64,
            m + xi * m_step,
            m_rows,
            m_panel,
            outer_panels * PANEL,
            0,
        )


@njit(nogil=True)
def add_unit(
    tiles, v, v_step, d, d_step, panel_step, zero, inner, outer_panels, du, du_step, accumulate
):
    """dU[xi] (+)= V[xi]^T D[xi] of a unit, for all 36 positions."""
    if SQUARE_PAYS and inner == PANEL and outer_panels == 1:
        for xi in range(36):
            _add_square(tiles, v + xi * v_step, d + xi * d_step, du + xi * du_step, accumulate)
        return
    for xi in range(36):
        for q in range((inner + PANEL - 1) // PANEL):
            _multiply_columns(
                min(PANEL, inner - q * PANEL),
                v + xi * v_step + q * panel_step,
                zero,
                1,
                tiles,
                64,
                d + xi * d_step,
                64,
                panel_step,
                du + xi * du_step + q * PANEL * 64,
                64,
                inner * 64,
                outer_panels * PANEL,
                accumulate,
            )


# ---------------------------------------------------------------------------------------- fused


@kernel(
    needs=[
        multiply_rows,
        multiply_square,
        stage_rows,
        transform_input,
        transform_output,
        read_kernels,
        transform_weight,
        normalize_rows,
        prepare,
        add_block,
        merge_statistics,
    ]
)
def fused_forward(ints, floats, task, tasks):
    """stage -> V -> M -> result, unit by unit; and with each unit, a batch norm's `normalize` that
    writes the source, and `statistics` of the result."""
    result = int64_at(ints[OWN])
    buffer = ints[OWN + 1] + task * ints[OWN + 2]
    step, m_panel, unit_tiles = ints[OWN + 4], ints[OWN + 5], ints[OWN + 6]
    m = buffer + ints[OWN + 3]
    v = m + step  # so M[xi] lies where V[xi - 1] was
    scratch = m + 37 * step
    u, u_position = ints[OWN + 9], ints[OWN + 7]
    if ints[OWN + 10]:
        u = buffer + ints[OWN + 8]
        transform_items(int64_at(ints[OWN + 9]), u, u_position, u + 36 * u_position, 0, 1)
    offsets = scratch + 1024  # 64 bytes of zeros, then the rows of V, then the rows of M
    channels = ints[CHANNELS]
    panels, v_panels = (result[7] + PANEL - 1) // PANEL, (channels + PANEL - 1) // PANEL
    int64_at(offsets)[0] = 0
    v_rows = offsets + 64
    m_rows = v_rows + 8 * unit_tiles
    for t in range(unit_tiles):
        int64_at(v_rows)[t] = t * v_panels * 64
        int64_at(m_rows)[t] = t * 64
    before, before_rows = int64_at(ints[OWN + 11]), ints[OWN + 12]
    after, after_rows = int64_at(ints[OWN + 13]), ints[OWN + 14]
    vectors = 0
    if before_rows:
        vectors = begin_normalize(before, floats[0], task)
    if after_rows:
        begin_statistics(after, task)
    begin, end = share(ints[UNITS], task, tasks), share(ints[UNITS], task + 1, tasks)
    for unit in range(begin, end):
        n, here, top, tiles = unit_of(ints, unit)
        if before_rows:
            normalize_some(before, vectors, n * before_rows, (n + here) * before_rows)
        stage_windows(ints, ints, n, here, top, buffer, ints[STAGE_PIXEL])
        pixel, row = ints[STAGE_PIXEL], v_panels * 64
        transform_inputs(ints, buffer, pixel, tiles, channels, v, step, 64, row)
        multiply_unit(
            tiles,
            v,
            step,
            v_rows,
            offsets,
            channels,
            u,
            u_position,
            panels,
            m,
            step,
            m_panel,
            m_rows,
        )
        write_tiles(ints, result, n, here, top, tiles, m, step, m_panel, scratch)
        if after_rows:
            first, row = begin * ints[UNIT_IMAGES] * after_rows, n * after_rows
            add_statistics(after, task, first, row, (n + here) * after_rows, after[3])
    if after_rows:
        end_statistics(after, floats[1], tasks)


@kernel(needs=[multiply_columns, add_square, stage_rows, transform_input, transform_gradient])
def fused_weight_gradient(ints, floats, task, tasks):
    """stage -> V, D -> dU of this task, unit by unit."""
    gradient = int64_at(ints[OWN])
    du, du_position, du_task = ints[OWN + 1], ints[OWN + 2], ints[OWN + 3]
    buffer = ints[OWN + 4] + task * ints[OWN + 5]
    patches = buffer + ints[OWN + 6]
    v, v_position = patches + ints[OWN + 7], ints[OWN + 8]
    d, d_position = v + ints[OWN + 9], ints[OWN + 10]
    zero = d + ints[OWN + 11]
    panel_step = ints[OWN + 12]
    channels = ints[CHANNELS]
    du += task * du_task
    int64_at(zero)[0] = 0
    begin = share(ints[UNITS], task, tasks)
    for unit in range(begin, share(ints[UNITS], task + 1, tasks)):
        n, here, top, tiles = unit_of(ints, unit)
        stage_windows(ints, ints, n, here, top, buffer, ints[STAGE_PIXEL])
        stage_patches(ints, gradient, n, here, top, patches)
        pixel = ints[STAGE_PIXEL]
        transform_inputs(ints, buffer, pixel, tiles, channels, v, v_position, panel_step, 64)
        transform_gradients(
            ints,
            patches,
            1,
            ints[PATCH_ROW],
            ints[PATCH_PIXEL],
            tiles,
            gradient[7],
            d,
            d_position,
            panel_step,
        )
        add_unit(
            tiles,
            v,
            v_position,
            d,
            d_position,
            panel_step,
            zero,
            channels,
            (gradient[7] + PANEL - 1) // PANEL,
            du,
            du_position,
            1 if unit > begin else 0,
        )
