"""Products of 16 x 16 with a matrix in registers: the bits of the micro-kernel, and nothing else is
written."""

import numpy as np
from bounds import assert_within
from hypothesis import given
from hypothesis import strategies as st

from kernels.microkernel import multiply_columns, multiply_rows
from kernels.square import add_square, multiply_square


def at(array):
    return array.ctypes.data


ZERO = np.zeros(1, np.int64)


def drawn(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


@given(st.integers(0, 70), st.integers(0, 2**32 - 1))
def test_rows(rows, seed):
    a, b, c = drawn(seed, (rows, 16), (16, 16), (rows + 1, 16))
    found, same = c.copy(), c.copy()
    multiply_square.call(rows, at(a), at(b), at(found))
    offsets = np.arange(rows + 1, dtype=np.int64) * 64
    tables = at(offsets), at(ZERO)
    multiply_rows.call(rows, at(a), *tables, 1, 16, at(b), 0, at(same), at(offsets), 0, 16, 0)
    assert (found == same).all()
    assert (found[rows:] == c[rows:]).all()
    a, b = a.astype(np.float64), b.astype(np.float64)
    assert_within(found[:rows], a @ b, np.abs(a) @ np.abs(b), 16)


@given(st.integers(0, 70), st.booleans(), st.integers(0, 2**32 - 1))
def test_columns(k, accumulate, seed):
    a, b, c = drawn(seed, (k, 16), (k, 16), (17, 16))
    found, same = c.copy(), c.copy()
    add_square.call(k, at(a), at(b), at(found), int(accumulate))
    sizes = 1, k, 64, at(b), 64, 0
    multiply_columns.call(16, at(a), at(ZERO), *sizes, at(same), 64, 0, 16, int(accumulate))
    assert (found == same).all()
    assert (found[16:] == c[16:]).all()
    before = c[:16].astype(np.float64) * accumulate
    a, b = a.astype(np.float64), b.astype(np.float64)
    magnitude = np.abs(a).T @ np.abs(b) + np.abs(before)
    assert_within(found[:16], a.T @ b + before, magnitude, k + 1)
