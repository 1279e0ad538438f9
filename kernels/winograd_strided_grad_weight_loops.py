"""The loops of Winograd's weight gradient of stride 2 (winograd_strided_grad_weight.py)."""

from kernels.cache import kernel
from kernels.language import njit
from kernels.microkernel import multiply_columns
from kernels.packing import copy_block, stage_rows
from kernels.parallel import share
from kernels.simd import LANES, PANEL, add, int64_at, load, store
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
from kernels.winograd_strided_grad_input_loops import WINDOW
from kernels.winograd_strided_loops import POSITIONS, stage_row
from kernels.winograd_strided_transforms import (
    PHASES,
    POINTS,
    transform_strided_blocks,
    transform_strided_weight_gradient,
    transform_strided_window,
)
from kernels.winograd_weight_loops import write_kernels

_multiply_columns = multiply_columns.symbol
_stage_rows = stage_rows.symbol
_transform_blocks = transform_strided_blocks.symbol
_transform_weight_gradient = transform_strided_weight_gradient.symbol
_transform_window = transform_strided_window.symbol

BLOCK = 8
"""Pixels of a tile's block of the input, in each direction."""
GROUP = 2
"""Panels of outputs whose dU is made at a time, where dU is never whole."""
DU_PHASE = PANEL * 64
"""Bytes between the phases of a pair of panels' dU,"""
DU_POSITION = PHASES * DU_PHASE + 64
"""between its positions, and"""
DU_PANEL = POSITIONS * DU_POSITION
"""between its panels."""


@njit(nogil=True)
def _has_phase(xi, phase):
    """Whether a position has a phase: single rows are missing in row 4, single columns in column
    4."""
    row = xi // POINTS
    return (row < 4 or phase % 2 == 0) and (xi - POINTS * row < 4 or phase < 2)


@njit(nogil=True)
def _transform_unit(
    ints, image, n, top, tiles, stage, v, v_position, v_phase, d, d_position, panel_step
):
    """V and D of a unit, in panels. `image`: the input's address, steps of image, row, pixel,
    channel, height, width, channels, and the distances of pixels and rows in its stage."""
    rows, columns = int64_at(ints[ROWS_OF_TILES]), ints[COLUMNS]
    for i in range(tiles // columns):
        row = 4 * top + rows[4 * i + 2]
        stage_row(ints, n + rows[4 * i + 3], row, WINDOW, stage)
        _transform_window(
            stage,
            ints[STAGE_ROW],
            ints[STAGE_PIXEL],
            (ints[CHANNELS] + PANEL - 1) // PANEL,
            d + i * columns * 64,
            d_position,
            panel_step,
            columns,
            64,
        )
        _stage_rows(
            image[0] + (n + rows[4 * i + 3]) * image[1],
            image[2],
            image[3],
            image[4],
            image[5],
            image[6],
            image[7],
            2 * row,
            BLOCK,
            0,
            BLOCK * columns,
            stage,
            image[9],
            image[8],
            image[8] // 4,
        )
        _transform_blocks(
            stage,
            image[9],
            image[8],
            (image[7] + PANEL - 1) // PANEL,
            v + i * columns * 64,
            v_position,
            v_phase,
            panel_step,
            columns,
            64,
        )


@kernel(needs=[multiply_columns, stage_rows, transform_strided_blocks, transform_strided_window])
def strided_weight_sums(ints, floats, task, tasks):
    """stage -> V, D -> dU[xi][phase][panel of outputs][input][16] of this task, unit by unit."""
    image = int64_at(ints[OWN])
    du, du_position, du_phase = ints[OWN + 1], ints[OWN + 2], ints[OWN + 3]
    du += task * POSITIONS * du_position
    stage = ints[OWN + 4] + task * ints[OWN + 5]
    v, v_position, v_phase = stage + ints[OWN + 6], ints[OWN + 7], ints[OWN + 8]
    d, d_position = stage + ints[OWN + 9], ints[OWN + 10]
    panel_step, zero = ints[OWN + 11], ints[OWN + 12]
    inner, outer = image[7], ints[CHANNELS]
    begin = share(ints[UNITS], task, tasks)
    for unit in range(begin, share(ints[UNITS], task + 1, tasks)):
        n, _, top, tiles = unit_of(ints, unit)
        _transform_unit(
            ints, image, n, top, tiles, stage, v, v_position, v_phase, d, d_position, panel_step
        )
        for xi in range(POSITIONS):
            for phase in range(PHASES):
                if _has_phase(xi, phase):
                    for q in range((inner + PANEL - 1) // PANEL):
                        _multiply_columns(
                            min(PANEL, inner - q * PANEL),
                            v + xi * v_position + phase * v_phase + q * panel_step,
                            zero,
                            1,
                            tiles,
                            64,
                            d + xi * d_position,
                            64,
                            panel_step,
                            du + xi * du_position + phase * du_phase + q * PANEL * 64,
                            64,
                            inner * 64,
                            (outer + PANEL - 1) // PANEL * PANEL,
                            1 if unit > begin else 0,
                        )


@kernel(needs=[stage_rows, transform_strided_blocks, transform_strided_window])
def strided_blocks_and_windows(ints, floats, task, tasks):
    """V and D of all tiles."""
    image = int64_at(ints[OWN])
    stage = ints[OWN + 1] + task * ints[OWN + 2]
    v, v_position, v_phase = ints[OWN + 3], ints[OWN + 4], ints[OWN + 5]
    d, d_position, panel_step = ints[OWN + 6], ints[OWN + 7], ints[OWN + 8]
    for unit in range(share(ints[UNITS], task, tasks), share(ints[UNITS], task + 1, tasks)):
        n, _, top, tiles = unit_of(ints, unit)
        first = (n * ints[TILES_IN_IMAGE] + top * ints[COLUMNS]) * 64
        _transform_unit(
            ints,
            image,
            n,
            top,
            tiles,
            stage,
            v + first,
            v_position,
            v_phase,
            d + first,
            d_position,
            panel_step,
        )


@njit(nogil=True)
def _write(du, du_position, du_phase, inputs, lanes, to, output_step, scratch):
    """dw[output][input][3, 3] of one panel of outputs and up to 16 inputs from
    du[xi][phase][input][16]; `to`: the first input of the panel's first output."""
    _transform_weight_gradient(du, du_position, du_phase, inputs, scratch)
    write_kernels(scratch, inputs, lanes, to, output_step)


@kernel(needs=[multiply_columns, copy_block, transform_strided_weight_gradient])
def strided_weight_products(ints, floats, task, tasks):
    """V, D -> dU -> result, a panel of inputs and GROUP panels of outputs at a time."""
    v, v_position, v_phase, d, d_position = ints[0], ints[1], ints[2], ints[3], ints[4]
    panel_step, outer, inner, tiles = ints[5], ints[6], ints[7], ints[8]
    zero, result = ints[9], ints[10]
    du = ints[11] + task * ints[12]
    scratch = du + GROUP * DU_PANEL
    blocks = (inner + PANEL - 1) // PANEL
    total = (outer + GROUP * PANEL - 1) // (GROUP * PANEL) * blocks
    for item in range(share(total, task, tasks), share(total, task + 1, tasks)):
        group = item // blocks
        q, first = item - group * blocks, group * GROUP
        channels = min(GROUP * PANEL, outer - first * PANEL)
        inputs = min(PANEL, inner - q * PANEL)
        for xi in range(POSITIONS):
            for phase in range(PHASES):
                if _has_phase(xi, phase):
                    _multiply_columns(
                        inputs,
                        v + xi * v_position + phase * v_phase + q * panel_step,
                        zero,
                        1,
                        tiles,
                        64,
                        d + xi * d_position + first * panel_step,
                        64,
                        panel_step,
                        du + xi * DU_POSITION + phase * DU_PHASE,
                        64,
                        DU_PANEL,
                        (channels + PANEL - 1) // PANEL * PANEL,
                        0,
                    )
        for p in range(0, channels, PANEL):
            _write(
                du + p // PANEL * DU_PANEL,
                DU_POSITION,
                DU_PHASE,
                inputs,
                min(PANEL, channels - p),
                result + ((first * PANEL + p) * inner + q * PANEL) * 36,
                inner * 36,
                scratch,
            )


@kernel(needs=[copy_block, transform_strided_weight_gradient])
def strided_write_weights(ints, floats, task, tasks):
    """A task's share of (O, I, 3, 3) from the sum of all tasks' dU."""
    du, du_position, du_phase, n_partials = ints[0], ints[1], ints[2], ints[3]
    outer, inner, result = ints[4], ints[5], ints[6]
    sums = ints[7] + task * ints[8]
    scratch = sums + DU_PANEL
    blocks = (inner + PANEL - 1) // PANEL
    total = (outer + PANEL - 1) // PANEL * blocks
    for item in range(share(total, task, tasks), share(total, task + 1, tasks)):
        p = item // blocks
        q = item - p * blocks
        inputs = min(PANEL, inner - q * PANEL)
        source = du + (p * inner + q * PANEL) * 64
        for xi in range(POSITIONS):
            for phase in range(PHASES):
                if _has_phase(xi, phase):
                    for i in range(0, inputs * 64, 4 * LANES):
                        at = source + xi * du_position + phase * du_phase + i
                        value = load(at)
                        for partial in range(1, n_partials):
                            value = add(value, load(at + partial * POSITIONS * du_position))
                        store(sums + xi * DU_POSITION + phase * DU_PHASE + i, value)
        _write(
            sums,
            DU_POSITION,
            DU_PHASE,
            inputs,
            min(PANEL, outer - p * PANEL),
            result + (p * PANEL * inner + q * PANEL) * 36,
            inner * 36,
            scratch,
        )
