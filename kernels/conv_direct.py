"""Direct convolution: an implicit matrix product, result pixels x (kernel positions, channels) x
channels.

No im2col: the micro-kernel gets a table of pixel addresses and a table of kernel offsets
(conv_plan.py), and reads the windows where they overlap in memory. This path serves every stride,
padding, dilation and number of groups; 3x3 convolutions of stride 1 mostly take the Winograd path
(conv.py decides).

    forward          gather, with weights packed as [group][panel of outputs][position][input][16]
    input gradient   gather as well, of the result's gradient, once per phase of the stride
    weight gradient  products of image columns and gradient panels, summed over units; with many
                     channels conv_panels.py does it

The weight gradient is summed per task over its units and then over tasks in their order, or, when
the weights are large, each task keeps some panels of the weights to itself and walks over all
units. Both orders depend on nothing but the shapes and the number of threads, so the same bits come
out every time.

Rounding: forward and input gradient add K = kernel positions x channels products in one chain:
|error| <= K * 2**-24 * sum |x||w| to first order. The weight gradient adds K = images x pixels
products in chains of one unit: the same bound with that K.

Groups with few channels fill few lanes: right, but far from the machine's peak. Depthwise
convolution (groups of one channel each) has a micro-kernel of its own, with channels as lanes.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels import buffers
from kernels.conv_direct_loops import KERNELS, gather, pack_weights, reduce_weights, weight_gradient
from kernels.conv_plan import GatherPlan, Geometry, Layout, WeightPlan, gather_plan, weight_plan
from kernels.finish import NO_FINISH, Finish, FinishTable
from kernels.launch_plan import HERE, LaunchPlan, Work
from kernels.microkernel import TOGETHER
from kernels.parallel import get_num_threads
from kernels.prepared import Prepared
from kernels.workers import catch_up

Array = NDArray[np.float32]
Shape = tuple[int, ...]
PANEL = 16
SHARED_WEIGHTS = 768 * 1024
"""Weight gradients of more bytes are not summed per task: tasks share the panels instead."""
SMALL = 300_000
"""Convolutions of fewer multiplications than this run on one thread."""


def _unit_ints(
    shape: Shape, strides: Shape, plan: GatherPlan | WeightPlan, task_bytes: int
) -> list[Any]:
    """The beginning of every body's argument block (conv_direct_loops.py). To be given: the source.
    `task_bytes` of working memory for each task."""
    n, c, h, w = shape
    layout, units, stage = Layout.of(strides), plan.units, plan.units.stage
    return [
        *(HERE, layout.image, layout.row, layout.pixel, layout.channel, h, w, c),
        *(plan.first_row, plan.first_column, plan.source_step),
        *(n, units.count, units.images, units.bands, units.band_rows, int(units.in_place)),
        *(units.stage_rows, units.stage_columns, stage.pixel, stage.row, stage.image),
        *(Work(), task_bytes),
    ]


def _channelwise(inner: int, outer: int, groups: int) -> bool:
    """Whether each channel has its own kernel (depthwise): then lanes are channels throughout."""
    return groups > 1 and inner == outer == 1


def run_gather(
    source: Array,
    weight: Array,
    result: Array,
    geometry: Geometry,
    groups: int,
    transposed: bool,
    finish: Finish | None = None,
    prepared: Prepared | None = None,
    accumulate: bool = False,
) -> None:
    """result (N,C,H,W, channels contiguous in memory) from source and weight (O, I/groups, kH, kW).

    transposed  the source's channels are the weight's O (input gradient), else its I (forward)
    finish      what follows a forward convolution; the result must be dense then
    prepared    keeps the packed weights
    accumulate  add to the result instead of overwriting it"""
    spaced = one_step_positions(weight)
    way = _way_to_gather(
        source.shape,
        source.strides,
        weight.shape,
        spaced.strides,
        result.shape,
        result.strides,
        geometry,
        groups,
        transposed,
        finish is not None,
        accumulate,
        get_num_threads(),
    )
    packed = None if prepared is None else prepared.get(way.key)
    if packed is None:
        packed = buffers.aligned(way.weight_bytes, later=True)
        way.pack.launch(spaced, packed)
        if prepared is not None:
            prepared.keep(way.key, packed)
    if finish is None:
        way.gather.launch(source, result, packed)
    else:
        table = FinishTable(finish, result.shape[1])
        way.gather.launch(source, result, packed, table.numbers, keep=(table,))


class _WayToGather(NamedTuple):
    """How weights are packed (to be given: the weight, room for it) and units gathered (source,
    result, packed weight, what follows if anything does).

    key   the packed weight's name among those that are prepared"""

    pack: LaunchPlan
    weight_bytes: int
    key: Any
    gather: LaunchPlan


@lru_cache(maxsize=512)
def _way_to_gather(
    shape: Shape,
    strides: Shape,
    weight_shape: Shape,
    weight_strides: Shape,
    result_shape: Shape,
    result_strides: Shape,
    geometry: Geometry,
    groups: int,
    transposed: bool,
    finished: bool,
    accumulate: bool,
    threads: int,
) -> _WayToGather:
    images, source_channels, *source_size = shape
    result_channels = result_shape[1]
    kernel = (weight_shape[2], weight_shape[3])
    inner, outer = source_channels // groups, result_channels // groups
    work = math.prod(result_shape) * inner * math.prod(kernel)
    channelwise = _channelwise(inner, outer, groups)
    if channelwise:
        groups, outer = 1, result_channels
    tasks = threads if work >= SMALL else 1
    plan = gather_plan(
        images,
        source_channels,
        (source_size[0], source_size[1]),
        Layout.of(strides),
        Layout.of(result_strides),
        result_channels,
        kernel,
        *geometry.axes((result_shape if transposed else shape)[2:], kernel, transposed),
        groups,
        channelwise,
        tasks,
    )
    layout = Layout.of(result_strides)
    task_bytes = buffers.spread(plan.units.stage_bytes)
    gather_ints = [
        *_unit_ints(shape, strides, plan, task_bytes),
        *(HERE, layout.image, layout.row, groups, inner, outer),
        *(len(plan.phases), plan.phases, HERE, int(channelwise)),
        *(HERE if finished else NO_FINISH, int(accumulate)),
    ]
    pack = _pack_plan(
        weight_shape,
        weight_strides,
        plan,
        groups,
        inner,
        outer,
        transposed and not channelwise,
        threads,
    )
    return _WayToGather(
        pack,
        plan.weight_bytes,
        ("direct", groups, inner, outer, plan.positions.tobytes()),
        LaunchPlan(
            gather,
            gather_ints,
            tasks=min(tasks, plan.units.count),
            keep=plan,
            work_bytes=tasks * task_bytes,
        ),
    )


def _pack_plan(
    shape: Shape,
    strides: Shape,
    plan: GatherPlan,
    groups: int,
    inner: int,
    outer: int,
    transposed: bool,
    threads: int,
) -> LaunchPlan:
    """How weights are packed."""
    n_positions = shape[2] * shape[3]
    o_step, i_step, _, position_step = strides
    lane_step, k_step = (i_step, o_step) if transposed else (o_step, i_step)
    # Groups lie one after the other along O, for either role of O.
    lane_group = 0 if transposed else outer * o_step
    k_group = inner * o_step if transposed else 0
    tasks = threads if math.prod(shape) > 20_000 else 1
    ints = [
        *(HERE, lane_step, k_step, position_step, groups, outer, inner, n_positions),
        *(lane_group, k_group, plan.positions, HERE, Work()),
    ]
    work_bytes = tasks * KERNELS * n_positions * 64
    return LaunchPlan(pack_weights, ints, tasks=tasks, work_bytes=work_bytes)


def one_step_positions(weight: Array) -> Array:
    """The weight, copied if its kernel positions are not evenly spaced in memory."""
    kw = weight.shape[3]
    if weight.shape[2] == 1 or weight.strides[2] == kw * weight.strides[3]:
        return weight
    if kw == 1:
        return weight.transpose(0, 1, 3, 2)
    catch_up()
    return np.ascontiguousarray(weight)


def run_weight_gradient(
    grad_out: Array, x: Array, result: Array, geometry: Geometry, groups: int
) -> None:
    """result (O, I/groups, kH, kW), C-contiguous, from grad_out (N,O,OH,OW) and x (N,I,H,W)."""
    way = _way_to_weights(
        grad_out.strides,
        x.shape,
        x.strides,
        result.shape,
        geometry,
        groups,
        get_num_threads(),
    )
    partial = buffers.aligned(way.partial_bytes, later=True)
    way.sum.launch(x, grad_out, partial)
    way.reduce.launch(partial, result)


class WayToWeights(NamedTuple):
    """How a weight gradient is summed (to be given: x, grad_out, partial, which has partial_bytes),
    and how the tasks' sums are added (partial, result)."""

    sum: LaunchPlan
    partial_bytes: int
    reduce: LaunchPlan


@lru_cache(maxsize=512)
def _way_to_weights(
    grad_strides: Shape,
    x_shape: Shape,
    x_strides: Shape,
    result_shape: Shape,
    geometry: Geometry,
    groups: int,
    threads: int,
) -> WayToWeights:
    images, channels, height, width = x_shape
    kernel = (result_shape[2], result_shape[3])
    outer, inner = result_shape[0] // groups, channels // groups
    n_positions = math.prod(kernel)
    channelwise = _channelwise(inner, outer, groups)
    rows, columns = geometry.axes((height, width), kernel, False)
    work = images * result_shape[0] * rows.count * columns.count * inner * n_positions
    tasks = threads if work >= SMALL else 1
    if channelwise:
        groups, outer = 1, channels
    plan = weight_plan(
        images,
        channels,
        (height, width),
        Layout.of(x_strides),
        rows,
        columns,
        groups,
        channelwise,
        tasks,
    )
    units = plan.units
    panels = -(-outer // PANEL)
    partial_bytes = groups * n_positions * inner * panels * 64
    by_panels = partial_bytes > SHARED_WEIGHTS and groups * panels >= tasks
    if not by_panels:
        tasks = min(tasks, units.count)
    n_partials = 1 if by_panels else tasks
    gradient_panel = buffers.spread(units.images * units.band_rows * plan.column_count * 64)
    task_bytes = buffers.spread(units.stage_bytes + TOGETHER * gradient_panel)
    layout = Layout.of(grad_strides)
    ints = [
        *_unit_ints(x_shape, x_strides, plan, task_bytes),
        *(HERE, layout.image, layout.row, layout.pixel, layout.channel),
        *(plan.row_count, plan.column_count),
        *(groups, inner, outer),
        *(len(plan.blocks), plan.blocks, plan.pixel_rows, plan.pixel_step),
        *(int(by_panels), n_positions * inner),
        *(HERE, partial_bytes, units.stage_bytes, gradient_panel),
        *(int(channelwise), plan.block_offsets, plan.blocks[:, 2] * (panels * 64)),
    ]
    return WayToWeights(
        LaunchPlan(weight_gradient, ints, tasks=tasks, work_bytes=tasks * task_bytes),
        n_partials * partial_bytes,
        reduce_plan(
            n_partials,
            partial_bytes,
            groups,
            inner,
            outer,
            n_positions,
            panels * 64,
            64,
            threads,
        ),
    )


def reduce_plan(
    n_partials: int,
    partial_bytes: int,
    groups: int,
    inner: int,
    outer: int,
    n_positions: int,
    row_step: int,
    panel_step: int,
    threads: int,
) -> LaunchPlan:
    """How partial sums are added (arguments as in `reduce_weights`)."""
    tasks = threads if groups * outer * inner * n_positions > 20_000 else 1
    ints = [
        *(HERE, n_partials, partial_bytes, groups, inner, outer, n_positions),
        *(HERE, Work(), row_step, panel_step),
    ]
    return LaunchPlan(reduce_weights, ints, tasks=tasks, work_bytes=tasks * PANEL * 64)
