"""The geometry of a convolution, worked out once per shape: where every pixel and every weight
lies.

Forward, input gradient and weight gradient of one convolution share these facts. Along each axis,
with stride s, padding p, dilation d and kernel position k:

    forward          out[q] gathers in[q*s + k*d - p]
    input gradient   in[i] gathers out[(i + p - k*d) / s] for those k that divide evenly.
                     Positions i = s*q + phase share the same k: each phase is a convolution of
                     stride 1, whose results lie s apart.

So both are a list of phases (forward: one), and a phase is

    result[q * result_step + phase] = sum over taps (t, k): source[q * source_step + t] * weight[k]

A task works on one unit at a time: some whole images if they are small, else a band of one image's
rows. The unit's part of the source is first copied into a buffer with zeros around it (the
"stage"), unless it can be read in place. The tables built here give, for each pixel of a unit, the
byte offset of its window in the stage and of its place in the result; a shorter last unit uses the
beginning of the same tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

STAGE_BYTES = 192 * 1024
"""A unit's stage is about this large: it should stay in the second-level cache with what surrounds
it. But all weights are read for each unit, and where they come from memory a larger stage pays:"""
STAGE_SHARE = 1 / 4
"""of the weights, up to"""
MOST_STAGE_BYTES = 1536 * 1024
"""(ResNet-50's 3x3 512 and 1x1 1024 to 2048, both of stride 2 at 14x14, take 0.85 of the time)."""
UNIT_PIXELS = 128
"""Small images are taken together until a unit has so many pixels."""

Pair = tuple[int, int]
Table = NDArray[np.int64]


def output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Pixels of a convolution's result along one axis."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


@dataclass(frozen=True)
class Phase:
    """One phase along one axis: `count` results at phase, phase + result_step, ...

    taps  pairs (t, k), ascending in t"""

    phase: int
    count: int
    taps: tuple[Pair, ...]


@dataclass(frozen=True)
class Axis:
    """One axis of a convolution, or of its input gradient."""

    source_step: int
    result_step: int
    phases: tuple[Phase, ...]

    @property
    def first(self) -> int:
        """The lowest tap."""
        return min((t for phase in self.phases for t, _ in phase.taps), default=0)

    @property
    def last(self) -> int:
        """The highest tap."""
        return max((t for phase in self.phases for t, _ in phase.taps), default=0)

    @property
    def count(self) -> int:
        """Results of the longest phase."""
        return max((phase.count for phase in self.phases), default=0)

    def window(self, count: int) -> int:
        """How much of the source the first `count` results of every phase need."""
        return (count - 1) * self.source_step + self.last - self.first + 1


def forward_axis(size: int, kernel: int, stride: int, padding: int, dilation: int) -> Axis:
    count = output_size(size, kernel, stride, padding, dilation)
    taps = tuple((k * dilation - padding, k) for k in range(kernel))
    return Axis(stride, 1, (Phase(0, count, taps),))


def grad_input_axis(size: int, kernel: int, stride: int, padding: int, dilation: int) -> Axis:
    phases = []
    for phase in range(min(stride, size)):
        taps = [
            ((phase + padding - k * dilation) // stride, k)
            for k in range(kernel)
            if (phase + padding - k * dilation) % stride == 0
        ]
        phases.append(Phase(phase, -(-(size - phase) // stride), tuple(sorted(taps))))
    return Axis(1, stride, tuple(phases))


class Geometry(NamedTuple):
    """stride, padding, dilation: (vertical, horizontal) pairs."""

    stride: Pair
    padding: Pair
    dilation: Pair

    def axes(
        self, size: Sequence[int], kernel: Sequence[int], transposed: bool
    ) -> tuple[Axis, Axis]:
        """Both axes of a convolution of images of `size` (height, width), or, if it is transposed,
        of its input gradient."""
        make = grad_input_axis if transposed else forward_axis
        rows, columns = (make(*facts) for facts in zip(size, kernel, *self, strict=True))
        return rows, columns


@dataclass(frozen=True)
class Layout:
    """Where the pixels of a 4-D array are: bytes from image to image, row to row, pixel to
    pixel."""

    image: int
    row: int
    pixel: int
    channel: int

    @staticmethod
    def of(strides: tuple[int, ...]) -> "Layout":
        """From the strides of an array (N, C, H, W)."""
        n, c, h, w = strides
        return Layout(n, h, w, c)


@dataclass(frozen=True)
class Units:
    """How the images are cut into units, and where a unit's source is read.

    images             images in a unit (more than one only if bands == 1)
    bands, band_rows   bands of an image; rows of results (per phase) in a band
    in_place           the source is read where it is, else from a stage
    stage              layout of a unit's source; stage_rows, stage_columns its size
    """

    count: int
    images: int
    bands: int
    band_rows: int
    in_place: bool
    stage: Layout
    stage_rows: int
    stage_columns: int

    @property
    def stage_bytes(self) -> int:
        return 0 if self.in_place else -(-self.images * self.stage.image // 64) * 64


def cut(
    images: int,
    channels: int,
    size: Pair,
    rows: Axis,
    columns: Axis,
    source: Layout,
    channelwise: bool,
    weight_bytes: int,
    tasks: int,
) -> Units:
    """Choose the units for `images` images of `size` (height, width) pixels.

    channelwise    whole panels of channels will be read, so they must exist
    weight_bytes   what is read, besides the source, for each unit"""
    fits = (
        rows.first >= 0
        and columns.first >= 0
        and rows.first + rows.window(rows.count) <= size[0]
        and columns.first + columns.window(columns.count) <= size[1]
    )
    in_place = fits and source.channel == 4 and not (channelwise and channels % 16)
    if channelwise:
        channels = -(-channels // 16) * 16
    width = columns.window(columns.count)
    row_bytes = width * channels * 4
    most = max(STAGE_BYTES, min(MOST_STAGE_BYTES, int(weight_bytes * STAGE_SHARE)))
    # Rows of results whose source fits the stage.
    room = most // row_bytes - (rows.last - rows.first + 1)
    band_rows = max(1, room // rows.source_step + 1)
    if images % tasks and images < 4 * tasks:
        band_rows = min(band_rows, -(-rows.count // tasks))
    bands = -(-rows.count // band_rows)
    band_rows = -(-rows.count // bands)
    together = 1
    if bands == 1:
        image_bytes = rows.window(rows.count) * row_bytes
        together = min(
            -(-UNIT_PIXELS // max(1, rows.count * columns.count)),
            max(1, most // image_bytes),
            -(-images // tasks),
        )
    height = rows.window(band_rows)
    stage = source if in_place else Layout(height * row_bytes, row_bytes, channels * 4, 4)
    count = bands * images if bands > 1 else -(-images // together)
    return Units(count, together, bands, band_rows, in_place, stage, height, width)


@dataclass(frozen=True)
class GatherPlan:
    """Everything that `conv_direct.gather` needs for one shape.

    phases        per phase: taps, floats per tap; addresses of the tables of taps, of pixels in the
                  stage, of pixels in the result; rows, columns; where its weights begin in the
                  packed weights (bytes); distance of its rows in the result (rows)
    positions     per kernel position (kh, kw): the first byte of its phase's packed weights, the
                  phase's number of taps, and the tap's number in it
    weight_bytes  size of the packed weights
    """

    units: Units
    first_row: int
    first_column: int
    source_step: int
    phases: Table
    positions: Table
    weight_bytes: int
    tables: tuple[Table, ...]  # keeps the memory that `phases` points to


def gather_plan(
    images: int,
    source_channels: int,
    source_size: Pair,
    source: Layout,
    result: Layout,
    result_channels: int,
    kernel: Pair,
    rows: Axis,
    columns: Axis,
    groups: int,
    channelwise: bool,
    tasks: int,
) -> GatherPlan:
    """Plan a forward convolution or an input gradient (which of them, the axes say).

    channelwise   each channel is convolved with its own kernel (groups counts as 1, inputs as 1)"""
    inner = 1 if channelwise else source_channels // groups
    panels = groups * -(-(result_channels // groups) // 16)
    units = cut(
        images,
        source_channels,
        source_size,
        rows,
        columns,
        source,
        channelwise,
        panels * kernel[0] * kernel[1] * inner * 64,
        tasks,
    )
    stage = units.stage
    positions = np.zeros((kernel[0] * kernel[1], 3), np.int64)
    phases = []
    tables: list[Table] = []
    weight_bytes = 0
    for y in rows.phases:
        for x in columns.phases:
            merged = _contiguous(x.taps, stage, inner, groups, channelwise)
            tap_rows = np.array([t - rows.first for t, _ in y.taps], np.int64) * stage.row
            tap_columns = np.array([t - columns.first for t, _ in x.taps], np.int64) * stage.pixel
            if merged:
                tap_columns = tap_columns[:1]
            taps = (tap_rows[:, None] + tap_columns[None, :]).ravel()
            k = inner * len(x.taps) if merged else inner
            image = np.arange(units.images)[:, None, None]
            row = np.arange(min(units.band_rows, y.count))[:, None]
            column = np.arange(x.count)
            at = (
                image * stage.image
                + row * (rows.source_step * stage.row)
                + column * (columns.source_step * stage.pixel)
            ).ravel()
            to = (
                image * result.image
                + (row * rows.result_step + y.phase) * result.row
                + (column * columns.result_step + x.phase) * result.pixel
            ).ravel()
            tables += [taps, at, to]
            phases.append(
                [
                    taps.size,
                    k,
                    taps.ctypes.data,
                    at.ctypes.data,
                    to.ctypes.data,
                    y.count,
                    x.count,
                    weight_bytes,
                    rows.result_step,
                ]
            )
            n_taps = len(y.taps) * len(x.taps)
            for i, (_, kh) in enumerate(y.taps):
                for j, (_, kw) in enumerate(x.taps):
                    positions[kh * kernel[1] + kw] = weight_bytes, n_taps, i * len(x.taps) + j
            weight_bytes += panels * n_taps * inner * 64
    return GatherPlan(
        units,
        rows.first,
        columns.first,
        rows.source_step,
        np.array(phases, np.int64),
        positions,
        weight_bytes,
        tuple(tables),
    )


def _contiguous(
    taps: tuple[Pair, ...], stage: Layout, inner: int, groups: int, channelwise: bool
) -> bool:
    """Whether the channels of all taps of a row lie one behind the other in the stage."""
    if not taps or groups > 1 or channelwise or stage.pixel != 4 * inner:
        return False
    return all(b[0] - a[0] == 1 for a, b in pairwise(taps))


@dataclass(frozen=True)
class WeightPlan:
    """Everything that `conv_direct.weight_gradient` needs for one shape.

    blocks       per block of weight rows: byte offset of its first row in the stage, floats that
                 are contiguous there, number of its first row (kernel position, channel) in the
                 partial result
    block_offsets   the first column of `blocks`
    pixel_rows   per row of result pixels of a unit: byte offset of its window in the stage
    pixel_step   bytes from one pixel's window to the next
    row_count, column_count   result pixels
    """

    units: Units
    first_row: int
    first_column: int
    source_step: int
    blocks: Table
    block_offsets: Table
    pixel_rows: Table
    pixel_step: int
    row_count: int
    column_count: int


def weight_plan(
    images: int,
    channels: int,
    size: Pair,
    source: Layout,
    rows: Axis,
    columns: Axis,
    groups: int,
    channelwise: bool,
    tasks: int,
) -> WeightPlan:
    """Plan a weight gradient; the axes are the forward ones, `channelwise` as in `gather_plan`."""
    units = cut(images, channels, size, rows, columns, source, channelwise, 0, tasks)
    stage = units.stage
    inner = 1 if channelwise else channels // groups
    (y,), (x,) = rows.phases, columns.phases
    merged = _contiguous(x.taps, stage, inner, groups, channelwise)
    blocks = []
    for t, kh in y.taps:
        row = (t - rows.first) * stage.row
        if merged:
            blocks.append([row, inner * len(x.taps), kh * len(x.taps) * inner])
        else:
            for u, kw in x.taps:
                at = row + (u - columns.first) * stage.pixel
                blocks.append([at, inner, (kh * len(x.taps) + kw) * inner])
    image = np.arange(units.images)[:, None]
    row_numbers = np.arange(units.band_rows)
    pixel_rows = image * stage.image + row_numbers * (rows.source_step * stage.row)
    return WeightPlan(
        units,
        rows.first,
        columns.first,
        rows.source_step,
        np.array(blocks, np.int64),
        np.array([block[0] for block in blocks], np.int64),
        np.ascontiguousarray(pixel_rows.ravel(), np.int64),
        columns.source_step * stage.pixel,
        y.count,
        x.count,
    )
