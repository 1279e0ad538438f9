"""What resampling, padding, unfolding and the norms within an item should give: plain loops.

Written from the formulas alone, one value at a time; nothing here is shared with the engine.
"""

import math
from fractions import Fraction

import numpy as np
import op_reference as ref

two = ref.two


def conv1d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    """By the definition: each output is a sum over its window."""
    if x.ndim == 2:
        return conv1d(x[None], w, b, stride, padding, dilation, groups)[0]
    span = dilation * (w.shape[2] - 1)
    before, after = (span // 2, span - span // 2) if padding == "same" else (padding, padding)
    x = np.pad(x, ((0, 0), (0, 0), (before, after)))
    count = (x.shape[2] - span - 1) // stride + 1
    out = np.zeros((len(x), len(w), count), x.dtype)
    inner = w.shape[1]
    for n, o, i in np.ndindex(out.shape):
        first = o // (len(w) // groups) * inner
        for c in range(inner):
            for k in range(w.shape[2]):
                out[n, o, i] += w[o, c, k] * x[n, first + c, i * stride + k * dilation]
    return out if b is None else out + b[:, None]


def conv_transpose2d(x, w, b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Each pixel of x adds its multiple of the weight to a window of the result."""
    if x.ndim == 3:
        settings = (stride, padding, output_padding, groups, dilation)
        return conv_transpose2d(x[None], w, b, *settings)[0]
    (sy, sx), (py, px), (dy, dx) = two(stride), two(padding), two(dilation)
    my, mx = two(output_padding)
    count, channels, height, width = x.shape
    outer, (ky, kx) = w.shape[1], w.shape[2:]
    rows = (height - 1) * sy - 2 * py + dy * (ky - 1) + my + 1
    columns = (width - 1) * sx - 2 * px + dx * (kx - 1) + mx + 1
    out = np.zeros((count, outer * groups, rows, columns), x.dtype)
    for c in range(channels):
        first = c // (channels // groups) * outer
        for o, i, j, p, q in np.ndindex(outer, height, width, ky, kx):
            row, column = i * sy + p * dy - py, j * sx + q * dx - px
            if 0 <= row < rows and 0 <= column < columns:
                out[:, first + o, row, column] += x[:, c, i, j] * w[c, o, p, q]
    return out if b is None else out + b[:, None, None]


def conv_transpose1d(x, w, b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """The same along the columns of images of height 1."""
    settings = ((1, stride), (0, padding), (0, output_padding), groups, (1, dilation))
    return conv_transpose2d(x[..., None, :], w[:, :, None], b, *settings)[..., 0, :]


def max_pool1d(x, kernel, stride=None, padding=0, dilation=1, ceil_mode=False, indices=False):
    stride = kernel if stride is None else stride
    sizes = ((1, kernel), (1, stride), (0, padding), (1, dilation))
    values, places = ref.max_pool2d(x[..., None, :], *sizes, ceil_mode, True)
    return (values[..., 0, :], places[..., 0, :]) if indices else values[..., 0, :]


def avg_pool1d(x, kernel, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    stride = kernel if stride is None else stride
    sizes = ((1, kernel), (1, stride), (0, padding))
    return ref.avg_pool2d(x[..., None, :], *sizes, ceil_mode, count_include_pad)[..., 0, :]


def adaptive_avg_pool1d(x, output_size):
    return ref.adaptive_avg_pool2d(x[..., None, :], (1, output_size))[..., 0, :]


def adaptive_max_pool2d(x, output_size, indices=False):
    height, width = x.shape[-2:]
    sizes = two(output_size)
    rows, columns = sizes[0] or height, sizes[1] or width
    values = np.full((*x.shape[:-2], rows, columns), -np.inf, x.dtype)
    places = np.zeros(values.shape, np.int64)
    for *lead, i, j in np.ndindex(values.shape):
        place = (*lead, i, j)
        for row in range(i * height // rows, -(-(i + 1) * height // rows)):
            for column in range(j * width // columns, -(-(j + 1) * width // columns)):
                value = x[(*lead, row, column)]
                if value > values[place] or np.isnan(value):
                    values[place], places[place] = value, row * width + column
    return (values, places) if indices else values


# ---- norms ---------------------------------------------------------------------------------------


def group_norm(x, groups, weight=None, bias=None, eps=1e-5):
    out, size = np.empty_like(x), x.shape[1] // groups
    for n in range(len(x)):
        for c in range(x.shape[1]):
            group = x[n, c // size * size : (c // size + 1) * size]
            out[n, c] = (x[n, c] - group.mean()) / np.sqrt(group.var() + eps)
            if weight is not None:
                out[n, c] = out[n, c] * weight[c] + bias[c]
    return out


def instance_norm(x, mean=None, var=None, weight=None, bias=None, eps=1e-5):
    if mean is not None:
        return ref.batch_norm(x, mean, var, weight, bias, eps)
    return group_norm(x, x.shape[1], weight, bias, eps)


def layer_norm(x, dims, weight=1.0, bias=0.0, eps=1e-5):
    axes = tuple(range(-dims, 0))
    centred = x - x.mean(axes, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axes, keepdims=True) + eps) * weight + bias


def rms_norm(x, dims, weight=1.0, eps=None):
    axes = tuple(range(-dims, 0))
    eps = np.finfo(x.dtype).eps if eps is None else eps
    return x / np.sqrt((x**2).mean(axes, keepdims=True) + eps) * weight


def local_response_norm(x, size, alpha=1e-4, beta=0.75, k=1.0):
    out = np.empty_like(x)
    for c in range(x.shape[1]):
        near = x[:, max(c - size // 2, 0) : c + (size - 1) // 2 + 1]
        out[:, c] = x[:, c] / (k + alpha * (near**2).sum(1) / size) ** beta
    return out


# ---- borders, sizes, windows ---------------------------------------------------------------------


def pad(x, widths, mode="constant", value=0.0):
    """PyTorch's order: (left, right, top, bottom, ...), negative widths crop."""
    if mode == "constant":
        return ref.pad(x, widths, value)
    name = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    for place in range(len(widths) // 2):
        axis, (before, after) = x.ndim - 1 - place, widths[2 * place : 2 * place + 2]
        border = [(max(before, 0), max(after, 0))] + [(0, 0)] * (x.ndim - 1)
        x = np.moveaxis(x, axis, 0)
        if mode == "circular":  # crops first
            x = np.pad(x[max(-before, 0) : len(x) - max(-after, 0)], border, name)
        else:
            x = np.pad(x, border, name)
            x = x[max(-before, 0) : len(x) - max(-after, 0)]
        x = np.moveaxis(x, 0, axis)
    return x


def keys(t):
    """The cubic convolution kernel of Keys 1981 with a = -3/4."""
    t, a = abs(t), -0.75
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def resize_weights(mode, n, m, scale, align_corners):
    """The full (m, n) matrix of interpolation along one dimension."""
    matrix = np.zeros((m, n))
    for o in range(m):
        if mode == "area":
            start, end = o * n // m, -(-(o + 1) * n // m)
            matrix[o, start:end] = 1 / (end - start)
            continue
        if mode.startswith("nearest"):
            shift = Fraction(1, 2) if mode == "nearest-exact" else 0
            matrix[o, min(math.floor((o + shift) * scale), n - 1)] = 1
            continue
        if align_corners:
            centre = o * (n - 1) / (m - 1) if m > 1 else 0.0
        else:
            centre = (o + 0.5) * float(scale) - 0.5
        if mode == "bicubic":
            for i in range(math.floor(centre) - 2, math.floor(centre) + 4):
                matrix[o, min(max(i, 0), n - 1)] += keys(centre - i)
        else:
            centre = min(max(centre, 0), n - 1)
            for i in range(n):
                matrix[o, i] = max(0.0, 1 - abs(centre - i))
    return matrix


def interpolate(x, size=None, scale_factor=None, mode="nearest", align_corners=False, redo=False):
    dims = x.ndim - 2
    for k in range(dims):
        n = x.shape[2 + k]
        if size is not None:
            m = size if isinstance(size, int) else size[k]
            scale = Fraction(n, m)
        else:
            factor = scale_factor[k] if isinstance(scale_factor, tuple) else scale_factor
            m = math.floor(n * factor)
            scale = Fraction(n, m) if redo else 1 / Fraction(factor)
        matrix = resize_weights(mode, n, m, scale, align_corners).astype(x.dtype)
        x = np.moveaxis(np.tensordot(matrix, x, (1, 2 + k)), 0, 2 + k)
    return x


def pixel_shuffle(x, r):
    *lead, channels, height, width = x.shape
    out = np.empty((*lead, channels // r**2, height * r, width * r), x.dtype)
    for c, row, column in np.ndindex(*out.shape[-3:]):
        source = c * r**2 + row % r * r + column % r
        out[..., c, row, column] = x[..., source, row // r, column // r]
    return out


def pixel_unshuffle(x, r):
    *lead, channels, height, width = x.shape
    out = np.empty((*lead, channels * r**2, height // r, width // r), x.dtype)
    for c, row, column in np.ndindex(*out.shape[-3:]):
        i, j = c % r**2 // r, c % r
        out[..., c, row, column] = x[..., c // r**2, row * r + i, column * r + j]
    return out


def windows(size, kernel, dilation, padding, stride):
    """(column, place in the column, row, column of the image) of every pixel of every window."""
    (ky, kx), (dy, dx), (py, px), (sy, sx) = map(two, (kernel, dilation, padding, stride))
    rows = (size[0] + 2 * py - dy * (ky - 1) - 1) // sy + 1
    columns = (size[1] + 2 * px - dx * (kx - 1) - 1) // sx + 1
    for i, j, p, q in np.ndindex(rows, columns, ky, kx):
        row, column = i * sy + p * dy - py, j * sx + q * dx - px
        inside = 0 <= row < size[0] and 0 <= column < size[1]
        yield i * columns + j, p * kx + q, (row, column) if inside else None


def unfold(x, kernel, dilation=1, padding=0, stride=1):
    taps = list(windows(x.shape[-2:], kernel, dilation, padding, stride))
    ky, kx = two(kernel)
    out = np.zeros((*x.shape[:-2], ky * kx, taps[-1][0] + 1), x.dtype)
    for block, tap, pixel in taps:
        if pixel:
            out[..., tap, block] = x[(..., *pixel)]
    return out.reshape(*x.shape[:-3], x.shape[-3] * ky * kx, taps[-1][0] + 1)


def fold(x, output_size, kernel, dilation=1, padding=0, stride=1):
    size, (ky, kx) = two(output_size), two(kernel)
    out = np.zeros((*x.shape[:-2], x.shape[-2] // (ky * kx), *size), x.dtype)
    parts = x.reshape(*x.shape[:-2], out.shape[-3], ky * kx, x.shape[-1])
    for block, tap, pixel in windows(size, kernel, dilation, padding, stride):
        if pixel:
            out[(..., *pixel)] += parts[..., tap, block]
    return out
