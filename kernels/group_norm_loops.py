"""The loops of kernels/group_norm.py, which says what they are for.

Memory is (images, pixels, channels), float32. A piece of work is one image, or some groups of it
(`splits` pieces), whose channels `first` .. `first + width` are a part of each pixel. Vectors of
`width` numbers are per channel, so that every loop over memory is the same whatever a group is.
"""

import math

import numpy as np

from kernels.cache import kernel
from kernels.language import njit
from kernels.parallel import share
from kernels.simd import float32_at, float64_at


@njit(nogil=True)
def total(address, n):
    """The sum of n float64, pairwise; they are overwritten."""
    values = float64_at(address)
    while n > 1:
        half = n // 2
        rest = n - half
        for j in range(half):
            values[j] += values[rest + j]
        n = rest
    return values[0]


@kernel()
def group_statistics(ints, floats, task, tasks):
    """mean and var of each group of each image, and out."""
    images, pixels, channels, groups = ints[7], ints[8], ints[9], ints[10]
    splits, centred, eps = ints[11], ints[12], floats[0]
    weight, bias = float32_at(ints[2]), float32_at(ints[3])
    means, variances = float64_at(ints[4]), float64_at(ints[5])
    size = channels // groups
    m = pixels * size
    scratch = ints[6] + task * channels * 20
    sums = float64_at(scratch)
    centre = float32_at(scratch + channels * 8)
    scale = float32_at(scratch + channels * 12)
    shift = float32_at(scratch + channels * 16)
    items = images * splits
    for item in range(share(items, task, tasks), share(items, task + 1, tasks)):
        image, split = item // splits, item % splits
        group, end = share(groups, split, splits), share(groups, split + 1, splits)
        first, width = group * size, (end - group) * size
        x_at = ints[0] + (image * pixels * channels + first) * 4
        for j in range(width):
            sums[j] = 0.0
        if centred:
            for pixel in range(pixels):
                x = float32_at(x_at + pixel * channels * 4)
                for j in range(width):
                    sums[j] += np.float64(x[j])
        for g in range(end - group):
            mean = total(scratch + g * size * 8, size) / m
            means[image * groups + group + g] = mean
            for j in range(g * size, g * size + size):
                centre[j] = np.float32(mean)
                sums[j] = 0.0
        for pixel in range(pixels):
            x = float32_at(x_at + pixel * channels * 4)
            for j in range(width):
                deviation = x[j] - centre[j]
                sums[j] += np.float64(deviation * deviation)
        for g in range(end - group):
            mean = means[image * groups + group + g]
            cut_off = mean - np.float64(centre[g * size])
            squares = total(scratch + g * size * 8, size)
            variance = squares / m - cut_off * cut_off
            if variance < 0.0:  # equal values, and rounding
                variance = 0.0
            variances[image * groups + group + g] = variance
            inverse_std = 1.0 / math.sqrt(variance + eps)
            for j in range(g * size, g * size + size):
                factor = weight[first + j] * inverse_std
                scale[j] = np.float32(factor)
                shift[j] = np.float32(bias[first + j] - cut_off * factor)
        for pixel in range(pixels):
            x = float32_at(x_at + pixel * channels * 4)
            out = float32_at(ints[1] + (x_at - ints[0]) + pixel * channels * 4)
            for j in range(width):
                out[j] = (x[j] - centre[j]) * scale[j] + shift[j]


@kernel()
def group_gradient(ints, floats, task, tasks):
    """This task's sums for grad_weight and grad_bias, and grad_x where it is wanted."""
    images, pixels, channels, groups = ints[8], ints[9], ints[10], ints[11]
    splits, centred, wanted, eps = ints[12], ints[13], ints[14], floats[0]
    weight, means, variances = float32_at(ints[2]), float64_at(ints[3]), float64_at(ints[4])
    size = channels // groups
    m = pixels * size
    scratch = ints[7] + task * channels * 28
    grads, products = float64_at(scratch), float64_at(scratch + channels * 8)
    centre = float32_at(scratch + channels * 16)
    scale = float32_at(scratch + channels * 20)
    slope = float32_at(scratch + channels * 24)
    of_weight = float64_at(ints[6] + task * channels * 16)
    of_bias = float64_at(ints[6] + task * channels * 16 + channels * 8)
    for j in range(channels):
        of_weight[j] = 0.0
        of_bias[j] = 0.0
    items = images * splits
    for item in range(share(items, task, tasks), share(items, task + 1, tasks)):
        image, split = item // splits, item % splits
        group, end = share(groups, split, splits), share(groups, split + 1, splits)
        first, width = group * size, (end - group) * size
        start = (image * pixels * channels + first) * 4
        for g in range(end - group):
            mean = np.float32(means[image * groups + group + g])
            for j in range(g * size, g * size + size):
                centre[j] = mean
                grads[j] = 0.0
                products[j] = 0.0
        for pixel in range(pixels):
            at = start + pixel * channels * 4
            grad, x = float32_at(ints[0] + at), float32_at(ints[1] + at)
            for j in range(width):
                grads[j] += np.float64(grad[j])
                products[j] += np.float64(grad[j] * (x[j] - centre[j]))
        for g in range(end - group):
            place = image * groups + group + g
            cut_off = means[place] - np.float64(centre[g * size])
            inverse_std = 1.0 / math.sqrt(variances[place] + eps)
            for j in range(g * size, g * size + size):
                product = (products[j] - cut_off * grads[j]) * inverse_std
                of_weight[first + j] += product
                of_bias[first + j] += grads[j]
                grads[j] *= np.float64(weight[first + j])
                products[j] = product * np.float64(weight[first + j])
            mean_grad = total(scratch + g * size * 8, size) / m
            mean_product = total(scratch + (channels + g * size) * 8, size) / m
            steepness = inverse_std * inverse_std * mean_product
            constant = cut_off * steepness
            if centred:
                constant -= inverse_std * mean_grad
            for j in range(g * size, g * size + size):
                scale[j] = np.float32(weight[first + j] * inverse_std)
                slope[j] = np.float32(steepness)
                grads[j] = constant
        if wanted:
            for pixel in range(pixels):
                at = start + pixel * channels * 4
                grad, x = float32_at(ints[0] + at), float32_at(ints[1] + at)
                out = float32_at(ints[5] + at)
                for j in range(width):
                    out[j] = (
                        grad[j] * scale[j] - (x[j] - centre[j]) * slope[j] + np.float32(grads[j])
                    )
