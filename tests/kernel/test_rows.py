"""Rows added into a table: against the loop over rows, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import LAYOUTS, laid_out

import kernels
from kernels import rows as module
from kernels.reference import scatter_add_rows as reference


@st.composite
def problems(draw):
    """(x, rows, count): few and many rows, narrow and wide, small and large enough for a kernel."""
    n, width = draw(st.sampled_from([0, 1, 7, 300])), draw(st.sampled_from([0, 1, 3, 16, 50, 67]))
    count = draw(st.sampled_from([1, 2, 40])) if n else draw(st.integers(0, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.standard_normal((n, width)).astype(draw(st.sampled_from([np.float32, np.float64])))
    rows = rng.integers(0, max(count, 1), n).astype(draw(st.sampled_from([np.int64, np.uint8])))
    return laid_out(x, draw(st.sampled_from(LAYOUTS))), rows, count


@settings(deadline=None, max_examples=60)
@given(problems(), st.booleans())
def test_against_the_loop_over_rows(problem, large):
    x, rows, count = problem
    with pytest.MonkeyPatch.context() as patch:
        if large:
            patch.setattr(module, "SMALL", 0)
            patch.setattr(module, "ONE_THREAD", 0)
        out = kernels.scatter_add_rows(x, rows, count)
    assert out.dtype == x.dtype
    np.testing.assert_array_equal(out, reference(x, rows, count))


def test_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(0)
    x, rows = rng.standard_normal((3000, 100)).astype(np.float32), rng.integers(0, 9, 3000)
    assert x.size >= module.ONE_THREAD
    before, results = kernels.get_num_threads(), set()
    try:
        for threads in {1, before}:
            kernels.set_num_threads(threads)
            results.add(kernels.scatter_add_rows(x, rows, 9).tobytes())
    finally:
        kernels.set_num_threads(before)
    assert results == {reference(x, rows, 9).tobytes()}


def test_infinities_and_nan_reach_their_row_alone():
    x = np.zeros((100, 64), np.float32)
    x[3, 5], x[7, 6] = np.inf, np.nan
    out = kernels.scatter_add_rows(x, np.arange(100) % 10, 10)
    assert np.argwhere(~np.isfinite(out)).tolist() == [[3, 5], [7, 6]]


@pytest.mark.parametrize("size", [2, 100])
def test_errors(size):
    x = np.zeros((size, 64), np.float32)
    for bad in (-1, 5, 2**40):
        rows = np.zeros(size, np.int64)
        rows[1] = bad
        with pytest.raises(IndexError, match=rf"scatter_add_rows: rows .*{bad}.* 5 rows"):
            kernels.scatter_add_rows(x, rows, 5)
    with pytest.raises(TypeError, match="rows must be integers, got float64"):
        kernels.scatter_add_rows(x, np.zeros(size), 5)
    with pytest.raises(ValueError, match=r"scatter_add_rows: x .* and rows \(3,\)"):
        kernels.scatter_add_rows(x, np.zeros(3, np.int64), 5)
    with pytest.raises(ValueError, match="must be"):
        kernels.scatter_add_rows(x[0], np.zeros(64, np.int64), 5)
