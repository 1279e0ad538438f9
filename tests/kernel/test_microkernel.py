"""The innermost kernels on their own, including what they must not touch."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernels.microkernel import multiply_channels, multiply_columns, multiply_rows
from kernels.packing import copy_block, split_channels, stage_rows


def at(array):
    return array.ctypes.data


@given(
    st.integers(0, 40),
    st.integers(0, 4),
    st.integers(0, 21),
    st.integers(0, 70),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_products(rows, parts, k, columns, accumulate, seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(5)[:parts].astype(np.int64)
    panels = -(-columns // 16)
    # a gap after each panel of B, and of C
    b = rng.standard_normal((panels, parts * k + 3, 16)).astype(np.float32)
    right = b[:, : parts * k].transpose(1, 0, 2).reshape(parts * k, panels * 16)[:, :columns]
    c = rng.standard_normal((rows + 1, panels, 20)).astype(np.float32)
    touched = np.zeros(c.shape, bool)
    touched[:rows, :, :16] = (np.arange(panels * 16) < columns).reshape(panels, 16)

    def check(result, terms):
        expected = c.astype(np.float64)
        expected[touched] = terms.ravel() + accumulate * expected[touched]
        np.testing.assert_allclose(result, expected, atol=1e-4)
        assert (result[~touched] == c[~touched]).all()

    # Rows of A in any order
    a = rng.standard_normal((rows + 1, 5, 24)).astype(np.float32)
    picked = rng.permutation(rows + 1)[:rows].astype(np.int64)
    a_rows, a_parts = picked * a.strides[0], order * a.strides[1]
    c_rows = np.arange(rows, dtype=np.int64) * c.strides[0]
    result = c.copy()
    multiply_rows.call(
        rows,
        at(a),
        at(a_rows),
        at(a_parts),
        parts,
        k,
        at(b),
        b.strides[0],
        at(result),
        at(c_rows),
        c.strides[1],
        columns,
        int(accumulate),
    )
    check(result, a[picked][:, order, :k].astype(np.float64).reshape(rows, parts * k) @ right)

    # Columns of A; B with a gap between its rows as well.
    a = rng.standard_normal((5, 24, rows + 2)).astype(np.float32)
    wide = np.zeros((panels, parts * k + 3, 23), np.float32)
    wide[:, :, :16] = b
    a_parts = order * a.strides[0]
    result = c.copy()
    multiply_columns.call(
        rows,
        at(a),
        at(a_parts),
        parts,
        k,
        a.strides[1],
        at(wide),
        wide.strides[1],
        wide.strides[0],
        at(result),
        c.strides[0],
        c.strides[1],
        columns,
        int(accumulate),
    )
    check(result, a[order, :k, :rows].astype(np.float64).reshape(parts * k, rows).T @ right)


@given(
    st.integers(0, 20),
    st.integers(0, 4),
    st.integers(0, 9),
    st.integers(1, 16),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_lane_by_lane(rows, parts, k, lanes, accumulate, seed):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((rows + 1, 5, 9, 19)).astype(np.float32)
    b = rng.standard_normal((parts, k, 16)).astype(np.float32)
    c = rng.standard_normal((rows + 1, 20)).astype(np.float32)
    order = rng.permutation(5)[:parts].astype(np.int64)
    a_rows = np.arange(rows, dtype=np.int64) * a.strides[0]
    a_parts = order * a.strides[1]
    c_rows = np.arange(rows, dtype=np.int64) * c.strides[0]
    expected = c.astype(np.float64)
    terms = a[:rows, order, :k, :16].astype(np.float64) * b
    expected[:rows, :lanes] = terms.sum((1, 2))[:, :lanes] + accumulate * expected[:rows, :lanes]
    result = c.copy()
    multiply_channels.call(
        rows,
        at(a),
        at(a_rows),
        at(a_parts),
        parts,
        k,
        a.strides[2],
        at(b),
        at(result),
        at(c_rows),
        lanes,
        int(accumulate),
    )
    np.testing.assert_allclose(result, expected, atol=1e-4)
    assert (result[:, lanes:] == c[:, lanes:]).all()
    assert (result[rows] == c[rows]).all()


SOURCES = (
    lambda a: a.copy(),
    np.asfortranarray,
    lambda a: np.repeat(np.repeat(a, 2, 0), 3, 1)[::2, ::3],
    lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    lambda a: np.broadcast_to(a[:1], a.shape),
)


@given(st.integers(0, 40), st.integers(0, 16), st.integers(0, 16), st.sampled_from(SOURCES))
def test_copy_block(rows, lanes, more, view):
    width = min(16, lanes + more)
    source = view(
        np.random.default_rng(0).standard_normal((rows + 1, lanes + 1)).astype(np.float32)
    )
    target = np.full((rows, 21), 7, np.float32)
    expected = target.copy()
    expected[:, :width] = 0
    expected[:, :lanes] = source[:rows, :lanes]
    copy_block.call(at(source), *source.strides, rows, lanes, at(target), target.strides[0], width)
    assert (target == expected).all()


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 16, 17, 35])),
    st.sampled_from(["pixels", "planes", "reversed"]),
    st.tuples(st.integers(-12, 12), st.integers(-12, 12)),
    st.tuples(st.integers(0, 14), st.integers(0, 14)),
    st.sampled_from([0, 1, 13]),
    st.sampled_from([0, 5]),
)
def test_stage_rows(size, layout, first, window, padding, gap):
    image = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    if layout == "planes":
        image = np.moveaxis(np.moveaxis(image, 2, 0).copy(), 0, 2)
    if layout == "reversed":
        image = image[::-1, ::-1].copy()[::-1, ::-1]
    height, width, channels = size
    rows, columns = window
    target = np.full((rows, columns + 1, channels + padding + gap), 7, np.float32)
    expected = target.copy()
    expected[:, :columns, : channels + padding] = 0
    for y in range(rows):
        for x in range(columns):
            if 0 <= first[0] + y < height and 0 <= first[1] + x < width:
                expected[y, x, :channels] = image[first[0] + y, first[1] + x]
    stage_rows.call(
        at(image),
        *image.strides,
        *size,
        first[0],
        rows,
        first[1],
        columns,
        at(target),
        *target.strides[:2],
        channels + padding,
    )
    assert (target == expected).all()


@given(
    st.integers(0, 9),
    st.sampled_from([1, 3, 16, 17, 32, 35]),
    st.sampled_from(SOURCES),
    st.sampled_from([0, 64]),
)
def test_split_channels(pixels, channels, view, gap):
    source = view(
        np.random.default_rng(0).standard_normal((pixels + 1, channels + 1)).astype(np.float32)
    )
    panels = -(-channels // 16)
    target = np.full((panels, 16 * (pixels + 1) + gap // 4), 7, np.float32)
    expected = target.copy()
    for p in range(panels):
        here = expected[p, : 16 * pixels].reshape(pixels, 16)
        width = min(16, channels - 16 * p)
        here[:] = 0
        here[:, :width] = source[:pixels, 16 * p : 16 * p + width]
    split_channels.call(
        at(source), *source.strides, pixels, channels, at(target), target.strides[0]
    )
    assert (target == expected).all()
