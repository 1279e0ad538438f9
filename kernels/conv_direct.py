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

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels import buffers
from kernels.conv_direct_loops import gather, pack_weights, reduce_weights, weight_gradient
from kernels.conv_plan import Axis, GatherPlan, Layout, Pair, WeightPlan, gather_plan, weight_plan
from kernels.finish import Finish, FinishTable
from kernels.microkernel import TOGETHER
from kernels.parallel import get_num_threads, launch
from kernels.prepared import Prepared
from kernels.workers import catch_up

PANEL = 16
SHARED_WEIGHTS = 768 * 1024
"""Weight gradients of more bytes are not summed per task: tasks share the panels instead."""
SMALL = 300_000
"""Convolutions of fewer multiplications than this run on one thread."""


def _unit_ints(
    x: NDArray[np.float32], plan: GatherPlan | WeightPlan, extra_bytes: int, tasks: int
) -> list[Any]:
    """The beginning of every body's argument block (conv_direct_loops.py), with a new buffer of a
    stage and `extra_bytes` for each task."""
    n, c, h, w = x.shape
    layout = Layout.of(x)
    units, stage = plan.units, plan.units.stage
    # An odd number of cache lines, so that the tasks' buffers do not collide in a shared cache.
    task_bytes = -(-(units.stage_bytes + extra_bytes) // 128) * 128 + 64
    return [
        *(x, layout.image, layout.row, layout.pixel, layout.channel, h, w, c),
        *(plan.first_row, plan.first_column, plan.source_step),
        *(n, units.count, units.images, units.bands, units.band_rows, int(units.in_place)),
        *(units.stage_rows, units.stage_columns, stage.pixel, stage.row, stage.image),
        *(buffers.scratch(tasks * task_bytes), task_bytes),
    ]


def _channelwise(inner: int, outer: int, groups: int) -> bool:
    """Whether each channel has its own kernel (depthwise): then lanes are channels throughout."""
    return groups > 1 and inner == outer == 1


def run_gather(
    source: NDArray[np.float32],
    weight: NDArray[np.float32],
    result: NDArray[np.float32],
    rows: Axis,
    columns: Axis,
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
    images, source_channels, *source_size = source.shape
    result_channels = result.shape[1]
    kernel_size: Pair = (weight.shape[2], weight.shape[3])
    inner, outer = source_channels // groups, result_channels // groups
    work = result.size * inner * kernel_size[0] * kernel_size[1]
    channelwise = _channelwise(inner, outer, groups)
    if channelwise:
        groups, outer = 1, result_channels
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
        channelwise,
        tasks,
    )
    arguments = (weight, plan, groups, inner, outer, transposed and not channelwise)
    if prepared is None:
        packed = _packed(*arguments)
    else:
        key = ("direct", groups, inner, outer, plan.positions.tobytes())
        packed = prepared.get(key)
        if packed is None:
            packed = prepared.keep(key, _packed(*arguments))
    table = FinishTable(finish, result_channels)
    layout = Layout.of(result)
    launch(
        gather,
        [
            *_unit_ints(source, plan, 0, tasks),
            *(result, layout.image, layout.row),
            *(groups, inner, outer),
            *(len(plan.phases), plan.phases, packed, int(channelwise)),
            *(table.numbers, int(accumulate)),
        ],
        tasks=min(tasks, plan.units.count),
        later=True,
        keep=(plan, table),
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
    packed = buffers.aligned(plan.weight_bytes, later=True)
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
            buffers.scratch(tasks * n_positions * 64),
        ),
        tasks=tasks,
        later=True,
    )
    return packed


def one_step_positions(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The weight, copied if its kernel positions are not evenly spaced in memory."""
    kw = weight.shape[3]
    if weight.shape[2] == 1 or weight.strides[2] == kw * weight.strides[3]:
        return weight
    if kw == 1:
        return weight.transpose(0, 1, 3, 2)
    catch_up()
    return np.ascontiguousarray(weight)


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
    channelwise = _channelwise(inner, outer, groups)
    if channelwise:
        groups, outer = 1, channels
    size, layout = (height, width), Layout.of(x)
    plan: WeightPlan = weight_plan(
        images, channels, size, layout, rows, columns, groups, channelwise, tasks
    )
    units = plan.units
    panels = -(-outer // PANEL)
    partial_bytes = groups * n_positions * inner * panels * 64
    by_panels = partial_bytes > SHARED_WEIGHTS and groups * panels >= tasks
    if not by_panels:
        tasks = min(tasks, units.count)
    n_partials = 1 if by_panels else tasks
    partial = buffers.aligned(n_partials * partial_bytes, later=True)
    gradient_panel = buffers.spread(units.images * units.band_rows * plan.column_count * 64)
    layout = Layout.of(grad_out)
    launch(
        weight_gradient,
        [
            *_unit_ints(x, plan, TOGETHER * gradient_panel, tasks),
            *(grad_out, layout.image, layout.row, layout.pixel, layout.channel),
            *(plan.row_count, plan.column_count),
            *(groups, inner, outer),
            *(len(plan.blocks), plan.blocks, plan.pixel_rows, plan.pixel_step),
            *(int(by_panels), n_positions * inner),
            *(partial, partial_bytes, units.stage_bytes, gradient_panel),
            *(int(channelwise), plan.block_offsets, plan.blocks[:, 2] * (panels * 64)),
        ],
        tasks=tasks,
        later=True,
        keep=(plan,),
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
            buffers.scratch(tasks * PANEL * 64),
            panels * 64,
            64,
        ),
        tasks=tasks,
        later=True,
    )
