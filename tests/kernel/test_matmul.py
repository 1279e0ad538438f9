import numpy as np
import pytest
from bounds import assert_within
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import LAYOUTS, laid_out

from kernels import get_num_threads, matmul, set_num_threads
from kernels.reference.matmul import matmul as naive

sizes = st.one_of(st.integers(0, 40), st.sampled_from([1, 7, 8, 9, 15, 16, 17, 64, 100, 513]))


def random(rng, shape, layout):
    return laid_out(rng.standard_normal(shape, dtype=np.float32), layout)


def check(a, b, result):
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    assert_within(result, naive(a64, b64), naive(np.abs(a64), np.abs(b64)), a.shape[-1] + 1)


@settings(max_examples=80)
@given(
    st.lists(st.integers(0, 3), max_size=2),
    sizes,
    sizes,
    sizes,
    st.sampled_from(LAYOUTS),
    st.sampled_from(LAYOUTS),
    st.integers(1, 2),
)
def test_equals_the_formula_for_any_shape_and_strides(lead, m, k, n, layout_a, layout_b, threads):
    rng = np.random.default_rng(m * 7 + n)
    a = random(rng, (*lead, m, k), layout_a)
    b = random(rng, (*lead, k, n), layout_b)
    before = get_num_threads()
    set_num_threads(min(threads, before))
    try:
        check(a, b, matmul(a, b))
    finally:
        set_num_threads(before)


@pytest.mark.parametrize("transposed", ["neither", "a", "b", "both"])
@pytest.mark.parametrize("m, k, n", [(257, 1030, 33), (33, 129, 700), (1, 300, 1), (500, 1, 40)])
def test_blocks_and_transposed_views(m, k, n, transposed):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((m, k), dtype=np.float32)
    b = rng.standard_normal((k, n), dtype=np.float32)
    if transposed in ("a", "both"):
        a = a.T.copy().T
    if transposed in ("b", "both"):
        b = b.T.copy().T
    check(a, b, matmul(a, b))


def test_broadcast_stack():
    rng = np.random.default_rng(0)
    a = np.broadcast_to(rng.standard_normal((9, 5), dtype=np.float32), (4, 3, 9, 5))
    b = rng.standard_normal((4, 3, 5, 6), dtype=np.float32)
    check(a, b, matmul(a, b))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_out_is_written_and_nothing_around_it(layout):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((21, 30), dtype=np.float32)
    b = rng.standard_normal((30, 19), dtype=np.float32)
    room = np.full((25, 2 * 19 + 4), 7, np.float32)
    out = {
        "rows": room[2:23, 2:21],
        "gaps": room[2:23, 2:40:2],
        "reversed": room[22:1:-1, 20:1:-1],
        "channels_last": np.full((19, 25), 7, np.float32).T[2:23],
        "offset": room.ravel()[1:400].reshape(21, 19),
    }[layout]
    whole = room if np.shares_memory(out, room) else out.base
    before = whole.copy()
    assert matmul(a, b, out) is out
    check(a, b, out.copy())
    out[...] = 7  # all that was written lies in `out`
    assert (whole == before).all()


def test_same_bits_every_time_and_close_with_other_thread_counts():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((300, 700), dtype=np.float32)
    b = rng.standard_normal((700, 210), dtype=np.float32)
    first = matmul(a, b)
    assert all((matmul(a, b) == first).all() for _ in range(5))
    before = get_num_threads()
    set_num_threads(1)
    try:
        assert_within(
            matmul(a, b), first.astype(np.float64), np.abs(a).astype(np.float64) @ np.abs(b), 1402
        )
    finally:
        set_num_threads(before)


def test_nan_and_infinity_propagate_as_in_numpy():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((40, 33), dtype=np.float32)
    b = rng.standard_normal((33, 20), dtype=np.float32)
    a[3, 5], a[20, 2], b[7, 11], b[9, 4] = np.nan, np.inf, -np.inf, np.nan
    with np.errstate(invalid="ignore"):
        expected = naive(a, b)
    result = matmul(a, b)
    assert (np.isnan(result) == np.isnan(expected)).all()
    assert (np.isinf(result) == np.isinf(expected)).all()


def test_other_dtypes_are_numpys():
    a = np.arange(6.0).reshape(2, 3)
    assert matmul(a, a.T).dtype == np.float64
    assert (matmul(a, a.T) == a @ a.T).all()
    integers = np.arange(6).reshape(2, 3)
    assert (matmul(integers, integers.T) == integers @ integers.T).all()


@pytest.mark.parametrize(
    "a, b, out, error, text",
    [
        ((2, 3), (4, 5), None, ValueError, r"\(2, 3\) and \(4, 5\) do not fit"),
        ((3,), (3, 1), None, ValueError, "do not fit"),
        ((2, 2, 3), (3, 3, 3), None, ValueError, "equal leading axes"),
        ((2, 3), (3, 5), np.zeros((5, 2), np.float32), ValueError, r"\(5, 2\)"),
        ((2, 3), (3, 5), np.zeros((2, 5)), TypeError, "float64"),
    ],
)
def test_errors_name_the_shapes(a, b, out, error, text):
    with pytest.raises(error, match=text):
        matmul(np.zeros(a, np.float32), np.zeros(b, np.float32), out)
