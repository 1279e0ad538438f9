"""The loops that measure the ceilings do the work that is counted."""

import numpy as np
import pytest

import kernels
from benchmarks.peak import SUMS, copy_loop, fma_loop, measure_peaks, read_loop, triad_loop
from kernels.parallel import launch
from kernels.simd import LANES

N = 64 * 37


def test_fma_loop_computes_every_lane():
    factors, results = np.array([0.5, 1.0], np.float32), np.zeros(16, np.float32)
    for turns in (1, 2, 50):
        launch(fma_loop, (factors, results, turns), tasks=1)
        expected = 2 - 1.5 * 0.5**turns  # a = a / 2 + 1, from 1/2
        assert results[0] == pytest.approx(SUMS * LANES * expected, rel=1e-6)


@pytest.mark.parametrize("tasks", [1, 2])
def test_memory_loops_touch_everything_once(tasks):
    if tasks > kernels.get_num_threads():
        pytest.skip("one thread only")
    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, N), np.float32)
    to = np.full(N + 16, 7, np.float32)
    results = np.zeros(16 * tasks, np.float32)
    launch(read_loop, (a, results, N), tasks=tasks)
    assert results.sum() == pytest.approx(a.sum(dtype=np.float64), abs=1e-3)
    launch(copy_loop, (a, to, N), tasks=tasks)
    np.testing.assert_array_equal(to[:N], a)
    launch(triad_loop, (a, b, to, N, np.array([3], np.float32)), tasks=tasks)
    np.testing.assert_allclose(to[:N], a + 3 * b, rtol=1e-5, atol=1e-6)
    assert (to[N:] == 7).all()


def test_ceilings_are_plausible():
    found = measure_peaks(threads=1, quick=True)
    assert all(value > 0 for value in found.as_dict().values())
    assert found.bandwidth_gbs == max(found.read_gbs, found.copy_gbs, found.triad_gbs)
