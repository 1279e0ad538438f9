"""The loops of a batch norm's gradient (norm.py, norm_loops.py): its sums, and that of the input.

Rows, positions and arguments are as in norm_loops.py.
"""

import math

import numpy as np

from kernels.atomic import atomic_add
from kernels.cache import kernel
from kernels.language import njit, words
from kernels.norm_loops import prepare
from kernels.parallel import share
from kernels.simd import (
    LANES,
    add,
    float32_at,
    float64_at,
    fma,
    int64_at,
    keep_unless_negative,
    keep_where,
    load,
    splat,
    store,
    sub,
    uint8_at,
)

_prepare = prepare.symbol


@njit(nogil=True)
def _counting(grad, deviation, relu, vectors, row_step, passes):
    """A vector of grad: with relu 1 only where deviation * scale + shift is not negative; with relu
    2 only where `passes` says so."""
    if relu == 1:
        value = fma(deviation, load(vectors + row_step), load(vectors + 2 * row_step))
        return keep_unless_negative(value, grad)
    if relu == 2:
        return keep_where(passes, grad)
    return grad


@njit(nogil=True)
def _sum_gradients(grad, x, vectors, relu, passes, masked, row_step, rows, target, length):
    """Sums of grad, grad * (x - centre) and x - centre over some rows, to three rows of `target`.

    `vectors` has the rows centre, scale, shift. What counts of grad: see `_counting`; with relu 2
    it is also written to `masked`, which may be grad itself."""
    v, stop = 4 * LANES, length * 4
    zero = splat(np.float32(0))
    j = 0
    while j + 4 * v <= stop:
        of = vectors + j
        c0, c1, c2, c3 = load(of), load(of + v), load(of + 2 * v), load(of + 3 * v)
        g0, g1, g2, g3, p0, p1, p2, p3 = zero, zero, zero, zero, zero, zero, zero, zero
        s0, s1, s2, s3 = zero, zero, zero, zero
        for r in range(rows):
            at = r * row_step + j
            d = sub(load(x + at), c0)
            g = _counting(load(grad + at), d, relu, of, row_step, passes + at // 4)
            if relu == 2:
                store(masked + at, g)
            g0, p0, s0 = add(g0, g), fma(g, d, p0), add(s0, d)
            at += v
            d = sub(load(x + at), c1)
            g = _counting(load(grad + at), d, relu, of + v, row_step, passes + at // 4)
            if relu == 2:
                store(masked + at, g)
            g1, p1, s1 = add(g1, g), fma(g, d, p1), add(s1, d)
            at += v
            d = sub(load(x + at), c2)
            near = of + 2 * v
            g = _counting(load(grad + at), d, relu, near, row_step, passes + at // 4)
            if relu == 2:
                store(masked + at, g)
            g2, p2, s2 = add(g2, g), fma(g, d, p2), add(s2, d)
            at += v
            d = sub(load(x + at), c3)
            near = of + 3 * v
            g = _counting(load(grad + at), d, relu, near, row_step, passes + at // 4)
            if relu == 2:
                store(masked + at, g)
            g3, p3, s3 = add(g3, g), fma(g, d, p3), add(s3, d)
        to = target + j
        store(to, g0)
        store(to + v, g1)
        store(to + 2 * v, g2)
        store(to + 3 * v, g3)
        to += row_step
        store(to, p0)
        store(to + v, p1)
        store(to + 2 * v, p2)
        store(to + 3 * v, p3)
        to += row_step
        store(to, s0)
        store(to + v, s1)
        store(to + 2 * v, s2)
        store(to + 3 * v, s3)
        j += 4 * v
    # the positions left over, one by one
    grads, products, deviations = (
        float32_at(target),
        float32_at(target + row_step),
        float32_at(target + 2 * row_step),
    )
    centre, scale = float32_at(vectors), float32_at(vectors + row_step)
    shift = float32_at(vectors + 2 * row_step)
    for r in range(rows):
        line, whole = float32_at(x + r * row_step), float32_at(grad + r * row_step)
        kept, left = uint8_at(passes + r * row_step // 4), float32_at(masked + r * row_step)
        for i in range(j // 4, length):
            deviation, value = line[i] - centre[i], whole[i]
            if relu == 1 and deviation * scale[i] + shift[i] < np.float32(0):
                value = np.float32(0)
            if relu == 2:
                if kept[i] == 0:
                    value = np.float32(0)
                left[i] = value
            grads[i] += value
            products[i] += value * deviation
            deviations[i] += deviation


@kernel("void(" + "int64, " * 8 + "float64)")
def merge_gradient_sums(
    partials_at, width, channels, of_at, m, grad_weight_at, grad_bias_at, pieces, eps
):
    """grad_weight and grad_bias, and what `gradient` needs of each channel."""
    partials, of = float64_at(partials_at), int64_at(of_at)
    weight, var = float32_at(of[0]), float32_at(of[3])
    slope, offset = float32_at(of[5]), float32_at(of[6])
    grad_weight, grad_bias = float32_at(grad_weight_at), float32_at(grad_bias_at)
    for c in range(channels):
        grads, products, deviations = 0.0, 0.0, 0.0
        for piece in range(pieces):
            for place in range(3 * piece * width + c, (3 * piece + 1) * width, channels):
                grads += partials[place]
                products += partials[place + width]
                deviations += partials[place + 2 * width]
        cut_off = deviations / m  # the exact mean - the float32 mean
        inverse_std = 1.0 / math.sqrt(var[c] + eps)
        of_weight = (products - cut_off * grads) * inverse_std
        grad_weight[c] = np.float32(of_weight)
        grad_bias[c] = np.float32(grads)
        scale = weight[c] * inverse_std
        of_x = scale * inverse_std * of_weight / m
        slope[c] = np.float32(-of_x)
        offset[c] = np.float32(cut_off * of_x - scale * grads / m)


@njit(nogil=True)
def begin_gradient_sums(ints, eps, task):
    """Nothing summed yet; the vectors that `_sum_gradients` reads."""
    width, channels = ints[5], ints[12]
    vectors = ints[2] + task * width * 12
    _prepare(ints[13], eps, vectors, channels, width // channels, 0)
    totals = float64_at(ints[3] + task * width * 24)
    for j in range(3 * width):
        totals[j] = 0.0


@kernel(words(11))
def add_gradients(grad, x, vectors, relu, passes, masked, width, count, sums_at, length, totals_at):
    """Sums of some rows, `length` positions of them, join the totals."""
    totals, sums = float64_at(totals_at), float32_at(sums_at)
    for j in range(3 * width):
        sums[j] = np.float32(0)
    _sum_gradients(grad, x, vectors, relu, passes, masked, width * 4, count, sums_at, length)
    for j in range(3 * width):
        totals[j] += sums[j]


_add_gradients = add_gradients.symbol
_merge_gradient_sums = merge_gradient_sums.symbol


@njit(nogil=True)
def add_gradient_sums(ints, task, row, end, length):
    """Sums of rows `row` .. end-1, `length` positions of them, join the task's."""
    width, block = ints[5], ints[8]
    vectors, totals = ints[2] + task * width * 12, ints[3] + task * width * 24
    scratch = ints[4] + task * width * 16
    while row < end:
        count, at = min(block, end - row), row * width
        _add_gradients(
            ints[0] + 4 * at,
            ints[1] + 4 * at,
            vectors,
            ints[9],
            ints[10] + at,
            ints[17] + 4 * at,
            width,
            count,
            scratch,
            length,
            totals,
        )
        row += count


@njit(nogil=True)
def end_gradient_sums(ints, eps, tasks):
    """This task has done its part."""
    if atomic_add(ints[11], 1) == tasks - 1:
        results = ints[15], ints[16]
        _merge_gradient_sums(ints[3], ints[5], ints[12], ints[13], ints[14], *results, tasks, eps)


@kernel(needs=[add_gradients, merge_gradient_sums, prepare])
def gradient_sums(ints, floats, task, tasks):
    """grad_weight and grad_bias, slope and offset.

    First the sums of grad, grad * (x - centre) and x - centre at each position, over this task's
    rows. What counts of grad: see `_sum_gradients`."""
    rows, rest = ints[6], ints[7]
    begin, end = share(rows, task, tasks), share(rows, task + 1, tasks)
    begin_gradient_sums(ints, floats[0], task)
    add_gradient_sums(ints, task, begin, end, ints[5])
    if rest > 0 and task == tasks - 1:
        add_gradient_sums(ints, task, end, end + 1, rest)
    end_gradient_sums(ints, floats[0], tasks)


@njit(nogil=True)
def _gradient_row(grad, x, vectors, step, length, out, relu):
    """`gradient` for some positions; `step`: bytes from one row of vectors to the next."""
    whole = length - length % LANES
    for at in range(0, 4 * whole, 4 * LANES):
        of = vectors + at
        d, g, scale = sub(load(x + at), load(of)), load(grad + at), load(of + step)
        if relu == 1:
            g = keep_unless_negative(fma(d, scale, load(of + 2 * step)), g)
        store(out + at, fma(d, load(of + 3 * step), fma(g, scale, load(of + 4 * step))))
    values, grads, results = float32_at(x), float32_at(grad), float32_at(out)
    centre, scales = float32_at(vectors), float32_at(vectors + step)
    shift, slope = float32_at(vectors + 2 * step), float32_at(vectors + 3 * step)
    offset = float32_at(vectors + 4 * step)
    for j in range(whole, length):
        deviation, value = values[j] - centre[j], grads[j]
        if relu == 1 and deviation * scales[j] + shift[j] < np.float32(0):
            value = np.float32(0)
        results[j] = value * scales[j] + offset[j] + deviation * slope[j]


@kernel(needs=[prepare])
def gradient(ints, floats, task, tasks):
    """grad_x = grad * scale + offset + (x - centre) * slope

    With relu 1 grad counts where (x - centre) * scale + shift is not negative."""
    width, rows, rest, relu = ints[4], ints[5], ints[6], ints[7]
    vectors, channels = ints[2] + task * width * 20, ints[8]
    _prepare(ints[9], floats[0], vectors, channels, width // channels, 1)
    end = share(rows, task + 1, tasks)
    if rest > 0 and task == tasks - 1:
        end += 1
    for row in range(share(rows, task, tasks), end):
        at = row * width * 4
        length = width if row < rows else rest
        _gradient_row(ints[0] + at, ints[1] + at, vectors, 4 * width, length, ints[3] + at, relu)


@njit(nogil=True)
def gradient_of_pixels(at, x, pixels, step, x_step, channels, vectors, relu):
    """The same in place, for some pixels of whole panels of channels that lie `step` and, in x,
    `x_step` bytes apart. `vectors`: those of `prepare`, one position a channel."""
    for c in range(0, 4 * channels, 4 * LANES):
        of = vectors + c
        centre, scale = load(of), load(of + 4 * channels)
        shift, slope = load(of + 8 * channels), load(of + 12 * channels)
        offset = load(of + 16 * channels)
        for i in range(pixels):
            d = sub(load(x + i * x_step + c), centre)
            g = load(at + i * step + c)
            if relu == 1:
                g = keep_unless_negative(fma(d, scale, shift), g)
            store(at + i * step + c, fma(d, slope, fma(g, scale, offset)))
