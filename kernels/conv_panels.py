"""The weight gradient of a convolution with many channels, as products of panels.

    dw[o, position, c] = sum over result pixels of  grad[pixel, o] * x[window of the pixel, c]

Per unit of pixels (conv_plan.py explains units), both images are copied into panels of 16 channels,

    stage      [panel of inputs][image, row, column][16]     windows with zeros around the image
    gradients  [panel of outputs][pixel][16]

and each pair of panels is multiplied for each kernel position: the micro-kernel then reads both
sides in steps of one cache line, whatever the number of channels. The panel of inputs is the outer
loop, as it is used again for every kernel position.

Two schedules (see `_by_panels`): each task sums its own units, and the sums are added in the order
of the tasks; or, if the weights are more than the pixels, tasks share the panels of outputs and
walk over all units. Which one, and all orders, depend on nothing but the shapes and the number of
threads.

Rounding: as conv_direct.py.

The direct weight gradients of a ResNet-50 step take 138 ms like this on two threads of Zen 3, and
took 208 ms before: 1x1 over few pixels as a matrix product (76 ms), whose B is packed whole and A
once per thread; the rest with window columns read from the image, a cache line for each 6 floats,
and gradient panels packed with masked stores.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kernels import buffers
from kernels.conv_direct import WayToWeights, reduce_plan
from kernels.conv_panels_loops import panels_weight_gradient
from kernels.conv_plan import Axis, Geometry, Layout, Table
from kernels.launch_plan import HERE, LaunchPlan, Work
from kernels.parallel import get_num_threads

PANEL = 16
UNIT_PIXELS = 256
"""About so many result pixels in a unit: two panels of them (32 KiB) stay in first-level cache."""
STAGE_BYTES = 2 * 2**20
"""A unit's stage is at most about this large."""
SMALL = 300_000
"""Convolutions of fewer multiplications than this run on one thread."""
SHARED_WEIGHTS = 256 * 1024
"""Weights of fewer bytes than this are always summed per task."""

Array = NDArray[np.float32]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class PanelPlan:
    """Units of one shape.

    count, images        units; images in one (more than one only if bands == 1)
    bands, band_rows     bands of an image; rows of results in one
    rows, columns        the stage of one image, in pixels
    flat                 whether a unit's windows follow each other without a gap
    pixel_rows           per row of result pixels of a unit: byte offset of its window in the stage
    positions            per kernel position: byte offset in the stage
    """

    count: int
    images: int
    bands: int
    band_rows: int
    rows: int
    columns: int
    flat: bool
    pixel_rows: Table
    positions: Table


def pays(channels: int, groups: int) -> bool:
    """Whether panels of inputs would be full enough."""
    return groups == 1 and (channels % PANEL == 0 or channels > 4 * PANEL)


def panel_plan(
    images: int, channels: int, rows: Axis, columns: Axis, most_together: int
) -> PanelPlan:
    """Plan for `images` images; the axes are the forward ones."""
    pixel_bytes = -(-channels // PANEL) * 64
    width = columns.window(columns.count)
    pixels = rows.count * columns.count
    together = 1
    band_rows = max(1, min(rows.count, -(-UNIT_PIXELS // columns.count)))
    while band_rows > 1 and rows.window(band_rows) * width * pixel_bytes > STAGE_BYTES:
        band_rows -= 1
    bands = -(-rows.count // band_rows)
    band_rows = -(-rows.count // bands)
    if bands == 1:
        image_bytes = rows.window(rows.count) * width * pixel_bytes
        fit = max(1, STAGE_BYTES // image_bytes)
        together = max(1, min(-(-UNIT_PIXELS // pixels), fit, most_together))
    height = rows.window(band_rows)
    (y,), (x,) = rows.phases, columns.phases
    row_bytes = 64 * width
    step = rows.source_step * row_bytes
    image = np.arange(together)[:, None] * (height * row_bytes)
    pixel_rows = (image + np.arange(band_rows) * step).ravel()
    positions = [
        (t - rows.first) * row_bytes + (u - columns.first) * 64
        for t, _ in y.taps
        for u, _ in x.taps
    ]
    return PanelPlan(
        bands * images if bands > 1 else -(-images // together),
        together,
        bands,
        band_rows,
        height,
        width,
        len(positions) == 1 and rows.source_step == columns.source_step == 1,
        np.ascontiguousarray(pixel_rows, np.int64),
        np.array(positions, np.int64),
    )


def _by_panels(pixels: int, outer: int, n_positions: int, weight_bytes: int) -> bool:
    """Whether tasks share the panels of outputs instead of the pixels: then each stages all of x,
    where it would else write a sum as large as the weights."""
    return weight_bytes > SHARED_WEIGHTS and pixels < outer * n_positions


def run_panels(grad_out: Array, x: Array, result: Array, geometry: Geometry) -> None:
    """result (O, I, kH, kW), C-contiguous, from grad_out (N,O,OH,OW) and x (N,I,H,W)."""
    way = _way(grad_out.strides, x.shape, x.strides, result.shape, geometry, get_num_threads())
    partial = buffers.aligned(way.partial_bytes, later=True)
    way.sum.launch(x, grad_out, partial)
    way.reduce.launch(partial, result)


@lru_cache(maxsize=512)
def _way(
    grad_strides: Shape,
    x_shape: Shape,
    x_strides: Shape,
    result_shape: Shape,
    geometry: Geometry,
    threads: int,
) -> WayToWeights:
    images, channels, height, width = x_shape
    outer, kernel = result_shape[0], result_shape[2:]
    n_positions = math.prod(kernel)
    rows, columns = geometry.axes((height, width), kernel, False)
    work = images * outer * rows.count * columns.count * channels * n_positions
    tasks = threads if work >= SMALL else 1
    panels, x_panels = -(-outer // PANEL), -(-channels // PANEL)
    partial_bytes = n_positions * channels * panels * 64
    pixels = images * height * width
    by_panels = panels >= tasks > 1 and _by_panels(pixels, outer, n_positions, partial_bytes)
    together = images if by_panels else -(-images // tasks)
    plan = panel_plan(images, channels, rows, columns, together)
    if not by_panels:
        tasks = min(tasks, plan.count)
    n_partials = 1 if by_panels else tasks
    stage_image = plan.rows * plan.columns * 64
    stage_panel = buffers.spread(plan.images * stage_image)
    gradient_panel = buffers.spread(plan.images * plan.band_rows * columns.count * 64)
    own_panels = -(-panels // tasks) if by_panels else panels
    task_bytes = buffers.spread(x_panels * stage_panel + own_panels * gradient_panel)
    source, gradient = Layout.of(x_strides), Layout.of(grad_strides)
    ints = [
        *(HERE, source.image, source.row, source.pixel, source.channel),
        *(height, width, channels),
        *(HERE, gradient.image, gradient.row, gradient.pixel, gradient.channel),
        *(rows.count, columns.count, outer),
        *(images, plan.count, plan.images, plan.bands, plan.band_rows),
        *(rows.first, columns.first, rows.source_step),
        *(plan.rows, plan.columns, stage_image, stage_panel),
        *(plan.pixel_rows, columns.source_step * 64, int(plan.flat), [0]),
        *(n_positions, plan.positions),
        *(int(by_panels), HERE, partial_bytes),
        *(Work(), task_bytes, x_panels * stage_panel, gradient_panel),
    ]
    return WayToWeights(
        LaunchPlan(panels_weight_gradient, ints, tasks=tasks, work_bytes=tasks * task_bytes),
        n_partials * partial_bytes,
        reduce_plan(
            n_partials,
            partial_bytes,
            1,
            channels,
            outer,
            n_positions,
            64,
            n_positions * channels * 64,
            threads,
        ),
    )
