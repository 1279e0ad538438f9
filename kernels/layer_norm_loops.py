"""The loops of kernels/group_norm.py for rows: x (rows, n), one group and one pixel each.

There a row is summed across instead of down, with a few vectors of partial sums in registers.
Every CHUNK numbers they are added up in float64, so that no float32 sum has many terms. At
(4096, 512) on two threads this takes 0.2 of the time of the loops in group_norm_loops.py.
"""

import math

import numpy as np

from kernels.cache import kernel
from kernels.host import LANES
from kernels.language import njit
from kernels.parallel import share
from kernels.simd import (
    add,
    add_lanes,
    float32_at,
    float64_at,
    fma,
    load,
    load_first,
    mul,
    splat,
    sub,
)

CHUNK = 512
BLOCK = 32
"""Rows whose gradients of weight and bias are added in float32."""


@njit(nogil=True)
def row_sum(x, n):
    """The sum of n float32 at an address."""
    result = 0.0
    for begin in range(0, n, CHUNK):
        end = min(begin + CHUNK, n)
        even, odd = splat(np.float32(0)), splat(np.float32(0))
        j = begin
        while j + 2 * LANES <= end:
            even = add(even, load(x + j * 4))
            odd = add(odd, load(x + (j + LANES) * 4))
            j += 2 * LANES
        while j < end:
            even = add(even, load_first(x + j * 4, end - j))
            j += LANES
        result += np.float64(add_lanes(add(even, odd)))
    return result


@njit(nogil=True)
def row_deviations(x, n, centre, sums):
    """sums[0] = the sum of x - centre, sums[1] = that of (x - centre)^2."""
    found, values = float64_at(sums), float32_at(x)
    found[0], found[1] = 0.0, 0.0
    for begin in range(0, n, CHUNK):
        end = min(begin + CHUNK, n)
        middle = splat(centre)
        plain, plain_odd = splat(np.float32(0)), splat(np.float32(0))
        square, square_odd = splat(np.float32(0)), splat(np.float32(0))
        j = begin
        while j + 2 * LANES <= end:
            a, b = sub(load(x + j * 4), middle), sub(load(x + (j + LANES) * 4), middle)
            plain, square = add(plain, a), fma(a, a, square)
            plain_odd, square_odd = add(plain_odd, b), fma(b, b, square_odd)
            j += 2 * LANES
        found[0] += np.float64(add_lanes(add(plain, plain_odd)))
        found[1] += np.float64(add_lanes(add(square, square_odd)))
        while j < end:
            deviation = values[j] - centre
            found[0] += np.float64(deviation)
            found[1] += np.float64(deviation * deviation)
            j += 1


@njit(nogil=True)
def row_products(grad, weight, x, n, centre, sums):
    """sums[0] = the sum of grad * weight, sums[1] = that of grad * weight * (x - centre)."""
    found = float64_at(sums)
    found[0], found[1] = 0.0, 0.0
    for begin in range(0, n, CHUNK):
        end = min(begin + CHUNK, n)
        middle = splat(centre)
        plain, plain_odd = splat(np.float32(0)), splat(np.float32(0))
        product, product_odd = splat(np.float32(0)), splat(np.float32(0))
        j = begin
        while j + 2 * LANES <= end:
            at = j * 4
            g = mul(load(grad + at), load(weight + at))
            plain = add(plain, g)
            product = fma(g, sub(load(x + at), middle), product)
            at += LANES * 4
            g = mul(load(grad + at), load(weight + at))
            plain_odd = add(plain_odd, g)
            product_odd = fma(g, sub(load(x + at), middle), product_odd)
            j += 2 * LANES
        while j < end:  # the lanes past the end are 0 in grad
            at = j * 4
            g = mul(load_first(grad + at, end - j), load_first(weight + at, end - j))
            plain = add(plain, g)
            product = fma(g, sub(load_first(x + at, end - j), middle), product)
            j += LANES
        found[0] += np.float64(add_lanes(add(plain, plain_odd)))
        found[1] += np.float64(add_lanes(add(product, product_odd)))


@kernel()
def row_statistics(ints, floats, task, tasks):
    """mean and var of each row, and out."""
    weight, bias = float32_at(ints[2]), float32_at(ints[3])
    means, variances = float64_at(ints[4]), float64_at(ints[5])
    sums_at = ints[6] + task * 64
    sums = float64_at(sums_at)
    rows, n, centred, eps = ints[7], ints[8], ints[9], floats[0]
    for row in range(share(rows, task, tasks), share(rows, task + 1, tasks)):
        at = ints[0] + row * n * 4
        centre = np.float32(row_sum(at, n) / n if centred else 0.0)
        row_deviations(at, n, centre, sums_at)
        cut_off = sums[0] / n if centred else 0.0  # the exact mean - the centre
        variance = sums[1] / n - cut_off * cut_off
        if variance < 0.0:  # equal values, and rounding; a NaN stays
            variance = 0.0
        means[row] = np.float64(centre) + cut_off
        variances[row] = variance
        exact = 1.0 / math.sqrt(variance + eps)
        inverse_std, shift = np.float32(exact), np.float32(cut_off * exact)
        x, out = float32_at(at), float32_at(ints[1] + row * n * 4)
        for j in range(n):
            out[j] = ((x[j] - centre) * inverse_std - shift) * weight[j] + bias[j]


@kernel()
def row_gradient(ints, floats, task, tasks):
    """This task's sums for grad_weight and grad_bias, and grad_x where it is wanted."""
    weight, means, variances = float32_at(ints[2]), float64_at(ints[3]), float64_at(ints[4])
    rows, n, centred, wanted, eps = ints[8], ints[9], ints[10], ints[11], floats[0]
    of_weight = float64_at(ints[6] + task * n * 16)
    of_bias = float64_at(ints[6] + task * n * 16 + n * 8)
    scratch = ints[7] + task * (n * 8 + 64)
    sums = float64_at(scratch)
    some_weight, some_bias = float32_at(scratch + 64), float32_at(scratch + 64 + n * 4)
    for j in range(n):
        of_weight[j] = 0.0
        of_bias[j] = 0.0
    end = share(rows, task + 1, tasks)
    for begin in range(share(rows, task, tasks), end, BLOCK):
        for j in range(n):
            some_weight[j] = np.float32(0)
            some_bias[j] = np.float32(0)
        for row in range(begin, min(begin + BLOCK, end)):
            at = row * n * 4
            grad, x, out = (
                float32_at(ints[0] + at),
                float32_at(ints[1] + at),
                float32_at(ints[5] + at),
            )
            mean, exact = means[row], 1.0 / math.sqrt(variances[row] + eps)
            centre = np.float32(mean)
            cut_off = mean - np.float64(centre)
            inverse_std, shift = np.float32(exact), np.float32(cut_off * exact)
            for j in range(n):
                some_weight[j] += grad[j] * ((x[j] - centre) * inverse_std - shift)
                some_bias[j] += grad[j]
            if wanted:
                row_products(ints[0] + at, ints[2], ints[1] + at, n, centre, scratch)
                steepness = (sums[1] - cut_off * sums[0]) * exact * exact * exact / n
                offset = cut_off * steepness
                if centred:
                    offset -= sums[0] * exact / n
                slope, constant = np.float32(steepness), np.float32(offset)
                for j in range(n):
                    out[j] = grad[j] * weight[j] * inverse_std - (x[j] - centre) * slope + constant
        for j in range(n):
            of_weight[j] += np.float64(some_weight[j])
            of_bias[j] += np.float64(some_bias[j])
