"""Tiles and their transforms in NumPy, for the tests of Winograd's algorithms."""

import numpy as np


def around(matrix, tiles, other=None):
    """matrix @ tile @ other.T for each tile (in the last two axes); `other` is `matrix` as well if
    it is not given."""
    return np.einsum("ij,...jk,lk->...il", matrix, tiles, matrix if other is None else other)


def cut(images, size, step, first, tiles):
    """size x size tiles at distance `step`, the first at (first, first), in the last two axes."""
    n, c, h, w = images.shape
    low = -first
    reach = [step * (t - 1) + size + 4 for t in tiles]
    room = np.zeros((n, c, max(h, reach[0]) + low + 8, max(w, reach[1]) + low + 8))
    room[:, :, low : low + h, low : low + w] = images
    windows = np.lib.stride_tricks.sliding_window_view(room, (size, size), axis=(2, 3))
    return windows[:, :, : tiles[0] * step : step, : tiles[1] * step : step]


def joined(tiles, shape):
    """The images that tiles (N, C, rows, columns, size, size) cover, cut to `shape`."""
    n, c, rows, columns, size, _ = tiles.shape
    whole = tiles.transpose(0, 1, 2, 4, 3, 5).reshape(n, c, rows * size, columns * size)
    return whole[:, :, : shape[2], : shape[3]]


def typical(result, exact):
    """The norm of the error as a share of the norm of what is right."""
    scale = np.linalg.norm(exact)
    return np.linalg.norm(result - exact) / scale if scale else np.linalg.norm(result)
