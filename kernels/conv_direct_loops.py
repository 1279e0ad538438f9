"""The loops of direct convolution (conv_direct.py says what they are for)."""

from kernels.cache import kernel
from kernels.finish import finish_pixels
from kernels.language import njit
from kernels.microkernel import (
    TOGETHER,
    multiply_channels,
    multiply_columns,
    multiply_rows,
)
from kernels.packing import copy_block, stage_rows
from kernels.parallel import share
from kernels.simd import LANES, PANEL, add, int64_at, load, store

_multiply_rows = multiply_rows.symbol
_multiply_columns = multiply_columns.symbol
_multiply_channels = multiply_channels.symbol
_copy_block = copy_block.symbol
_stage_rows = stage_rows.symbol

# The bodies that walk over units share the beginning of their argument block: the source image, the
# units of conv_plan.Units, and the stage. Steps and sizes are in bytes.

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
    SOURCE_STEP,
    IMAGES,
    UNITS,
    UNIT_IMAGES,
    BANDS,
    BAND_ROWS,
    IN_PLACE,
    STAGE_ROWS,
    STAGE_COLUMNS,
    STAGE_PIXEL,
    STAGE_ROW,
    STAGE_IMAGE,
    BUFFER,
    BUFFER_TASK,
    OWN,  # where a body's own arguments begin
) = range(25)


KERNELS = 8
"""Inputs whose kernels are packed together: where they lie side by side, they are read as one."""


@njit(nogil=True)
def _unit(ints, unit):
    """First image of a unit, number of its images, first row of its results (per phase)."""
    n, top = unit * ints[UNIT_IMAGES], 0
    if ints[BANDS] > 1:
        n = unit // ints[BANDS]
        top = (unit - n * ints[BANDS]) * ints[BAND_ROWS]
    return n, min(ints[UNIT_IMAGES], ints[IMAGES] - n), top


@njit(nogil=True)
def _unit_source(ints, n, here, top, buffer):
    """Where a unit's windows begin: in the source itself, or in the stage, which is filled."""
    row = top * ints[SOURCE_STEP] + ints[FIRST_ROW]
    if ints[IN_PLACE]:
        column = ints[FIRST_COLUMN] * ints[SOURCE_PIXEL]
        return ints[SOURCE] + n * ints[SOURCE_IMAGE] + row * ints[SOURCE_ROW] + column
    for i in range(here):
        _stage_rows(
            ints[SOURCE] + (n + i) * ints[SOURCE_IMAGE],
            ints[SOURCE_ROW],
            ints[SOURCE_PIXEL],
            ints[SOURCE_CHANNEL],
            ints[HEIGHT],
            ints[WIDTH],
            ints[CHANNELS],
            row,
            ints[STAGE_ROWS],
            ints[FIRST_COLUMN],
            ints[STAGE_COLUMNS],
            buffer + i * ints[STAGE_IMAGE],
            ints[STAGE_ROW],
            ints[STAGE_PIXEL],
            ints[STAGE_PIXEL] // 4,
        )
    return buffer


@kernel(needs=[copy_block])
def pack_weights(ints, floats, task, tasks):
    """Weights of any strides into [phase][group][panel][tap][k][16] (see GatherPlan.positions)."""
    weight, lane_step, k_step, position_step = ints[0], ints[1], ints[2], ints[3]
    groups, outer, inner, n_positions = ints[4], ints[5], ints[6], ints[7]
    lane_group_step, k_group_step = ints[8], ints[9]
    positions = int64_at(ints[10])
    packed = ints[11]
    kernel = n_positions * 64
    scratch = ints[12] + task * KERNELS * kernel
    panels = (outer + PANEL - 1) // PANEL
    k_blocks = (inner + PANEL - 1) // PANEL
    total = groups * panels * k_blocks
    for item in range(share(total, task, tasks), share(total, task + 1, tasks)):
        panel = item // k_blocks  # counts through the groups
        k_begin = (item - panel * k_blocks) * PANEL
        k_end = min(inner, k_begin + PANEL)
        g = panel // panels
        first = (panel - g * panels) * PANEL
        lanes = min(PANEL, outer - first)
        source = weight + g * (lane_group_step + k_group_step) + first * lane_step
        if n_positions == 1:
            if positions[1]:
                _copy_block(
                    source + k_begin * k_step,
                    k_step,
                    lane_step,
                    k_end - k_begin,
                    lanes,
                    packed + (panel * inner + k_begin) * 64,
                    64,
                    PANEL,
                )
            continue
        for first in range(k_begin, k_end, KERNELS):
            here, at = min(KERNELS, k_end - first), source + first * k_step
            if position_step == 4 and k_step == 4 * n_positions:
                length = here * n_positions
                _copy_block(at, 4, lane_step, length, lanes, scratch, 64, PANEL)
            else:
                for k in range(here):
                    to = scratch + k * kernel
                    _copy_block(
                        at + k * k_step, position_step, lane_step, n_positions, lanes, to, 64, PANEL
                    )
            for i in range(n_positions):
                n_taps = positions[3 * i + 1]
                if n_taps:
                    tap = panel * n_taps + positions[3 * i + 2]
                    to = packed + positions[3 * i] + (tap * inner + first) * 64
                    for k in range(here):
                        for v in range(0, 64, 4 * LANES):
                            value = load(scratch + k * kernel + 64 * i + v)
                            store(to + 64 * k + v, value)


@kernel(needs=[multiply_rows, multiply_channels, stage_rows])
def gather(ints, floats, task, tasks):
    """Results of one task's units: for each, stage the source, then every phase, group and
    panel."""
    result, result_image, result_row = ints[OWN], ints[OWN + 1], ints[OWN + 2]
    groups, inner, outer = ints[OWN + 3], ints[OWN + 4], ints[OWN + 5]
    n_phases, phases = ints[OWN + 6], int64_at(ints[OWN + 7])
    packed, channelwise = ints[OWN + 8], ints[OWN + 9]
    finish, accumulate = int64_at(ints[OWN + 10]), ints[OWN + 11]
    buffer = ints[BUFFER] + task * ints[BUFFER_TASK]
    panels = (outer + PANEL - 1) // PANEL
    begin, end = share(ints[UNITS], task, tasks), share(ints[UNITS], task + 1, tasks)
    for unit in range(begin, end):
        n, here, top = _unit(ints, unit)
        source = _unit_source(ints, n, here, top, buffer)
        for phase in range(n_phases):
            # See GatherPlan.phases.
            n_taps, k = phases[9 * phase], phases[9 * phase + 1]
            taps = phases[9 * phase + 2]
            sources, results = phases[9 * phase + 3], phases[9 * phase + 4]
            rows = max(0, min(ints[BAND_ROWS], phases[9 * phase + 5] - top))
            pixels = here * rows * phases[9 * phase + 6]
            weights = packed + phases[9 * phase + 7]
            to = result + n * result_image + top * phases[9 * phase + 8] * result_row
            if channelwise:
                for p in range(panels):
                    _multiply_channels(
                        pixels,
                        source + p * 64,
                        sources,
                        taps,
                        n_taps,
                        1,
                        64,
                        weights + p * n_taps * 64,
                        to + p * 64,
                        results,
                        min(PANEL, outer - p * PANEL),
                        accumulate,
                    )
                continue
            for g in range(groups):
                _multiply_rows(
                    pixels,
                    source + 4 * g * inner,
                    sources,
                    taps,
                    n_taps,
                    k,
                    weights + g * panels * n_taps * k * 64,
                    n_taps * k * 64,
                    to + 4 * g * outer,
                    results,
                    64,
                    outer,
                    accumulate,
                )
        # only a forward convolution is finished: one phase, and a dense result
        for i in range(here):
            at = result + (n + i) * result_image + top * result_row
            pixels = max(0, min(ints[BAND_ROWS], phases[5] - top)) * phases[6]
            finish_pixels(pixels, at, groups * outer, finish, at - result)


@kernel(needs=[multiply_columns, multiply_channels, stage_rows, copy_block])
def weight_gradient(ints, floats, task, tasks):
    """Sum a task's units into its partial gradient [group][kernel position, channel][panels * 16].

    With `by_panels` all tasks share one result: a task walks over all units and does its panels
    only."""
    grad, grad_image, grad_row = ints[OWN], ints[OWN + 1], ints[OWN + 2]
    grad_pixel, grad_channel = ints[OWN + 3], ints[OWN + 4]
    out_rows, out_columns = ints[OWN + 5], ints[OWN + 6]
    groups, inner, outer = ints[OWN + 7], ints[OWN + 8], ints[OWN + 9]
    n_blocks, blocks = ints[OWN + 10], int64_at(ints[OWN + 11])
    pixel_rows, pixel_step = ints[OWN + 12], ints[OWN + 13]
    by_panels, weight_rows = ints[OWN + 14], ints[OWN + 15]  # rows per group
    partial, partial_bytes = ints[OWN + 16], ints[OWN + 17]
    buffer = ints[BUFFER] + task * ints[BUFFER_TASK]
    gradients, gradient_panel = buffer + ints[OWN + 18], ints[OWN + 19]
    channelwise, block_offsets, block_results = ints[OWN + 20], ints[OWN + 21], ints[OWN + 22]
    panels = (outer + PANEL - 1) // PANEL
    unit_begin, unit_end = 0, ints[UNITS]
    panel_begin, panel_end = 0, groups * panels
    if by_panels:
        panel_begin = share(groups * panels, task, tasks)
        panel_end = share(groups * panels, task + 1, tasks)
    else:
        unit_begin, unit_end = share(unit_end, task, tasks), share(unit_end, task + 1, tasks)
        partial += task * partial_bytes
    c_step = panels * 64
    # Whether the gradient's pixels are evenly spaced over the rows (and images) of a unit.
    even = grad_row == out_columns * grad_pixel and (
        ints[UNIT_IMAGES] == 1 or grad_image == out_rows * grad_row
    )
    for unit in range(unit_begin, unit_end):
        n, here, top = _unit(ints, unit)
        rows = min(ints[BAND_ROWS], out_rows - top)
        source = _unit_source(ints, n, here, top, buffer)
        runs = 1 if even else here * rows
        length = here * rows * out_columns // runs
        panel = panel_begin
        while panel < panel_end:
            g = panel // panels
            p = panel - g * panels
            wide = min(1 if channelwise else TOGETHER, min(panels - p, panel_end - panel))
            columns = min(wide * PANEL, outer - p * PANEL)
            at = grad + n * grad_image + top * grad_row + (g * outer + p * PANEL) * grad_channel
            for i in range(runs):
                image = i // rows
                run = at
                if not even:
                    run += image * grad_image + (i - image * rows) * grad_row
                for w in range(wide):
                    _copy_block(
                        run + w * PANEL * grad_channel,
                        grad_pixel,
                        grad_channel,
                        length,
                        min(PANEL, columns - w * PANEL),
                        gradients + w * gradient_panel + i * length * 64,
                        64,
                        PANEL,
                    )
            if channelwise:
                _multiply_channels(
                    n_blocks,
                    source + p * 64,
                    block_offsets,
                    pixel_rows,
                    here * rows,
                    out_columns,
                    pixel_step,
                    gradients,
                    partial + p * 64,
                    block_results,
                    PANEL,
                    1 if unit > unit_begin else 0,
                )
            else:
                for b in range(n_blocks):
                    row = g * weight_rows + blocks[3 * b + 2]
                    _multiply_columns(
                        blocks[3 * b + 1],
                        source + blocks[3 * b] + 4 * g * inner,
                        pixel_rows,
                        here * rows,
                        out_columns,
                        pixel_step,
                        gradients,
                        64,
                        gradient_panel,
                        partial + row * c_step + p * 64,
                        c_step,
                        64,
                        wide * PANEL,
                        1 if unit > unit_begin else 0,
                    )
            panel += wide


@kernel(needs=[copy_block])
def reduce_weights(ints, floats, task, tasks):
    """Sum the partial gradients in order and write them as (O, I, kH, kW).

    row_step, panel_step   bytes from weight row (kernel position, channel) to row in a partial
                           gradient, and from panel to panel"""
    partial, n_partials, partial_bytes = ints[0], ints[1], ints[2]
    groups, inner, outer, n_positions = ints[3], ints[4], ints[5], ints[6]
    result, row_step, panel_step = ints[7], ints[9], ints[10]
    scratch = ints[8] + task * PANEL * 64
    panels = (outer + PANEL - 1) // PANEL
    length = inner * n_positions  # of one output channel's weights, in the result
    chunks = (length + PANEL - 1) // PANEL
    total = groups * panels * chunks
    for item in range(share(total, task, tasks), share(total, task + 1, tasks)):
        panel = item // chunks
        begin = (item - panel * chunks) * PANEL
        n = min(PANEL, length - begin)
        g = panel // panels
        p = panel - g * panels
        for j in range(n):
            c = (begin + j) // n_positions
            position = begin + j - c * n_positions
            row = g * length + position * inner + c
            for v in range(0, 64, 4 * LANES):
                at = partial + row * row_step + p * panel_step + v
                total_of = load(at)
                for i in range(1, n_partials):
                    total_of = add(total_of, load(at + i * partial_bytes))
                store(scratch + 64 * j + v, total_of)
        to = result + ((g * outer + p * PANEL) * length + begin) * 4
        _copy_block(scratch, 4, 64, min(PANEL, outer - p * PANEL), n, to, length * 4, n)
