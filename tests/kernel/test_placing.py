"""Placing an array into a larger one, against NumPy's assignment."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from kernels import placing


@st.composite
def problems(draw):
    shape = draw(st.lists(st.integers(1, 9), min_size=4, max_size=4))
    index = []
    for n in shape:
        start = draw(st.integers(0, n - 1))
        index.append(slice(start, draw(st.integers(start, n)), draw(st.integers(1, 3))))
    order = draw(st.permutations(range(4)))
    memory = np.full([shape[axis] for axis in order], np.nan, np.float32)
    out = memory.transpose(np.argsort(order))
    part = out[tuple(index)]
    rng = np.random.default_rng(0)
    larger = rng.normal(size=[2 * n for n in part.shape]).astype(np.float32)
    step = draw(st.sampled_from([1, -1, 2]))
    source = larger[tuple(slice(None, None, step) for _ in shape)]
    source = source[tuple(slice(0, n) for n in part.shape)]
    return out, tuple(index), source, draw(st.sampled_from([0, -1.5, np.inf]))


@settings(deadline=None, max_examples=150)
@given(problems())
def test_equals_numpy(problem):
    out, index, source, value = problem
    expected = np.full(out.shape, value, np.float32)
    expected[index] = source
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placing, "LARGE", 0)
        kernels.place(out, out[index], source, value)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.float32])
def test_other_arrays(dtype):
    out = np.ones((70, 1000), dtype)
    kernels.place(out, out[::2, 1:4], np.full((35, 3), 7, dtype), 2)
    assert (out[::2, 1:4] == 7).all()
    assert out.sum() == 2 * 70 * 1000 + 5 * 35 * 3


def test_shapes_must_agree():
    out = np.ones((2, 3))
    with pytest.raises(ValueError, match=r"place: source has shape \(3, 2\), its place \(2, 3\)"):
        kernels.place(out, out, np.ones((3, 2)))
