"""Copying into the layouts that the micro-kernels read: panels, and padded images.

`copy_block` moves a block of rows x up to 16 lanes from any strides to rows of contiguous lanes,
with zeros in the lanes that the source does not have. It is how channels get padded, weights get
into panels, and NCHW becomes NHWC. A source whose rows (not lanes) are contiguous is transposed in
vector registers, LANES x LANES at a time; only sources contiguous in neither direction, and
those of a few lanes, are read float by float.

`stage_rows` copies rows of one image into a buffer with zeros around it, so that the convolution
loops need not know of padding, borders, odd strides or negative ones.

Masked stores are slow where the processor builds them from many steps (AVX2: 12 cycles each on Zen
3), so whole vectors go through plain stores, and what is left over of a transposed block is done
with a whole block that overlaps the one before it. With masks throughout, packing the weights of
ResNet-50's 1x1 convolutions takes three times as long.
"""

import numpy as np
from llvmlite import ir

from kernels.cache import kernel
from kernels.language import intrinsic, njit, signature_of, words
from kernels.simd import (
    INT,
    LANES,
    PANEL,
    VECTOR,
    emit_first_lanes,
    emit_load,
    emit_load_first,
    emit_store,
    emit_store_first,
    float32_at,
    load,
    load_first,
    splat,
    store,
    store_first,
)


def _emit_transposed(builder, vectors):
    """LANES vectors of LANES floats, transposed: ever smaller blocks are swapped across the
    diagonal, in log2(LANES) rounds."""
    distance = LANES // 2
    index = ir.VectorType(ir.IntType(32), LANES)
    while distance:
        low = [j if not j & distance else LANES + j - distance for j in range(LANES)]
        high = [j + distance if not j & distance else LANES + j for j in range(LANES)]
        swapped = list(vectors)
        for i in range(LANES):
            if not i & distance:
                x, y = vectors[i], vectors[i + distance]
                swapped[i] = builder.shuffle_vector(x, y, ir.Constant(index, low))
                swapped[i + distance] = builder.shuffle_vector(x, y, ir.Constant(index, high))
        vectors = swapped
        distance //= 2
    return vectors


@intrinsic
def _transpose(typingctx, source, lane_step, target, target_step):
    """LANES x LANES block: target[row][lane] = source[lane][row], rows contiguous in the source."""

    def codegen(context, builder, signature, args):
        source, lane_step, target, target_step = args
        vectors = []
        for i in range(LANES):
            place = builder.add(source, builder.mul(lane_step, ir.Constant(INT, i)))
            vectors.append(emit_load(builder, place))
        for i, value in enumerate(_emit_transposed(builder, vectors)):
            place = builder.add(target, builder.mul(target_step, ir.Constant(INT, i)))
            emit_store(builder, place, value)
        return context.get_dummy_value()

    return signature_of(words(4)), codegen


@intrinsic
def _transpose_part(typingctx, source, lane_step, lanes, rows, target, target_step, width):
    """The same for a block that is cut off: only `lanes` source vectors and their first `rows`
    floats are read, the other lanes are 0; only `rows` target vectors and their first `width`
    floats are written (each may be <= 0 or >= LANES)."""

    def codegen(context, builder, signature, args):
        source, lane_step, lanes, rows, target, target_step, width = args
        zero = ir.Constant(INT, 0)

        def number(i):
            return ir.Constant(INT, i)

        vectors = []
        for i in range(LANES):
            used = builder.icmp_signed("<", number(i), lanes)
            mask = emit_first_lanes(builder, builder.select(used, rows, zero))
            place = builder.add(source, builder.mul(lane_step, number(i)))
            vectors.append(emit_load_first(builder, place, mask))
        vectors = _emit_transposed(builder, vectors)
        whole = builder.icmp_signed(">=", width, number(LANES))
        mask = emit_first_lanes(builder, width)
        for i in range(LANES):
            place = builder.add(target, builder.mul(target_step, number(i)))
            used = builder.icmp_signed("<", number(i), rows)
            with builder.if_then(used), builder.if_else(whole) as (then, otherwise):
                with then:
                    emit_store(builder, place, vectors[i])
                with otherwise:
                    emit_store_first(builder, place, vectors[i], mask)
        return context.get_dummy_value()

    assert VECTOR.count == LANES
    return signature_of(words(7)), codegen


@kernel(words(8))
def copy_block(source, row_step, lane_step, rows, lanes, target, target_step, width):
    """target[row][lane] = source[row][lane] for lane < lanes, 0 for lanes <= lane < width.

    rows may be any number, lanes <= width <= 16. Steps are in bytes; the target's lanes are
    contiguous."""
    if lane_step == 4 and lanes >= PANEL:
        for row in range(rows):
            for i in range(0, PANEL, LANES):
                value = load(source + row * row_step + 4 * i)
                store(target + row * target_step + 4 * i, value)
    elif lane_step == 4 and width >= PANEL:
        for row in range(rows):
            for i in range(0, PANEL, LANES):
                value = load_first(source + row * row_step + 4 * i, lanes - i)
                store(target + row * target_step + 4 * i, value)
    elif lane_step == 4:
        for row in range(rows):
            for i in range(0, width, LANES):
                value = load_first(source + row * row_step + 4 * i, lanes - i)
                store_first(target + row * target_step + 4 * i, value, width - i)
    elif row_step == 4 and width > 4:
        for i in range(0, width, LANES):
            at, to = source + i * lane_step, target + 4 * i
            if lanes - i >= LANES and rows >= LANES:
                row = 0
                while row < rows:
                    row = min(row, rows - LANES)
                    _transpose(at + 4 * row, lane_step, to + row * target_step, target_step)
                    row += LANES
            else:
                for row in range(0, rows, LANES):
                    _transpose_part(
                        at + 4 * row,
                        lane_step,
                        lanes - i,
                        rows - row,
                        to + row * target_step,
                        target_step,
                        width - i,
                    )
    else:
        for row in range(rows):
            to = float32_at(target + row * target_step)
            for lane in range(lanes):
                to[lane] = float32_at(source + row * row_step + lane * lane_step)[0]
            for lane in range(lanes, width):
                to[lane] = 0


@njit(nogil=True)
def copy_floats(source, target, n):
    """Copy n contiguous floats."""
    whole = n - n % LANES
    for i in range(0, whole, LANES):
        store(target + 4 * i, load(source + 4 * i))
    if whole < n:
        store_first(target + 4 * whole, load_first(source + 4 * whole, n - whole), n - whole)


@njit(nogil=True)
def fill_zero(target, n):
    """Write n zeros."""
    zero = splat(np.float32(0))
    whole = n - n % LANES
    for i in range(0, whole, LANES):
        store(target + 4 * i, zero)
    if whole < n:
        store_first(target + 4 * whole, zero, n - whole)


_copy_block = copy_block.symbol


@kernel(words(15), needs=[copy_block])
def stage_rows(
    source,
    row_step,
    pixel_step,
    channel_step,
    height,
    width,
    channels,
    first_row,
    rows,
    first_column,
    columns,
    target,
    target_row_step,
    target_pixel_step,
    target_channels,
):
    """Copy a window of one image, with zeros where the window leaves the image.

    source, the steps, height, width, channels   the image; steps in bytes, any sign
    first_row, rows, first_column, columns       the window; may begin below 0, end beyond the image
    target, target_row_step, target_pixel_step   where window pixel (0, 0) goes, and the distances
    target_channels >= channels                  channels to write, the additional ones as zeros
    """
    left = min(max(0, -first_column), columns)
    inside = max(0, min(width, first_column + columns) - max(0, first_column))
    right = columns - left - inside
    start = source + max(0, first_column) * pixel_step
    contiguous = (
        channel_step == 4
        and pixel_step == 4 * channels
        and target_channels == channels
        and target_pixel_step == 4 * channels
    )
    gap = target_pixel_step != 4 * target_channels
    for row in range(rows):
        to = target + row * target_row_step
        y = first_row + row
        outside = y < 0 or y >= height or inside == 0
        if gap:
            for x in range(columns):
                if outside or x < left or x >= left + inside:
                    fill_zero(to + x * target_pixel_step, target_channels)
        elif outside:
            fill_zero(to, columns * target_channels)
        else:
            fill_zero(to, left * target_channels)
            fill_zero(to + (left + inside) * target_pixel_step, right * target_channels)
        if not outside:
            at = start + y * row_step
            to += left * target_pixel_step
            if contiguous:
                copy_floats(at, to, inside * channels)
            else:
                for c in range(0, target_channels, PANEL):
                    _copy_block(
                        at + c * channel_step,
                        pixel_step,
                        channel_step,
                        inside,
                        max(0, min(PANEL, channels - c)),
                        to + 4 * c,
                        target_pixel_step,
                        min(PANEL, target_channels - c),
                    )


@kernel(words(7), needs=[copy_block])
def split_channels(source, pixel_step, channel_step, pixels, channels, target, panel_step):
    """Pixels into panels of 16 channels: target[panel][pixel][16], with zeros behind the last
    channel.

    source, the steps   pixel 0, channel 0; bytes, any sign
    target, panel_step  the first panel, and the distance to the next"""
    if channel_step != 4:
        for c in range(0, channels, PANEL):
            _copy_block(
                source + c * channel_step,
                pixel_step,
                channel_step,
                pixels,
                min(PANEL, channels - c),
                target + c // PANEL * panel_step,
                64,
                PANEL,
            )
        return
    # pixel by pixel, so that the image is read in the order of memory
    whole = channels // PANEL
    rest = channels - whole * PANEL
    for i in range(pixels):
        at, to = source + i * pixel_step, target + 64 * i
        for _ in range(whole):
            for v in range(0, 4 * PANEL, 4 * LANES):
                store(to + v, load(at + v))
            at += 4 * PANEL
            to += panel_step
        if rest:
            for v in range(0, PANEL, LANES):
                store(to + 4 * v, load_first(at + 4 * v, rest - v))
