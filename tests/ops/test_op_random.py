"""Dropout and random tensors: distribution, scaling, repeatability, and the mask of gradients."""

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft.nn import functional as F


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_keeps_the_mean_and_the_gradient_has_the_same_mask(p: float, dtype: type) -> None:
    tg.manual_seed(0)
    x = tg.ones(100, 700, dtype=dtype, requires_grad=True)
    out = F.dropout(x, p)
    assert out.dtype == dtype
    kept = out.numpy() != 0
    np.testing.assert_allclose(out.numpy()[kept], 1 / (1 - p), rtol=1e-6)
    # 70,000 draws: five standard deviations
    assert abs(kept.mean() - (1 - p)) < 5 * np.sqrt(p * (1 - p) / 70_000)
    out.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), out.numpy())


def test_dropout_without_effect() -> None:
    x = tg.ones(3)
    assert F.dropout(x, 0.5, training=False) is x
    assert F.dropout(x, 0.0) is x


def test_dropped_infinities_are_gone() -> None:
    out = F.dropout(tg.tensor([np.inf, np.nan] * 200), 0.5)
    assert (out.numpy() == 0).sum() > 100


def test_the_seed_decides() -> None:
    def draw() -> list:
        return [
            tg.rand(3).tolist(),
            tg.randn(2, 2).tolist(),
            tg.randint(0, 9, (4,)).tolist(),
            tg.randperm(5).tolist(),
            F.dropout(tg.ones(9)).tolist(),
        ]

    tg.manual_seed(7)
    first, later = draw(), draw()
    assert first != later
    tg.manual_seed(7)
    assert draw() == first


def test_the_state_can_be_kept_and_put_back() -> None:
    import json

    from tinygrad_ft.random import get_rng_state, set_rng_state

    tg.manual_seed(1)
    tg.rand(3)
    state = json.loads(json.dumps(get_rng_state()))
    expected = tg.rand(3).tolist()
    tg.rand(100)
    set_rng_state(state)
    assert tg.rand(3).tolist() == expected


def test_ranges_and_dtypes() -> None:
    uniform = tg.rand(1000, dtype=np.float64).numpy()
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert tg.rand(2).dtype == tg.randn(2).dtype == np.float32
    assert set(tg.randint(2, 5, (200,)).tolist()) == {2, 3, 4}
    assert sorted(tg.randperm(6).tolist()) == list(range(6))
    assert tg.randn(2, requires_grad=True).requires_grad
