"""Direct convolution: an implicit matrix product, result pixels x (kernel positions, channels) x channels.

No im2col: the micro-kernel gets a table of pixel addresses and a table of kernel offsets (conv_plan.py), and
reads the windows where they overlap in memory. This path serves every stride, padding, dilation and number
of groups; 3x3 convolutions of stride 1 mostly take the Winograd path (conv.py decides).

    forward          gather, with packed weights [group][panel of 16 outputs][kernel position][input][16]
    input gradient   gather as well, of the result's gradient, once per phase of the stride
    weight gradient  products of image columns and gradient panels, summed over units

The weight gradient is summed per task over its units and then over tasks in their order, or, when the weights
are large, each task keeps some panels of the weights to itself and walks over all units. Both orders depend
on nothing but the shapes and the number of threads, so the same bits come out every time.

Rounding: forward and input gradient add K = kernel positions x channels products in one chain:
|error| <= K * 2**-24 * sum |x||w| to first order. The weight gradient adds K = images x pixels products in
chains of one unit: the same bound with that K.

Groups with few channels (depthwise above all) fill few lanes: right, but far from the machine's peak.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels import buffers
from kernels.cache import kernel
from kernels.conv_plan import (
    Axis,
    GatherPlan,
    Layout,
    Pair,
    Units,
    WeightPlan,
    gather_plan,
    weight_plan,
)
from kernels.microkernel import multiply_columns, multiply_rows
from kernels.packing import copy_block, stage_rows
from kernels.parallel import get_num_threads, launch, share
from kernels.simd import LANES, add, int64_at, load, store

PANEL = 16
SHARED_WEIGHTS = 768 * 1024
"""Weight gradients of more bytes are not summed per task: tasks share the panels instead."""
SMALL = 300_000
"""Convolutions of fewer multiplications than this run on one thread."""

_multiply_rows = multiply_rows.symbol
_multiply_columns = multiply_columns.symbol
_copy_block = copy_block.symbol
_stage_rows = stage_rows.symbol


# ------------------------------------------------------------------------------------------- weights


@kernel(needs=[copy_block])
def pack_weights(ints, floats, task, tasks):
    """Weights of any strides into [phase][group][panel][tap][k][16] (see GatherPlan.positions)."""
    weight, lane_step, k_step, position_step = ints[0], ints[1], ints[2], ints[3]
    groups, outer, inner, n_positions = ints[4], ints[5], ints[6], ints[7]
    lane_group_step, k_group_step = ints[8], ints[9]
    positions = int64_at(ints[10])
    packed = ints[11]
    scratch = ints[12] + task * n_positions * 64
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
        for k in range(k_begin, k_end):
            at = source + k * k_step
            _copy_block(at, position_step, lane_step, n_positions, lanes, scratch, 64, PANEL)
            for i in range(n_positions):
                n_taps = positions[3 * i + 1]
                if n_taps:
                    tap = panel * n_taps + positions[3 * i + 2]
                    to = packed + positions[3 * i] + (tap * inner + k) * 64
                    for v in range(0, 64, 4 * LANES):
                        store(to + v, load(scratch + 64 * i + v))


# ------------------------------------------------------------------------ forward and input gradient


@njit(nogil=True)
def stage_unit(ints, n, rows_from, buffer):
    """Copy an image's window, from row `rows_from`, into the stage at `buffer`.

    ints: image address and its four steps (image, row, pixel, channel), height, width, channels,
    first column of the window, stage rows, stage columns, stage row step, stage pixel step, stage channels
    """
    _stage_rows(
        ints[0] + n * ints[1],
        ints[2],
        ints[3],
        ints[4],
        ints[5],
        ints[6],
        ints[7],
        rows_from,
        ints[9],
        ints[8],
        ints[10],
        buffer,
        ints[11],
        ints[12],
        ints[13],
    )


STAGE_INTS = 14


def stage_ints(x: NDArray[Any], units: Units, first_column: int) -> list[Any]:
    """The arguments of `stage_unit`."""
    layout = Layout.of(x)
    _, c, h, w = x.shape
    stage = units.stage
    return [
        x,
        layout.image,
        layout.row,
        layout.pixel,
        layout.channel,
        h,
        w,
        c,
        first_column,
        units.stage_rows,
        units.stage_columns,
        stage.row,
        stage.pixel,
        c,
    ]


@kernel(needs=[multiply_rows, stage_rows])
def gather(ints, floats, task, tasks):
    """Results of one task's units: for each, stage the source, then every phase, group and panel."""
    n_images = ints[14]
    count, images, bands, band_rows, in_place = ints[15], ints[16], ints[17], ints[18], ints[19]
    first_row, source_step, result_step = ints[20], ints[21], ints[22]
    stage_image, first_offset = ints[23], ints[24]
    result, result_image, result_row = ints[25], ints[26], ints[27]
    groups, inner, outer = ints[28], ints[29], ints[30]
    n_phases, phases = ints[31], int64_at(ints[32])
    packed = ints[33]
    buffer = ints[34] + task * ints[35]
    panels = (outer + PANEL - 1) // PANEL
    for unit in range(share(count, task, tasks), share(count, task + 1, tasks)):
        n = unit * images
        band = 0
        if bands > 1:
            n = unit // bands
            band = unit - n * bands
        here = min(images, n_images - n)
        top = band * band_rows
        row = top * source_step + first_row
        if in_place:
            source = ints[0] + n * ints[1] + row * ints[2] + first_offset
        else:
            source = buffer
            for i in range(here):
                stage_unit(ints, n + i, row, buffer + i * stage_image)
        to = result + n * result_image + top * result_step * result_row
        for phase in range(n_phases):
            n_taps, k = phases[8 * phase], phases[8 * phase + 1]
            taps = phases[8 * phase + 2]
            sources, results = phases[8 * phase + 3], phases[8 * phase + 4]
            rows = max(0, min(band_rows, phases[8 * phase + 5] - top))
            pixels = here * rows * phases[8 * phase + 6]
            weights = packed + phases[8 * phase + 7]
            for g in range(groups):
                for p in range(panels):
                    _multiply_rows(
                        pixels,
                        source + 4 * g * inner,
                        sources,
                        taps,
                        n_taps,
                        k,
                        weights + (g * panels + p) * n_taps * k * 64,
                        to + 4 * (g * outer + p * PANEL),
                        results,
                        min(PANEL, outer - p * PANEL),
                        0,
                    )


def run_gather(
    source: NDArray[np.float32],
    weight: NDArray[np.float32],
    result: NDArray[np.float32],
    rows: Axis,
    columns: Axis,
    groups: int,
    transposed: bool,
) -> None:
    """result (N,C,H,W, channels contiguous in memory) from source and weight (O, I/groups, kH, kW).

    transposed  the source's channels are the weight's O (input gradient), else its I (forward)"""
    images, source_channels, *source_size = source.shape
    result_channels = result.shape[1]
    kernel_size: Pair = (weight.shape[2], weight.shape[3])
    inner, outer = source_channels // groups, result_channels // groups
    work = result.size * inner * kernel_size[0] * kernel_size[1]
    tasks = get_num_threads() if work >= SMALL else 1
    plan: GatherPlan = gather_plan(
        images,
        source_channels,
        (source_size[0], source_size[1]),
        Layout.of(source),
        Layout.of(result),
        result_channels,
        kernel_size,
        rows,
        columns,
        groups,
        tasks,
    )
    packed = _packed(weight, plan, groups, inner, outer, transposed)
    units = plan.units
    # An odd number of cache lines, so that the tasks' stages do not collide in the cache.
    stage_bytes = -(-units.stage_bytes // 128) * 128 + 64
    stage = buffers.aligned(tasks * stage_bytes)
    layout = Layout.of(result)
    launch(
        gather,
        [
            *stage_ints(source, units, plan.first_column),
            images,
            units.count,
            units.images,
            units.bands,
            units.band_rows,
            int(units.in_place),
            plan.first_row,
            plan.source_row_step,
            plan.result_row_step,
            units.stage.image,
            plan.first_column * units.stage.pixel,
            result,
            layout.image,
            layout.row,
            groups,
            inner,
            outer,
            len(plan.phases),
            plan.phases,
            packed,
            stage,
            stage_bytes,
        ],
        tasks=min(tasks, units.count),
    )


def _packed(
    weight: NDArray[np.float32],
    plan: GatherPlan,
    groups: int,
    inner: int,
    outer: int,
    transposed: bool,
) -> NDArray[np.uint8]:
    n_positions = weight.shape[2] * weight.shape[3]
    weight = one_step_positions(weight)
    o_step, i_step, _, position_step = weight.strides
    lane_step, k_step = (i_step, o_step) if transposed else (o_step, i_step)
    # Groups lie one after the other along O, for either role of O.
    lane_group = 0 if transposed else outer * o_step
    k_group = inner * o_step if transposed else 0
    packed = buffers.aligned(plan.weight_bytes)
    tasks = get_num_threads() if weight.size > 20_000 else 1
    launch(
        pack_weights,
        (
            weight,
            lane_step,
            k_step,
            position_step,
            groups,
            outer,
            inner,
            n_positions,
            lane_group,
            k_group,
            plan.positions,
            packed,
            buffers.aligned(tasks * n_positions * 64),
        ),
        tasks=tasks,
    )
    return packed


def one_step_positions(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The weight, copied if its kernel positions are not evenly spaced in memory."""
    kw = weight.shape[3]
    if weight.shape[2] == 1 or weight.strides[2] == kw * weight.strides[3]:
        return weight
    if kw == 1:
        return weight.transpose(0, 1, 3, 2)
    return np.ascontiguousarray(weight)


# ------------------------------------------------------------------------------------ weight gradient


@kernel(needs=[multiply_columns, stage_rows, copy_block])
def weight_gradient(ints, floats, task, tasks):
    """Sum a task's units into its partial gradient [group][kernel position, channel][panels * 16].

    With `by_panels` all tasks share one result: a task walks over all units and does its panels only."""
    n_images = ints[14]
    count, images, bands, band_rows, in_place = ints[15], ints[16], ints[17], ints[18], ints[19]
    first_row, source_step = ints[20], ints[21]
    stage_image, first_offset = ints[22], ints[23]
    grad, grad_image, grad_row, grad_pixel, grad_channel = ints[24], ints[25], ints[26], ints[27], ints[28]
    out_rows, out_columns = ints[29], ints[30]
    groups, inner, outer = ints[31], ints[32], ints[33]
    n_blocks, blocks = ints[34], int64_at(ints[35])
    pixel_rows, pixel_step = ints[36], ints[37]
    by_panels = ints[38]
    weight_rows = ints[39]  # per group
    partial_bytes = ints[41]
    buffer = ints[42] + task * ints[43]
    gradients = buffer + ints[44]
    panels = (outer + PANEL - 1) // PANEL
    unit_begin, unit_end = 0, count
    panel_begin, panel_end = 0, groups * panels
    partial = ints[40]
    if by_panels:
        panel_begin = share(groups * panels, task, tasks)
        panel_end = share(groups * panels, task + 1, tasks)
    else:
        unit_begin, unit_end = share(count, task, tasks), share(count, task + 1, tasks)
        partial += task * partial_bytes
    c_step = panels * 64
    even = grad_row == out_columns * grad_pixel and (bands > 1 or grad_image == out_rows * grad_row)
    for unit in range(unit_begin, unit_end):
        n = unit * images
        band = 0
        if bands > 1:
            n = unit // bands
            band = unit - n * bands
        here = min(images, n_images - n)
        top = band * band_rows
        rows = min(band_rows, out_rows - top)
        row = top * source_step + first_row
        if in_place:
            source = ints[0] + n * ints[1] + row * ints[2] + first_offset
        else:
            source = buffer
            for i in range(here):
                stage_unit(ints, n + i, row, buffer + i * stage_image)
        for panel in range(panel_begin, panel_end):
            g = panel // panels
            p = panel - g * panels
            lanes = min(PANEL, outer - p * PANEL)
            at = grad + n * grad_image + top * grad_row + (g * outer + p * PANEL) * grad_channel
            if even:
                _copy_block(
                    at,
                    grad_pixel,
                    grad_channel,
                    here * rows * out_columns,
                    lanes,
                    gradients,
                    64,
                    PANEL,
                )
            else:
                for i in range(here):
                    for y in range(rows):
                        _copy_block(
                            at + i * grad_image + y * grad_row,
                            grad_pixel,
                            grad_channel,
                            out_columns,
                            lanes,
                            gradients + (i * rows + y) * out_columns * 64,
                            64,
                            PANEL,
                        )
            for b in range(n_blocks):
                _multiply_columns(
                    blocks[3 * b + 1],
                    source + blocks[3 * b] + 4 * g * inner,
                    pixel_rows,
                    here * rows,
                    out_columns,
                    pixel_step,
                    gradients,
                    64,
                    partial + (g * weight_rows + blocks[3 * b + 2]) * c_step + p * 64,
                    c_step,
                    PANEL,
                    1 if unit > unit_begin else 0,
                )


@kernel(needs=[copy_block])
def reduce_weights(ints, floats, task, tasks):
    """Sum the partial gradients in order and write them as (O, I, kH, kW)."""
    partial, n_partials, partial_bytes = ints[0], ints[1], ints[2]
    groups, inner, outer, n_positions = ints[3], ints[4], ints[5], ints[6]
    result = ints[7]
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
                at = partial + row * panels * 64 + p * 64 + v
                total_of = load(at)
                for i in range(1, n_partials):
                    total_of = add(total_of, load(at + i * partial_bytes))
                store(scratch + 64 * j + v, total_of)
        to = result + ((g * outer + p * PANEL) * length + begin) * 4
        _copy_block(scratch, 4, 64, min(PANEL, outer - p * PANEL), n, to, length * 4, n)


def run_weight_gradient(
    grad_out: NDArray[np.float32],
    x: NDArray[np.float32],
    result: NDArray[np.float32],
    rows: Axis,
    columns: Axis,
    groups: int,
) -> None:
    """result (O, I/groups, kH, kW), C-contiguous, from grad_out (N,O,OH,OW) and x (N,I,H,W)."""
    images, channels, height, width = x.shape
    outer, inner = result.shape[0] // groups, channels // groups
    n_positions = result.shape[2] * result.shape[3]
    work = grad_out.size * inner * n_positions
    tasks = get_num_threads() if work >= SMALL else 1
    plan: WeightPlan = weight_plan(
        images, channels, (height, width), Layout.of(x), rows, columns, groups, tasks
    )
    units = plan.units
    panels = -(-outer // PANEL)
    partial_bytes = groups * n_positions * inner * panels * 64
    by_panels = partial_bytes > SHARED_WEIGHTS and groups * panels >= tasks
    if not by_panels:
        tasks = min(tasks, units.count)
    n_partials = 1 if by_panels else tasks
    partial = buffers.aligned(n_partials * partial_bytes)
    stage_bytes = -(-units.stage_bytes // 64) * 64
    gradient_bytes = units.images * units.band_rows * plan.column_count * 64
    task_bytes = -(-(stage_bytes + gradient_bytes) // 128) * 128 + 64
    layout = Layout.of(grad_out)
    launch(
        weight_gradient,
        [
            *stage_ints(x, units, plan.first_column),
            images,
            units.count,
            units.images,
            units.bands,
            units.band_rows,
            int(units.in_place),
            plan.first_row,
            plan.source_row_step,
            units.stage.image,
            plan.first_column * units.stage.pixel,
            grad_out,
            layout.image,
            layout.row,
            layout.pixel,
            layout.channel,
            plan.row_count,
            plan.column_count,
            groups,
            inner,
            outer,
            len(plan.blocks),
            plan.blocks,
            plan.pixel_rows,
            plan.pixel_step,
            int(by_panels),
            n_positions * inner,
            partial,
            partial_bytes,
            buffers.aligned(tasks * task_bytes),
            task_bytes,
            stage_bytes,
        ],
        tasks=tasks,
    )
    tasks = get_num_threads() if result.size > 20_000 else 1
    launch(
        reduce_weights,
        (
            partial,
            n_partials,
            partial_bytes,
            groups,
            inner,
            outer,
            n_positions,
            result,
            buffers.aligned(tasks * PANEL * 64),
        ),
        tasks=tasks,
    )
