"""Winograd's path against float64, with an error bound that is worked out and not guessed.

Let u = 2**-24. With the matrices of winograd_transforms.py, a 1-D transform rounds at most 3 times
on the way of any input to any result (chains of multiply-adds; plus, in G, the rounding of the
constants 1/6, 1/12, 1/24 themselves). Two dimensions double that: at most 6 roundings for the
input, 8 for the weight, 8 for the result; a sum over C channels (or over the tiles) adds C. Every
intermediate value is bounded by the same expression with all signs made positive. Hence,
elementwise and to first order,

    |error| <= (C + 22) u * |AT| [ sum over channels (|G||g||GT|) * (|BT||d||B|) ] |A|

and the same for the weight gradient with its transforms. The bound is loose (it allows every
rounding to go the same way), so the root mean square error is held as well: see TYPICAL.
"""

import numpy as np
import pytest
from bounds import assert_within
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import LAYOUTS, is_channels_last, laid_out
from winograd_tiles import around, cut, joined, typical

from kernels import (
    Finish,
    Prepared,
    conv2d_forward,
    conv2d_grad_input,
    conv2d_grad_weight,
    get_num_threads,
    set_num_threads,
    set_winograd,
    winograd,
    winograd_enabled,
    winograd_few,
    winograd_fused,
    winograd_plan,
)
from kernels.conv import _known_shape
from kernels.reference import conv as reference

BT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    float,
)
G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
AT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
ROUNDINGS = 22
TYPICAL = 1e-5
"""Root mean square of the error, relative to that of the result (measured: 1e-6 to 6e-6)."""


def magnitude_forward(x, weight, padding, shape):
    """The bound's right side, without (C + 22) u."""
    tiles = (-(-shape[2] // 4), -(-shape[3] // 4))
    v = around(abs(BT), abs(cut(x, 6, 4, -padding, tiles)))
    u = around(abs(G), abs(weight))
    y = around(abs(AT), np.einsum("ncyxij,ocij->noyxij", v, u))
    return joined(y, shape)


def magnitude_weight(grad, x, padding):
    tiles = (-(-grad.shape[2] // 4), -(-grad.shape[3] // 4))
    v = around(abs(BT), abs(cut(x, 6, 4, -padding, tiles)))
    d = around(abs(AT.T), abs(cut(grad, 4, 4, 0, tiles)))
    return around(abs(G.T), np.einsum("ncyxij,noyxij->ocij", v, d))


def test_the_matrices_are_an_identity():
    rng = np.random.default_rng(0)
    d, g = rng.standard_normal((6, 6)), rng.standard_normal((3, 3))
    direct = np.array([[np.sum(d[i : i + 3, j : j + 3] * g) for j in range(4)] for i in range(4)])
    result = around(AT, around(G, g) * around(BT, d))
    np.testing.assert_allclose(result, direct, rtol=1e-12, atol=1e-12)


def check(shape, outputs, padding, layouts):
    rng = np.random.default_rng(sum(shape) + outputs)
    n, c, h, w = shape
    result = (n, outputs, h + 2 * padding - 2, w + 2 * padding - 2)
    x, weight, grad = (
        laid_out(rng.standard_normal(s, dtype=np.float32), layout)
        for s, layout in zip((shape, (outputs, c, 3, 3), result), layouts, strict=True)
    )
    x64, w64, g64 = (a.astype(np.float64) for a in (x, weight, grad))
    p = ((1, 1), (padding, padding))

    y = conv2d_forward(x, weight, *p)
    assert is_channels_last(y)
    exact = reference.conv2d_forward(x64, w64, *p)
    assert_within(y, exact, magnitude_forward(x64, w64, padding, result), c + ROUNDINGS)
    assert typical(y, exact) < TYPICAL

    grad_x = conv2d_grad_input(grad, weight, shape, *p)
    assert is_channels_last(grad_x)
    exact = reference.conv2d_grad_input(g64, w64, shape, *p)
    turned = w64[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    if padding <= 2:
        magnitude = magnitude_forward(g64, turned, 2 - padding, shape)
        assert_within(grad_x, exact, magnitude, outputs + ROUNDINGS)
    assert typical(grad_x, exact) < TYPICAL

    grad_w = conv2d_grad_weight(grad, x, weight.shape, *p)
    exact = reference.conv2d_grad_weight(g64, x64, weight.shape, *p)
    tiles = n * -(-result[2] // 4) * -(-result[3] // 4)
    magnitude = magnitude_weight(g64, x64, padding)
    assert_within(grad_w, exact, magnitude, tiles + ROUNDINGS + get_num_threads())
    assert typical(grad_w, exact) < TYPICAL


@pytest.fixture
def always(monkeypatch):
    """Take Winograd's path even where it does not pay."""

    def possible(weight, result, stride, dilation, groups):
        return weight[2:] == (3, 3) and stride == (1, 1) and dilation == (1, 1) and groups == 1

    monkeypatch.setattr(winograd, "suits", possible)
    _known_shape.cache_clear()  # it remembers the answer
    yield monkeypatch
    _known_shape.cache_clear()


@pytest.mark.parametrize("schedule", ["fused", "by step", "few tiles"])
def test_any_shape_within_the_bound(always, schedule):
    by_step = schedule == "by step"
    always.setattr(winograd, "BY_STEP_FROM", 0 if by_step else 10**6)
    always.setattr(winograd, "WEIGHTS_BY_STEP_FROM", 0 if by_step else 10**6)
    always.setattr(winograd_few, "CHANNELS_FROM", 0 if schedule == "few tiles" else 10**6)

    @settings(max_examples=25)
    @given(
        st.tuples(
            st.integers(1, 3),
            st.sampled_from([1, 3, 16, 17, 33, 70]),
            st.integers(3, 13),
            st.integers(3, 13),
        ),
        st.sampled_from([1, 2, 16, 17, 40]),
        st.integers(0, 3),
        st.tuples(*[st.sampled_from(LAYOUTS)] * 3),
        st.integers(1, 2),
        st.sampled_from([20, 200, 2000]),
    )
    def run(shape, outputs, padding, layouts, threads, kilobytes):
        before = get_num_threads()
        set_num_threads(min(threads, before))
        always.setattr(winograd_plan, "UNIT_BYTES", kilobytes * 1024)
        winograd_fused._plan.cache_clear()
        always.setattr(winograd, "BY_STEP_BYTES", kilobytes * 4096)
        try:
            check(shape, outputs, padding, layouts)
        finally:
            set_num_threads(before)

    run()


@pytest.mark.parametrize(
    "shape, outputs",
    [
        ((8, 16, 32, 32), 16),
        ((8, 32, 16, 16), 32),
        ((8, 64, 8, 8), 64),
        ((2, 64, 28, 28), 64),
        ((3, 256, 12, 12), 256),
        ((2, 100, 14, 14), 70),
        ((1, 128, 14, 14), 144),
        ((1, 300, 7, 7), 260),
    ],
)
def test_layers_of_real_networks(shape, outputs):
    """No fixture: these shapes take Winograd's path by themselves."""
    parameters = ((1, 1), (1, 1), 1)
    result = (shape[0], outputs, *shape[2:])
    assert winograd.suits((outputs, shape[1], 3, 3), result, *parameters)
    check(shape, outputs, 1, ("channels_last", "rows", "channels_last"))


@pytest.mark.parametrize("shape, outputs", [((32, 16, 16, 16), 16), ((8, 256, 8, 8), 256)])
def test_same_bits_every_time_and_close_with_other_thread_counts(shape, outputs):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape, dtype=np.float32)
    weight = rng.standard_normal((outputs, shape[1], 3, 3), dtype=np.float32)
    grad = rng.standard_normal((shape[0], outputs, *shape[2:]), dtype=np.float32)

    def all_three():
        return (
            conv2d_forward(x, weight, 1, 1),
            conv2d_grad_input(grad, weight, shape, 1, 1),
            conv2d_grad_weight(grad, x, weight.shape, 1, 1),
        )

    first = all_three()
    for _ in range(3):
        assert all((a == b).all() for a, b in zip(first, all_three(), strict=True))
    before = get_num_threads()
    set_num_threads(1)
    try:
        for a, b in zip(first, all_three(), strict=True):
            assert typical(a, b) < TYPICAL
    finally:
        set_num_threads(before)


def test_switch(monkeypatch):
    assert winograd_enabled()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 16, 16, 16), dtype=np.float32)
    weight = rng.standard_normal((16, 16, 3, 3), dtype=np.float32)
    fast = conv2d_forward(x, weight, 1, 1)
    set_winograd(False)
    try:
        assert not winograd_enabled()
        monkeypatch.setattr(winograd, "forward", None)  # not called
        direct = conv2d_forward(x, weight, 1, 1)
    finally:
        set_winograd(True)
    assert (fast != direct).any()
    assert typical(fast, direct) < TYPICAL


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nonfinite_values_spoil_the_tiles_that_read_them_and_no_others(value):
    x = np.ones((2, 16, 16, 16), np.float32)
    weight = np.ones((16, 16, 3, 3), np.float32)
    # Row 6 is inside the second row of tiles (result rows 4 .. 7). Column 4 is inside the second
    # column of tiles (results 4 .. 7) and the last input column of the first, which only its last
    # result reads.
    x[0, 3, 6, 4] = value
    y = conv2d_forward(x, weight, 1, 1)
    spoiled = np.zeros((16, 16), bool)
    spoiled[4:8, 3:8] = True
    assert (~np.isfinite(y[0]) == spoiled).all()
    assert np.isfinite(y[1]).all()


def test_infinite_gradient_reaches_the_weight_gradient():
    x = np.ones((4, 16, 8, 8), np.float32)
    grad = np.ones((4, 16, 8, 8), np.float32)
    grad[1, 5, 3, 3] = np.inf
    bad = ~np.isfinite(conv2d_grad_weight(grad, x, (16, 16, 3, 3), 1, 1))
    assert bad[5].all()
    assert not np.delete(bad, 5, axis=0).any()


@pytest.mark.parametrize("shape, outputs", [((1, 144, 13, 9), 130), ((2, 16, 17, 20), 40)])
def test_adding_to_whole_and_cut_tiles(shape, outputs):
    """Input gradients in the schedule of few tiles, and fused."""
    rng = np.random.default_rng(0)
    grad = rng.standard_normal((shape[0], outputs, *shape[2:]), dtype=np.float32)
    weight = rng.standard_normal((outputs, shape[1], 3, 3), dtype=np.float32)
    before = laid_out(rng.standard_normal(shape, dtype=np.float32), "channels_last")
    alone = conv2d_grad_input(grad, weight, shape, 1, 1)
    out = before.copy(order="K")
    conv2d_grad_input(grad, weight, shape, 1, 1, out=out, accumulate=True)
    assert (out == before + alone).all()


def test_few_tiles_keep_no_weights_and_are_finished_afterwards():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 150, 9, 7), dtype=np.float32)
    weight = rng.standard_normal((140, 150, 3, 3), dtype=np.float32)
    plain = conv2d_forward(x, weight, 1, 1)
    scale, shift = rng.standard_normal((2, 140), dtype=np.float32)
    residual = laid_out(rng.standard_normal(plain.shape, dtype=np.float32), "channels_last")
    finish = Finish(scale, shift, residual, relu=True)
    expected = plain.copy()
    finish.in_numpy(expected)
    prepared = Prepared()
    for _ in range(2):
        assert (conv2d_forward(x, weight, 1, 1, prepared=prepared) == plain).all()
        found = conv2d_forward(x, weight, 1, 1, finish=finish, prepared=prepared)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    assert prepared.nbytes == 0
