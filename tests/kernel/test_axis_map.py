"""Sparse maps along an axis against the full matrix, their transpose, and infinities."""

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import LAYOUTS, laid_out

import kernels
from kernels import reference


@pytest.fixture(autouse=True, scope="module")
def _several_threads_for_middling_arrays():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.import_module("kernels.axis_map"), "ONE_THREAD", 200)
        yield


@st.composite
def problems(draw):
    """(x, axis, starts, indices, weights)"""
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=1, max_size=4)))
    axis = draw(st.integers(0, len(shape) - 1))
    lengths = draw(st.lists(st.integers(0, 4), max_size=8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    indices = rng.integers(0, shape[axis], starts[-1])
    weights = rng.normal(size=starts[-1]) if draw(st.booleans()) else None
    x = rng.normal(size=shape).astype(draw(st.sampled_from([np.float32, np.float64])))
    layouts = [layout for layout in LAYOUTS if x.ndim > 1 or layout != "channels_last"]
    return laid_out(x, draw(st.sampled_from(layouts))), axis, starts, indices, weights


@settings(deadline=None, max_examples=100)
@given(problems())
def test_against_the_full_matrix(problem):
    x, axis, *matrix = problem
    before = x.copy()
    out = kernels.axis_map(x, axis, *matrix)
    tolerance = 1e-5 if x.dtype == np.float32 else 1e-13
    np.testing.assert_allclose(out, reference.axis_map(x, axis, *matrix), tolerance, tolerance)
    assert out.dtype == x.dtype
    assert out.ndim < 3 or np.moveaxis(out, 1, -1).flags.c_contiguous
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
def test_copies_of_other_dtypes(dtype):
    x = np.arange(12).reshape(3, 4).astype(dtype)
    out = kernels.axis_map(x, 1, np.arange(6), np.array([3, 0, 1, 1, 2]))
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, x[:, [3, 0, 1, 1, 2]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_infinity_stays_where_it_is(dtype):
    x = np.array([[1.0, np.inf, 3.0, np.nan]], dtype)
    out = kernels.axis_map(
        x, 1, np.array([0, 2, 3, 4, 4]), np.array([0, 2, 1, 3]), np.array([0.5, 2, -1, 1])
    )
    np.testing.assert_array_equal(out, [[6.5, -np.inf, np.nan, 0]])


def test_same_bits_for_any_number_of_threads():
    x = np.random.default_rng(0).normal(size=(3, 5, 17, 9)).astype(np.float32)
    starts = np.arange(0, 41, 4)
    indices = np.random.default_rng(1).integers(0, 17, 40)
    weights = np.random.default_rng(2).normal(size=40)
    before = kernels.get_num_threads()
    try:
        found = []
        for threads in (before, 1):
            kernels.set_num_threads(threads)
            found.append(kernels.axis_map(x, 2, starts, indices, weights).tobytes())
    finally:
        kernels.set_num_threads(before)
    assert found[0] == found[1]


def test_nothing():
    assert (
        kernels.axis_map(np.empty((0, 3), np.float32), 1, np.arange(3), np.zeros(2, int)).size == 0
    )
    empty = kernels.axis_map(np.ones((2, 3), np.float32), 1, np.zeros(3, int), np.zeros(0, int))
    np.testing.assert_array_equal(empty, np.zeros((2, 2)))


def test_errors():
    x, starts, indices = np.ones((2, 3), np.float32), np.array([0, 1, 2]), np.array([0, 2])
    with pytest.raises(IndexError, match=r"indices from 0 to 3 are outside axis 1 .*\(2, 3\)"):
        kernels.axis_map(x, 1, starts, np.array([0, 3]))
    with pytest.raises(IndexError, match="indices from -1"):
        kernels.axis_map(x, 1, starts, np.array([-1, 0]))
    with pytest.raises(ValueError, match=r"shape \(2, 3\) has no axis 2"):
        kernels.axis_map(x, 2, starts, indices)
    with pytest.raises(ValueError, match="starts must rise from 0 to 2"):
        kernels.axis_map(x, 1, np.array([0, 3]), indices)
    with pytest.raises(ValueError, match="2 indices need as many weights"):
        kernels.axis_map(x, 1, starts, indices, np.ones(3))
