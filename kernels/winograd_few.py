"""Winograd's convolution where weights are many and tiles few: the last stages of a network.

The transformed weights U are four times as large as the weights: 38 MB for 512 x 512 channels,
written and read again for products that take less time than that. Here neither U nor dU is ever
whole, also where weights could be prepared: reading a whole U from memory takes twice as long as
making it piece by piece (512 channels, 7x7, 4 images: 2.8 and 1.5 ms on two cores of Zen 5). V (and
D) of all tiles are made first, as in the schedule by step (winograd.py); then

    forward, input gradient   a task takes one panel of outputs after the other: U of a chunk of
                              inputs, its 36 products, the next chunk; then the panel's results
    weight gradient           one pair of panels after the other: its 36 products over all tiles,
                              transformed at once to 3x3

V is read once per panel, in blocks that lie side by side: [xi][chunk of inputs][tile][64].

Time of this / with a whole U / direct, in milliseconds on two cores of Zen 3:

    channels, pixels, images    forward             weight gradient
    512, 7x7, 4 (16 tiles)      2.9 / 5.7 / 6.8     3.8 / 4.9 / 6.6
    512, 7x7, 1 (4 tiles)       1.6 / 4.3 / 3.0     2.3 / 4.3 / 2.7
    256, 14x14, 4 (64 tiles)    3.2 / 3.6 / 6.3     3.5 / 3.6 / 6.7
    128, 28x28, 4 (196 tiles)   2.4 / 2.5 / 5.2     2.6 / 2.7 / 5.7

Without prefetching the next kernels (winograd_weight_loops.py) 2.9 would be 4.2.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels import buffers
from kernels.conv_direct import one_step_positions
from kernels.parallel import get_num_threads, launch
from kernels.winograd_few_loops import CHUNK, DU_STEP, U_STEP, few_forward, few_weight_gradient
from kernels.winograd_plan import image_table, panels, tile_plan, tile_table, unit_ints
from kernels.winograd_step_loops import all_gradients, all_inputs
from kernels.winograd_weight_loops import KERNEL, TOGETHER

Array = NDArray[Any]
PANEL = 16

MOST_TILES = 128
"""More tiles pay for a whole U, and their M is larger than the cache."""
CHANNELS_FROM = 128
"""Fewer channels (geometric mean of inputs and outputs) have a small U."""


def pays(images: int, size: tuple[int, int], inner: int, outer: int) -> bool:
    """Whether to convolve to `images` results of `size` this way."""
    tiles = images * -(-size[0] // 4) * -(-size[1] // 4)
    return tiles <= MOST_TILES and inner * outer >= CHANNELS_FROM**2


def convolve(
    source: Array,
    weight: Array,
    result: Array,
    padding: tuple[int, int],
    turned: bool,
    accumulate: bool,
) -> None:
    """result (+)= conv(source, weight), or with `turned` kernels the input gradient."""
    (images, inner), outer = source.shape[:2], result.shape[1]
    size = (result.shape[2], result.shape[3])
    tasks = get_num_threads()
    plan = tile_plan(images, inner, outer, size, padding, 16, tasks)
    tiles = images * plan.tiles_in_image
    v_chunk = tiles * CHUNK * 4
    v_step = buffers.spread(-(-inner // CHUNK) * v_chunk)
    v = buffers.aligned(36 * v_step, later=True)
    stage_bytes = buffers.spread(plan.images * plan.stage_image)
    stage = buffers.scratch(tasks * stage_bytes)
    launch(
        all_inputs,
        [
            *unit_ints(source, source.shape, source.strides, plan),
            *(v, v_step, CHUNK * 4, 64, stage, stage_bytes, CHUNK // PANEL, v_chunk),
        ],
        tasks=min(tasks, plan.count),
        later=True,
    )
    weight = one_step_positions(weight)
    o_step, i_step, _, position_step = weight.strides
    lane_step, k_step = (i_step, o_step) if turned else (o_step, i_step)
    rows = np.arange(tiles, dtype=np.int64)
    n_step, _, row_step, pixel_step = result.strides
    m_step = buffers.spread(tiles * 64)
    work_bytes = buffers.spread(36 * (U_STEP + m_step) + TOGETHER * KERNEL)
    launch(
        few_forward,
        (
            *(weight, lane_step, k_step, position_step, outer, inner, int(turned)),
            *(v, v_step, v_chunk, tiles, np.zeros(1, np.int64), rows * (CHUNK * 4), rows * 64),
            *(result, row_step, pixel_step),
            *(tile_table(images, size, (n_step, row_step, pixel_step)), int(accumulate), m_step),
            *(buffers.scratch(tasks * work_bytes), work_bytes),
        ),
        tasks=min(tasks, panels(outer)),
        later=True,
    )


def grad_weight(grad_out: Array, x: Array, result: Array, padding: tuple[int, int]) -> None:
    """result (O,C,3,3, C order): the gradient with respect to the convolution's weight."""
    (images, inner), outer = x.shape[:2], grad_out.shape[1]
    size = (grad_out.shape[2], grad_out.shape[3])
    tasks = get_num_threads()
    plan = tile_plan(images, inner, outer, size, padding, 16, tasks)
    tiles = images * plan.tiles_in_image
    panel_step = tiles * 64
    v_step, d_step = (
        buffers.spread(panel_step * panels(inner)),
        buffers.spread(panel_step * panels(outer)),
    )
    v, d = buffers.aligned(36 * v_step, later=True), buffers.aligned(36 * d_step, later=True)
    stage_bytes = buffers.spread(plan.images * max(plan.stage_image, plan.patch_image))
    stage = buffers.scratch(tasks * stage_bytes)
    units, busy = unit_ints(x, x.shape, x.strides, plan), min(tasks, plan.count)
    place = (v, v_step, 64, panel_step, stage, stage_bytes, panels(inner), 0)
    launch(all_inputs, [*units, *place], tasks=busy, later=True)
    table = image_table(grad_out)
    gradients = [*units, table, d, d_step, panel_step, stage, stage_bytes]
    launch(all_gradients, gradients, tasks=busy, later=True, keep=(grad_out,))
    work_bytes = buffers.spread(36 * DU_STEP + PANEL * KERNEL)
    launch(
        few_weight_gradient,
        (
            *(v, v_step, d, d_step, panel_step, outer, inner, tiles, np.zeros(1, np.int64)),
            *(result, buffers.scratch(tasks * work_bytes), work_bytes),
        ),
        later=True,
    )
