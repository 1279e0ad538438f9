import gc
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import buffers, empty, empty_like, empty_nhwc, trim, zeros

BIG = (128, 16, 16, 16)  # 2 MiB


@pytest.fixture(autouse=True)
def fresh():
    gc.collect()
    trim()
    limit = buffers.pool_info()["limit_bytes"]
    yield
    buffers.set_pool_limit(limit)


def unused():
    return buffers.pool_info()["unused_bytes"]


def test_memory_comes_back_only_after_the_last_view():
    array = empty(BIG)
    place = array.ctypes.data
    view = array[3:5].reshape(-1)[::2].view(np.int32)
    del array
    assert unused() == 0
    other = empty(BIG)
    assert not np.shares_memory(other, view)
    del view
    assert unused() >= 2 * 2**20
    assert empty(BIG).ctypes.data == place


def test_results_are_never_overwritten():
    rng = np.random.default_rng(0)
    kept = []
    for step in range(200):
        array = empty((int(rng.integers(1, 5)), 128, 512 + 16 * int(rng.integers(2))))
        array.fill(step)
        if rng.random() < 0.2:
            kept.append((step, array[len(array) // 2 :]))
        if len(kept) > 8:
            kept.pop(int(rng.integers(8)))
    assert kept
    for step, array in kept:
        assert (array == step).all()


def test_memory_is_flat_and_bounded():
    for _ in range(100):
        a, b = empty(BIG), empty(BIG)
        del a, b
    assert unused() <= 3 * 2 * 2**20
    buffers.set_pool_limit(3 * 2**20)
    assert unused() <= 3 * 2**20
    arrays = [empty(BIG) for _ in range(8)]
    del arrays
    assert unused() <= 3 * 2**20
    trim()
    assert unused() == 0


def test_the_longest_unused_sizes_go_first():
    for n in (1, 2, 3):
        empty(n * 2**20, np.uint8)
    buffers.set_pool_limit(unused() - 1)
    before = unused()
    held = empty(3 * 2**20, np.uint8)  # still there
    assert unused() < before
    before = unused()
    held_too = empty(1 * 2**20, np.uint8)  # gone: made anew
    assert unused() == before
    del held, held_too


@given(
    st.lists(st.integers(0, 90), max_size=3),
    st.sampled_from([np.float32, np.float64, np.int8, np.bool_, np.complex64]),
)
def test_arrays_are_like_numpys(shape, dtype):
    for array, like in ((empty(shape, dtype), np.empty(shape, dtype)), (zeros(shape, dtype),) * 2):
        assert array.shape == like.shape
        assert array.dtype == like.dtype
        assert array.flags.c_contiguous
        assert array.flags.writeable
        if array.nbytes >= buffers.SMALLEST:
            assert array.ctypes.data % 64 == 0
    assert not zeros(shape, dtype).any()


def test_zeros_clears_reused_memory():
    empty(BIG).fill(5)
    assert not zeros(BIG).any()


def test_empty_like_keeps_the_order_of_axes():
    for array in (empty_nhwc(4, 32, 31, 29), np.empty((300, 400), order="F"), np.empty((9, 8)).T):
        other = empty_like(array)
        assert other.shape == array.shape
        assert other.dtype == array.dtype
        assert other.strides == array.strides
    assert empty_like(np.empty((1000, 1000), np.float32)[::2, ::-2]).flags.c_contiguous
    assert empty_like(np.float32(3) + np.zeros(())).shape == ()


def test_empty_nhwc():
    array = empty_nhwc(2, 3, 5, 7, np.float64)
    assert array.shape == (2, 3, 5, 7)
    assert array.dtype == np.float64
    assert array.transpose(0, 2, 3, 1).flags.c_contiguous


def test_aligned_bytes():
    for n in (1, 100, 10**6):
        memory = buffers.aligned(n)
        assert memory.nbytes == n
        assert memory.ctypes.data % 64 == 0


def test_errors():
    with pytest.raises(ValueError, match="negative"):
        empty((-1, 3))
    with pytest.raises(ValueError, match="negative"):
        buffers.set_pool_limit(-1)


def test_threads():
    errors = []

    def work(number):
        for i in range(300):
            a = empty((1 + i % 3, 2**18), np.uint8)
            a.fill(number)
            if not (a == number).all():
                errors.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
