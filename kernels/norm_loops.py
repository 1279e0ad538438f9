"""The loops of kernels/norm.py, which says what they are for and why they are as they are.

Each task of `statistics` and `gradient_sums` adds up its own rows; the task that is done last
merges the sums, in the order of the tasks, so the bits are the same whoever that is.

Every body takes the m rows of C channels as `rows` rows of `width` = wide * C positions (float32,
one after the other) and one shorter row of `rest` = left * C positions, which belongs to the last
task. ints and floats are what the callers in norm.py pass, in that order.
"""

import math

import numpy as np

from kernels.atomic import atomic_add
from kernels.cache import kernel
from kernels.language import njit, words
from kernels.parallel import share
from kernels.simd import (
    LANES,
    add,
    float32_at,
    float64_at,
    fma,
    int64_at,
    load,
    load_first,
    maximum,
    splat,
    store,
    store_first,
    store_signs,
    sub,
    uint8_at,
)

AT_ONCE = 4
"""Vectors of positions that are summed over a block of rows together, in registers."""


@njit(nogil=True)
def _sum_deviations(x, row_step, rows, centre_at, target_step, length):
    """Sums of x - centre, and of its square, over some rows: to the two rows after the centre."""
    j, stop = 0, length * 4
    while j + AT_ONCE * 4 * LANES <= stop:
        at = centre_at + j
        c0, c1 = load(at), load(at + 4 * LANES)
        c2, c3 = load(at + 8 * LANES), load(at + 12 * LANES)
        zero = splat(np.float32(0))
        s0, s1, s2, s3, q0, q1, q2, q3 = zero, zero, zero, zero, zero, zero, zero, zero
        for r in range(rows):
            line = x + r * row_step + j
            d0, d1 = sub(load(line), c0), sub(load(line + 4 * LANES), c1)
            d2, d3 = sub(load(line + 8 * LANES), c2), sub(load(line + 12 * LANES), c3)
            s0, s1, s2, s3 = add(s0, d0), add(s1, d1), add(s2, d2), add(s3, d3)
            q0, q1, q2, q3 = fma(d0, d0, q0), fma(d1, d1, q1), fma(d2, d2, q2), fma(d3, d3, q3)
        to = at + target_step
        store(to, s0)
        store(to + 4 * LANES, s1)
        store(to + 8 * LANES, s2)
        store(to + 12 * LANES, s3)
        to += target_step
        store(to, q0)
        store(to + 4 * LANES, q1)
        store(to + 8 * LANES, q2)
        store(to + 12 * LANES, q3)
        j += AT_ONCE * 4 * LANES
    while j < stop:
        n = (stop - j) // 4
        centre = load_first(centre_at + j, n)
        shift, spread = splat(np.float32(0)), splat(np.float32(0))
        for r in range(rows):
            deviation = sub(load_first(x + r * row_step + j, n), centre)
            shift = add(shift, deviation)
            spread = fma(deviation, deviation, spread)
        store_first(centre_at + target_step + j, shift, n)
        store_first(centre_at + 2 * target_step + j, spread, n)
        j += 4 * LANES


@kernel("void(" + "int64, " * 13 + "float64)")
def merge_statistics(
    partials_at,
    width,
    rows,
    mean_at,
    var_at,
    cut_off_at,
    channels,
    wide,
    left,
    running,
    running_mean_at,
    running_var_at,
    pieces,
    momentum,
):
    """mean and var of each channel, what rounding cut off the mean, and the running statistics."""
    partials = float64_at(partials_at)
    mean, var, cut_off = float32_at(mean_at), float32_at(var_at), float64_at(cut_off_at)
    running_mean, running_var = float32_at(running_mean_at), float32_at(running_var_at)
    m = rows * wide + left
    for c in range(channels):
        exact_mean = 0.0
        for piece in range(pieces):
            part = share(rows, piece + 1, pieces) - share(rows, piece, pieces)
            for k in range(wide):
                count = part + 1 if piece == pieces - 1 and k < left else part
                exact_mean += partials[2 * piece * width + k * channels + c] * count
        exact_mean /= m
        squares = 0.0
        for piece in range(pieces):
            part = share(rows, piece + 1, pieces) - share(rows, piece, pieces)
            for k in range(wide):
                count = part + 1 if piece == pieces - 1 and k < left else part
                place = 2 * piece * width + k * channels + c
                off = partials[place] - exact_mean
                squares += partials[place + width] + off * off * count
        if squares < 0.0:  # equal values, and rounding
            squares = 0.0
        mean[c] = np.float32(exact_mean)
        var[c] = np.float32(squares / m)
        cut_off[c] = exact_mean - mean[c]
        if running != 0:
            old_mean, old_var = np.float64(running_mean[c]), np.float64(running_var[c])
            unbiased = squares / (m - 1)
            running_mean[c] = np.float32((1.0 - momentum) * old_mean + momentum * exact_mean)
            running_var[c] = np.float32((1.0 - momentum) * old_var + momentum * unbiased)


@njit(nogil=True)
def begin_statistics(ints, task):
    """Nothing seen yet."""
    width = ints[3]
    partials = float64_at(ints[1] + task * width * 16)
    for j in range(2 * width):
        partials[j] = 0.0


@kernel(words(8))
def add_block(x, partials, scratch, width, row, count, length, seen):
    """Statistics of some rows, `length` positions of them, join those of the `seen` rows before."""
    mean, squares = float64_at(partials), float64_at(partials + width * 8)
    centre, shift, spread = (
        float32_at(scratch),
        float32_at(scratch + width * 4),
        float32_at(scratch + width * 8),
    )
    block_at = x + row * width * 4
    first = float32_at(block_at)
    for j in range(length):
        centre[j] = first[j] if seen == 0 else np.float32(mean[j])
        shift[j] = np.float32(0)
        spread[j] = np.float32(0)
    _sum_deviations(block_at, width * 4, count, scratch, width * 4, length)
    part, one = count / (seen + count), 1.0 / count
    for j in range(length):
        off = np.float64(shift[j]) * one  # the mean of the block - the centre
        delta = np.float64(centre[j]) + off - mean[j]
        mean[j] += delta * part
        squares[j] += np.float64(spread[j]) - shift[j] * off + delta * delta * (seen * part)


_add_block = add_block.symbol
_merge_statistics = merge_statistics.symbol


@njit(nogil=True)
def add_statistics(ints, task, first, row, end, length):
    """Statistics of rows `row` .. end-1, `length` positions of them, join those of the task's rows
    before, first .. row-1."""
    width, block = ints[3], ints[6]
    partials, scratch = ints[1] + task * width * 16, ints[2] + task * width * 12
    while row < end:
        count = min(block, end - row)
        _add_block(ints[0], partials, scratch, width, row, count, length, row - first)
        row += count


@njit(nogil=True)
def end_statistics(ints, momentum, tasks):
    """This task has done its part."""
    if atomic_add(ints[7], 1) == tasks - 1:
        shape = ints[11], ints[12], ints[13]
        running = ints[14], ints[15], ints[16]
        results = ints[8], ints[9], ints[10]
        _merge_statistics(ints[1], ints[3], ints[4], *results, *shape, *running, tasks, momentum)


@kernel(needs=[add_block, merge_statistics])
def statistics(ints, floats, task, tasks):
    """mean and var of each channel, and the running statistics.

    First the count-weighted mean and sum of squared deviations of each position, over this task's
    rows."""
    rows, rest = ints[4], ints[5]
    first, end = share(rows, task, tasks), share(rows, task + 1, tasks)
    begin_statistics(ints, task)
    add_statistics(ints, task, first, first, end, ints[3])
    if rest > 0 and task == tasks - 1:
        add_statistics(ints, task, first, end, end + 1, rest)
    end_statistics(ints, floats[0], tasks)


@kernel("void(int64, float64, int64, int64, int64, int64)")
def prepare(of_at, eps, vectors, channels, wide, gradient):
    """centre, scale and shift at each position, out = (x - centre) * scale + shift; with `gradient`
    also slope and offset, see `gradient`.

    of   addresses: weight, bias, mean, var, cut_off, and of the gradient slope and offset"""
    of = int64_at(of_at)
    weight, bias = float32_at(of[0]), float32_at(of[1])
    mean, var, cut_off = float32_at(of[2]), float32_at(of[3]), float64_at(of[4])
    to, width = float32_at(vectors), wide * channels
    for c in range(channels):
        scale = weight[c] / math.sqrt(var[c] + eps)
        shift = bias[c] - cut_off[c] * scale
        for k in range(wide):
            place = k * channels + c
            to[place] = mean[c]
            to[width + place] = np.float32(scale)
            to[2 * width + place] = np.float32(shift)
    if gradient != 0:
        slope, offset = float32_at(of[5]), float32_at(of[6])
        for k in range(wide):
            for c in range(channels):
                to[3 * width + k * channels + c] = slope[c]
                to[4 * width + k * channels + c] = offset[c]


_prepare = prepare.symbol


@njit(nogil=True)
def _normalize_row(x, vectors, step, length, out, residual, passes, relu):
    """`normalize` for some positions; `step`: bytes from the row of centres to that of scales."""
    zero = splat(np.float32(0))
    whole = length - length % LANES
    for at in range(0, 4 * whole, 4 * LANES):
        of = vectors + at
        value = fma(sub(load(x + at), load(of)), load(of + step), load(of + 2 * step))
        if residual != 0:
            value = add(value, load(residual + at))
        if passes != 0:
            store_signs(passes + at // 4, value)
        if relu != 0:
            value = maximum(zero, value)
        store(out + at, value)
    values, results, added = float32_at(x), float32_at(out), float32_at(residual)
    centre, scale = float32_at(vectors), float32_at(vectors + step)
    shift = float32_at(vectors + 2 * step)
    for j in range(whole, length):
        one = (values[j] - centre[j]) * scale[j] + shift[j]
        if residual != 0:
            one += added[j]
        if passes != 0:
            uint8_at(passes)[j] = not (one < np.float32(0))
        if relu != 0 and one < np.float32(0):
            one = np.float32(0)
        results[j] = one


@njit(nogil=True)
def begin_normalize(ints, eps, task):
    """The address of this task's vectors: those that are given, or its own, made now."""
    width, vectors, channels = ints[6], ints[1], ints[9]
    if channels != 0:
        vectors += task * width * 12
        _prepare(ints[10], eps, vectors, channels, width // channels, 0)
    return vectors


@kernel(words(11))
def normalize_rows(x, vectors, out, residual, passes, relu, width, rows, rest, row, end):
    """`normalize` for rows `row` .. end-1, the shorter row being the last of all."""
    for r in range(row, end):
        at = r * width * 4
        _normalize_row(
            x + at,
            vectors,
            4 * width,
            width if r < rows else rest,
            out + at,
            residual + at if residual != 0 else 0,
            passes + r * width if passes != 0 else 0,
            relu,
        )


_normalize_rows = normalize_rows.symbol


@njit(nogil=True)
def normalize_some(ints, vectors, row, end):
    """The same, from the arguments of `normalize`."""
    sizes = ints[6], ints[7], ints[8]
    x, out, residual, passes, relu = ints[0], ints[2], ints[3], ints[4], ints[5]
    _normalize_rows(x, vectors, out, residual, passes, relu, *sizes, row, end)


@kernel(needs=[normalize_rows, prepare])
def normalize(ints, floats, task, tasks):
    """out = (x - centre) * scale + shift, then + residual and relu where wanted.

    `passes` (bytes) gets 1 where relu lets its input through. The vectors are either given, one set
    for all tasks, or each task makes its own."""
    rows, rest = ints[7], ints[8]
    end = share(rows, task + 1, tasks)
    if rest > 0 and task == tasks - 1:
        end += 1
    vectors = begin_normalize(ints, floats[0], task)
    normalize_some(ints, vectors, share(rows, task, tasks), end)


@kernel()
def tile_affine(ints, floats, task, tasks):
    """The vectors of `normalize` for x * scale + shift: centre 0, scale, shift, of so many floats
    each.

    ints   out, floats a vector, channels; address (0: all 1) and step in bytes of scale, and of
           shift"""
    width, channels = ints[1], ints[2]
    centre = float32_at(ints[0])
    for i in range(width):
        centre[i] = np.float32(0)
    for v in range(2):
        out = float32_at(ints[0] + 4 * (v + 1) * width)
        source, step = ints[3 + 2 * v], ints[4 + 2 * v]
        for i in range(width):
            out[i] = float32_at(source + i % channels * step)[0] if source != 0 else np.float32(1)


@kernel(fastmath=())
def fold(ints, floats, task, tasks):
    """scale = weight / sqrt(var + eps), shift = bias - mean * scale, each op rounded as in NumPy.

    ints   scale, shift, channels, weight, bias, mean, var"""
    scale, shift = float32_at(ints[0]), float32_at(ints[1])
    weight, bias = float32_at(ints[3]), float32_at(ints[4])
    mean, var = float32_at(ints[5]), float32_at(ints[6])
    eps = np.float32(floats[0])
    for c in range(ints[2]):
        scale[c] = weight[c] / np.sqrt(var[c] + eps)
        shift[c] = bias[c] - mean[c] * scale[c]
