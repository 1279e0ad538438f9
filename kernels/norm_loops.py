"""The loops of kernels/norm.py, which says what they are for and why they are as they are.

Every body takes the m rows of C channels as `rows` rows of `width` = wide * C positions (float32,
one after the other) and one shorter row of `rest` = left * C positions, which belongs to the last
task. ints and floats are what the callers in norm.py pass, in that order.
"""

import math

import numpy as np

from kernels.cache import kernel
from kernels.parallel import share
from kernels.simd import float32_at, float64_at, uint8_at


@kernel()
def statistics(ints, floats, task, tasks):
    """Count-weighted mean and sum of squared deviations of each position, over this task's rows."""
    x, partials, scratch = ints[0], ints[1] + task * ints[3] * 16, ints[2] + task * ints[3] * 12
    width, rows, rest, block = ints[3], ints[4], ints[5], ints[6]
    mean, squares = float64_at(partials), float64_at(partials + width * 8)
    centre, shift, spread = (
        float32_at(scratch),
        float32_at(scratch + width * 4),
        float32_at(scratch + width * 8),
    )
    for j in range(width):
        mean[j] = 0.0
        squares[j] = 0.0
    row, end = share(rows, task, tasks), share(rows, task + 1, tasks)
    seen = 0.0
    rest_is_mine = rest > 0 and task == tasks - 1
    while row < end or rest_is_mine:
        count = min(block, end - row)
        length = width
        if count == 0:
            count, length, rest_is_mine = 1, rest, False
        block_at = x + row * width * 4
        first = float32_at(block_at)
        for j in range(length):
            centre[j] = first[j] if seen == 0.0 else np.float32(mean[j])
            shift[j] = np.float32(0)
            spread[j] = np.float32(0)
        for r in range(count):
            line = float32_at(block_at + r * width * 4)
            for j in range(length):
                deviation = line[j] - centre[j]
                shift[j] += deviation
                spread[j] += deviation * deviation
        part, one = count / (seen + count), 1.0 / count
        for j in range(length):
            off = np.float64(shift[j]) * one  # the mean of the block - the centre
            delta = np.float64(centre[j]) + off - mean[j]
            mean[j] += delta * part
            squares[j] += np.float64(spread[j]) - shift[j] * off + delta * delta * (seen * part)
        seen += count
        row += count


@kernel()
def merge_statistics(ints, floats, task, tasks):
    """mean and var of each channel, what rounding cut off the mean, and the running statistics."""
    partials, mean, var = float64_at(ints[0]), float32_at(ints[1]), float32_at(ints[2])
    cut_off, channels, wide, rows = float64_at(ints[3]), ints[4], ints[5], ints[6]
    left, pieces, running = ints[7], ints[8], ints[9]
    running_mean, running_var = float32_at(ints[10]), float32_at(ints[11])
    momentum = floats[0]
    width, m = wide * channels, rows * wide + left
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


@kernel()
def prepare(ints, floats, task, tasks):
    """centre, scale and shift at each position: out = (x - centre) * scale + shift."""
    weight, bias = float32_at(ints[0]), float32_at(ints[1])
    mean, var, cut_off = float32_at(ints[2]), float32_at(ints[3]), float64_at(ints[4])
    vectors, channels, wide = float32_at(ints[5]), ints[6], ints[7]
    width = wide * channels
    for c in range(channels):
        scale = weight[c] / math.sqrt(var[c] + floats[0])
        shift = bias[c] - cut_off[c] * scale
        for k in range(wide):
            place = k * channels + c
            vectors[place] = mean[c]
            vectors[width + place] = np.float32(scale)
            vectors[2 * width + place] = np.float32(shift)


@kernel()
def normalize(ints, floats, task, tasks):
    """out = (x - centre) * scale + shift, then + residual and relu where wanted.

    `passes` (bytes) gets 1 where relu lets its input through."""
    relu, width, rows, rest = ints[5], ints[6], ints[7], ints[8]
    centre = float32_at(ints[1])
    scale, shift = float32_at(ints[1] + width * 4), float32_at(ints[1] + width * 8)
    zero = np.float32(0)
    end = share(rows, task + 1, tasks)
    if rest > 0 and task == tasks - 1:
        end += 1
    for row in range(share(rows, task, tasks), end):
        at = row * width * 4
        length = width if row < rows else rest
        x, out = float32_at(ints[0] + at), float32_at(ints[2] + at)
        # one loop an output: LLVM vectorises these, and a row stays in the first-level cache
        if ints[3] != 0:
            residual = float32_at(ints[3] + at)
            for j in range(length):
                out[j] = (x[j] - centre[j]) * scale[j] + shift[j] + residual[j]
        else:
            for j in range(length):
                out[j] = (x[j] - centre[j]) * scale[j] + shift[j]
        if ints[4] != 0:
            passes = uint8_at(ints[4] + row * width)
            for j in range(length):
                passes[j] = not (out[j] < zero)
        if relu != 0:
            for j in range(length):
                out[j] = zero if out[j] < zero else out[j]


@kernel()
def gradient_sums(ints, floats, task, tasks):
    """Sums of grad, grad * (x - centre) and x - centre at each position, over this task's rows.

    relu 1: grad counts only where (x - centre) * scale + shift is not negative. relu 2: where
    `passes` says so, and what counts is written to `masked`."""
    partials, scratch = ints[3] + task * ints[5] * 24, ints[4] + task * ints[5] * 16
    centre, width, rows, rest, block = float32_at(ints[2]), ints[5], ints[6], ints[7], ints[8]
    scale, shift = float32_at(ints[2] + width * 4), float32_at(ints[2] + width * 8)
    relu = ints[9]
    totals, sums = float64_at(partials), float32_at(scratch)
    grads, products, deviations = (
        float32_at(scratch),
        float32_at(scratch + width * 4),
        float32_at(scratch + width * 8),
    )
    zero = np.float32(0)
    for j in range(3 * width):
        totals[j] = 0.0
    row, end = share(rows, task, tasks), share(rows, task + 1, tasks)
    rest_is_mine = rest > 0 and task == tasks - 1
    while row < end or rest_is_mine:
        count = min(block, end - row)
        length = width
        if count == 0:
            count, length, rest_is_mine = 1, rest, False
        for j in range(3 * width):
            sums[j] = zero
        for r in range(row, row + count):
            grad_at = ints[0] + r * width * 4
            x = float32_at(ints[1] + r * width * 4)
            if relu != 0:
                whole = float32_at(grad_at)
                grad_at = scratch + width * 12
                if relu == 1:
                    counts = float32_at(grad_at)
                    for j in range(length):
                        out = (x[j] - centre[j]) * scale[j] + shift[j]
                        counts[j] = zero if out < zero else whole[j]
                else:
                    grad_at = ints[11] + r * width * 4
                    counts, passes = float32_at(grad_at), uint8_at(ints[10] + r * width)
                    for j in range(length):
                        counts[j] = whole[j] if passes[j] != 0 else zero
            grad = float32_at(grad_at)
            for j in range(length):
                deviation = x[j] - centre[j]
                grads[j] += grad[j]
                products[j] += grad[j] * deviation
                deviations[j] += deviation
        for j in range(3 * width):
            totals[j] += sums[j]
        row += count


@kernel()
def merge_gradient_sums(ints, floats, task, tasks):
    """grad_weight and grad_bias, and what `gradient` needs at each position."""
    partials, weight, var = float64_at(ints[0]), float32_at(ints[1]), float32_at(ints[2])
    grad_weight, grad_bias, vectors = float32_at(ints[3]), float32_at(ints[4]), float32_at(ints[5])
    channels, wide, m, pieces = ints[6], ints[7], ints[8], ints[9]
    width = wide * channels
    for c in range(channels):
        grads, products, deviations = 0.0, 0.0, 0.0
        for piece in range(pieces):
            for k in range(wide):
                place = 3 * piece * width + k * channels + c
                grads += partials[place]
                products += partials[place + width]
                deviations += partials[place + 2 * width]
        cut_off = deviations / m  # the exact mean - the float32 mean
        inverse_std = 1.0 / math.sqrt(var[c] + floats[0])
        of_weight = (products - cut_off * grads) * inverse_std
        grad_weight[c] = np.float32(of_weight)
        grad_bias[c] = np.float32(grads)
        scale = weight[c] * inverse_std
        slope = scale * inverse_std * of_weight / m
        for k in range(wide):
            place = 3 * width + k * channels + c
            vectors[place] = np.float32(slope)
            vectors[width + place] = np.float32(cut_off * slope - scale * grads / m)


@kernel()
def gradient(ints, floats, task, tasks):
    """grad_x = grad * scale - (x - centre) * slope + offset

    relu 1: grad counts only where (x - centre) * scale + shift is not negative."""
    width, rows, rest, relu = ints[4], ints[5], ints[6], ints[7]
    centre, scale = float32_at(ints[2]), float32_at(ints[2] + width * 4)
    shift, slope = float32_at(ints[2] + width * 8), float32_at(ints[2] + width * 12)
    offset = float32_at(ints[2] + width * 16)
    zero = np.float32(0)
    end = share(rows, task + 1, tasks)
    if rest > 0 and task == tasks - 1:
        end += 1
    for row in range(share(rows, task, tasks), end):
        at = row * width * 4
        length = width if row < rows else rest
        grad, x, out = float32_at(ints[0] + at), float32_at(ints[1] + at), float32_at(ints[3] + at)
        if relu != 0:
            for j in range(length):
                value = (x[j] - centre[j]) * scale[j] + shift[j]
                out[j] = zero if value < zero else grad[j]
            for j in range(length):
                out[j] = out[j] * scale[j] - (x[j] - centre[j]) * slope[j] + offset[j]
        else:
            for j in range(length):
                out[j] = grad[j] * scale[j] - (x[j] - centre[j]) * slope[j] + offset[j]
