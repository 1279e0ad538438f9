"""What the ops should give, in the plainest NumPy: loops and definitions, one value at a time.

Written from the formulas alone; nothing here is shared with the engine or its kernels.
"""

import math

import numpy as np


def two(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def conv2d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    if x.ndim == 3:
        return conv2d(x[None], w, b, stride, padding, dilation, groups)[0]
    (sy, sx), (dy, dx) = two(stride), two(dilation)
    if padding == "same":
        spans = [d * (k - 1) for d, k in zip((dy, dx), w.shape[2:], strict=True)]
        border = [(s // 2, s - s // 2) for s in spans]
    else:
        border = [(p, p) for p in two(0 if padding == "valid" else padding)]
    x = np.pad(x, ((0, 0), (0, 0), *border))
    count, _, height, width = x.shape
    filters, per_group, ky, kx = w.shape
    rows = (height - dy * (ky - 1) - 1) // sy + 1
    columns = (width - dx * (kx - 1) - 1) // sx + 1
    out = np.zeros((count, filters, rows, columns), x.dtype)
    for o in range(filters):
        first = o // (filters // groups) * per_group
        for i in range(rows):
            for j in range(columns):
                window = x[
                    :,
                    first : first + per_group,
                    i * sy : i * sy + dy * (ky - 1) + 1 : dy,
                    j * sx : j * sx + dx * (kx - 1) + 1 : dx,
                ]
                out[:, o, i, j] = (window * w[o]).sum((1, 2, 3))
    return out if b is None else out + b[:, None, None]


def pooled_size(size, kernel, stride, padding, dilation, ceil_mode):
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (math.ceil(room / stride) if ceil_mode else room // stride) + 1
    # the last window has to begin inside the image or its left border
    return count - 1 if ceil_mode and (count - 1) * stride >= size + padding else count


def max_pool2d(x, kernel, stride=None, padding=0, dilation=1, ceil_mode=False, indices=False):
    if x.ndim == 3:
        values, places = max_pool2d(x[None], kernel, stride, padding, dilation, ceil_mode, True)
        return (values[0], places[0]) if indices else values[0]
    k, p, d = two(kernel), two(padding), two(dilation)
    s = k if stride is None else two(stride)
    height, width = x.shape[2:]
    rows = pooled_size(height, k[0], s[0], p[0], d[0], ceil_mode)
    columns = pooled_size(width, k[1], s[1], p[1], d[1], ceil_mode)
    values = np.full((*x.shape[:2], rows, columns), -np.inf, x.dtype)
    places = np.zeros(values.shape, np.int64)
    for n, c, i, j in np.ndindex(values.shape):
        for a in range(k[0]):
            for b in range(k[1]):
                row, column = i * s[0] - p[0] + a * d[0], j * s[1] - p[1] + b * d[1]
                if 0 <= row < height and 0 <= column < width:
                    value = x[n, c, row, column]
                    if value > values[n, c, i, j] or np.isnan(value):
                        values[n, c, i, j] = value
                        places[n, c, i, j] = row * width + column
    return (values, places) if indices else values


def avg_pool2d(
    x, kernel, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor=None
):
    if x.ndim == 3:
        return avg_pool2d(x[None], kernel, stride, padding, ceil_mode, count_include_pad, divisor)[
            0
        ]
    k, p = two(kernel), two(padding)
    s = k if stride is None else two(stride)
    height, width = x.shape[2:]
    rows = pooled_size(height, k[0], s[0], p[0], 1, ceil_mode)
    columns = pooled_size(width, k[1], s[1], p[1], 1, ceil_mode)
    out = np.zeros((*x.shape[:2], rows, columns), x.dtype)
    for i in range(rows):
        for j in range(columns):
            top, left = i * s[0] - p[0], j * s[1] - p[1]
            bottom, right = min(top + k[0], height + p[0]), min(left + k[1], width + p[1])
            padded = (bottom - top) * (right - left)
            top, left, bottom, right = (
                max(top, 0),
                max(left, 0),
                min(bottom, height),
                min(right, width),
            )
            inside = (bottom - top) * (right - left)
            share = divisor or (padded if count_include_pad else inside)
            out[:, :, i, j] = x[:, :, top:bottom, left:right].sum((2, 3)) / share
    return out


def adaptive_avg_pool2d(x, output_size):
    height, width = x.shape[-2:]
    sizes = two(output_size)
    rows, columns = sizes[0] or height, sizes[1] or width
    out = np.zeros((*x.shape[:-2], rows, columns), x.dtype)
    for i in range(rows):
        for j in range(columns):
            top, bottom = i * height // rows, -(-(i + 1) * height // rows)
            left, right = j * width // columns, -(-(j + 1) * width // columns)
            out[..., i, j] = x[..., top:bottom, left:right].mean((-2, -1))
    return out


def batch_norm(x, mean, var, weight=None, bias=None, eps=1e-5):
    """With the given statistics, or those of the batch where they are None."""
    out = np.empty_like(x)
    for c in range(x.shape[1]):
        m = x[:, c].mean() if mean is None else mean[c]
        v = ((x[:, c] - m) ** 2).mean() if var is None else var[c]
        out[:, c] = (x[:, c] - m) / np.sqrt(v + eps)
        if weight is not None:
            out[:, c] = out[:, c] * weight[c] + bias[c]
    return out


def softmax(x, dim):
    e = np.exp(x)
    return e / e.sum(dim, keepdims=True)


def cross_entropy(x, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """By the definition -sum_c q_c w_c log p_c, one item at a time."""
    if x.ndim == 1:
        x, target = x[None], np.asarray(target)[None]
        reduction = "first" if reduction == "none" else reduction
    classes = x.shape[1]
    w = np.ones(classes) if weight is None else weight
    log_p = np.log(softmax(x, 1))
    probabilities = np.asarray(target).dtype.kind == "f"
    outer = (x.shape[0], *x.shape[2:])
    losses, divisor = np.zeros(outer, x.dtype), 0.0
    for item in np.ndindex(outer):
        n, rest = item[0], item[1:]
        if probabilities:
            q = np.array([target[(n, c, *rest)] for c in range(classes)])
            divisor += 1
        else:
            if target[item] == ignore_index:
                continue
            q = np.eye(classes)[target[item]]
            divisor += w[target[item]]
        q = (1 - label_smoothing) * q + label_smoothing / classes
        losses[item] = -sum(q[c] * w[c] * log_p[(n, c, *rest)] for c in range(classes))
    if reduction == "none":
        return losses
    if reduction == "first":
        return losses[0]
    return losses.sum() / divisor if reduction == "mean" else losses.sum()


def pad(x, widths, value=0.0):
    """PyTorch's order: (left, right, top, bottom, ...), negative widths crop."""
    for place in range(len(widths) // 2):
        axis, (before, after) = x.ndim - 1 - place, widths[2 * place : 2 * place + 2]
        x = np.moveaxis(x, axis, 0)
        x = x[max(-before, 0) : len(x) - max(-after, 0)]
        border = [(max(before, 0), max(after, 0))] + [(0, 0)] * (x.ndim - 1)
        x = np.moveaxis(np.pad(x, border, constant_values=value), 0, axis)
    return x
