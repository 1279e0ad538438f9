"""Winograd's path for stride 2 against float64, with an error bound that is worked out.

As in test_winograd.py: a 1-D transform (winograd_strided_transforms.py) rounds at most 3 times on
the way of any number to any result, those of the weight and of its gradient 4 times with the
constants 1/3 and 1/6; two dimensions double that, so the three transforms of a pass round at most
20 times, and one more for adding to a result. A sum over C channels in four phases adds 4 C, one
over C channels or over the tiles adds C or their number. With all signs positive the same
expression bounds every intermediate value. Hence, elementwise and to first order,

    |error| <= (terms + 21) u * (the algorithm with absolute values)
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
    conv,
    conv2d_forward,
    conv2d_grad_input,
    conv2d_grad_weight,
    get_num_threads,
    set_num_threads,
    set_winograd,
    winograd_strided,
    winograd_strided_grad_input,
    winograd_strided_grad_weight,
)
from kernels.reference import conv as reference

BT = np.array(
    [[2, -1, -2, 1, 0], [0, -2, -1, 1, 0], [0, 2, -3, 1, 0], [0, -1, 0, 1, 0], [0, 2, -1, -2, 1]],
    float,
)
CT = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 0, 0, 0], [0, -1, 0, 1]], float)
G = np.array([[3, 0], [-3, -3], [-1, 1], [1, 2], [0, 6]]) / 6
H = np.array([[2], [1], [1], [0], [2]]) / 2
AT = np.array([[1, 1, 1, 1, 0], [0, 1, -1, 2, 0], [0, 1, 1, 4, 0], [0, 1, -1, 8, 1]], float)
SINGLE = G[:, :1] * np.array([[1], [1], [1], [1], [0]])
ROUNDINGS = 21
TYPICAL = 4e-6
"""Root mean square of the error, relative to that of the result (measured: 2e-7 to 2e-6)."""
STRIDE = (2, 2)
PADDING = (1, 1)

FORWARD = ((BT, slice(0, 9, 2), G, slice(0, 3, 2)), (CT, slice(1, 9, 2), H, slice(1, 2)))
"""Of even and of odd pixels: their transform and which they are; the same of the kernel."""
BACKWARD = ((G, slice(None, None, -2), slice(1, 8, 2)), (SINGLE, slice(1, 2), slice(0, 8, 2)))
"""Of pixels with two taps and of those with one: the kernel's transform, its taps, the pixels."""


def forward(x, weight, padding, shape, size=lambda a: a):
    """The algorithm in NumPy; `size` is np.abs for the bound."""
    tiles = (-(-shape[2] // 4), -(-shape[3] // 4))
    windows, m = size(cut(x, 9, 8, -padding, tiles)), 0
    for b, rows, g, down in FORWARD:
        for c, columns, h, across in FORWARD:
            v = around(size(b), windows[..., rows, columns], size(c))
            u = around(size(g), size(weight)[..., down, across], size(h))
            m = m + np.einsum("ncyxij,ocij->noyxij", v, u)
    return joined(around(size(AT), m), shape)


def grad_input(grad, weight, shape, size=lambda a: a):
    tiles = (-(-grad.shape[2] // 4), -(-grad.shape[3] // 4))
    d = around(size(BT), size(cut(grad, 5, 4, 0, tiles)))
    blocks = np.zeros((*shape[:2], *tiles, 8, 8))
    for g, down, rows in BACKWARD:
        for h, across, columns in BACKWARD:
            u = around(size(g), size(weight)[..., down, across], size(h))
            m = np.einsum("noyxij,ocij->ncyxij", d, u)
            blocks[..., rows, columns] = around(size(AT), m)
    return joined(blocks, shape)


def grad_weight(grad, x, size=lambda a: a):
    tiles = (-(-grad.shape[2] // 4), -(-grad.shape[3] // 4))
    d = around(size(BT), size(cut(grad, 5, 4, 0, tiles)))
    blocks = size(cut(x, 8, 8, 0, tiles))
    result = np.zeros((grad.shape[1], x.shape[1], 3, 3))
    for g, down, rows in BACKWARD:
        for h, across, columns in BACKWARD:
            v = around(size(AT.T), blocks[..., rows, columns])
            du = np.einsum("ncyxij,noyxij->ocij", v, d)
            result[..., down, across] = around(size(g.T), du, size(h.T))
    return result


def test_the_formulas_are_identities():
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 3, 17, 12)), rng.standard_normal((4, 3, 3, 3))
    grad = rng.standard_normal((2, 4, 9, 6))
    near = {"rtol": 1e-11, "atol": 1e-11}
    for padding, shape in ((0, (2, 4, 8, 5)), (1, (2, 4, 9, 6)), (2, (2, 4, 10, 7))):
        right = reference.conv2d_forward(x, weight, STRIDE, (padding, padding))
        np.testing.assert_allclose(forward(x, weight, padding, shape), right, **near)
    right = reference.conv2d_grad_input(grad, weight, x.shape, STRIDE, PADDING)
    np.testing.assert_allclose(grad_input(grad, weight, x.shape), right, **near)
    right = reference.conv2d_grad_weight(grad, x, weight.shape, STRIDE, PADDING)
    np.testing.assert_allclose(grad_weight(grad, x), right, **near)


def drawn(shape, outputs, padding, layouts=("channels_last", "rows", "channels_last")):
    rng = np.random.default_rng(sum(shape) + outputs)
    n, c, h, w = shape
    result = (n, outputs, (h + 2 * padding - 1) // 2, (w + 2 * padding - 1) // 2)
    shapes = (shape, (outputs, c, 3, 3), result)
    return [
        laid_out(rng.standard_normal(s, dtype=np.float32), layout)
        for s, layout in zip(shapes, layouts, strict=True)
    ]


def check_forward(x, weight, padding):
    p = (padding, padding)
    y = conv2d_forward(x, weight, STRIDE, p)
    assert is_channels_last(y)
    x64, w64 = x.astype(np.float64), weight.astype(np.float64)
    exact = reference.conv2d_forward(x64, w64, STRIDE, p)
    magnitude = forward(x64, w64, padding, y.shape, np.abs)
    assert_within(y, exact, magnitude, 4 * x.shape[1] + ROUNDINGS)
    assert typical(y, exact) < TYPICAL


def check_gradients(x, weight, grad, added=None):
    x64, w64, g64 = (a.astype(np.float64) for a in (x, weight, grad))
    exact = reference.conv2d_grad_input(g64, w64, x.shape, STRIDE, PADDING)
    magnitude = grad_input(g64, w64, x.shape, np.abs)
    if added is None:
        grad_x = conv2d_grad_input(grad, weight, x.shape, STRIDE, PADDING)
        assert is_channels_last(grad_x)
    else:
        exact, magnitude = exact + added, magnitude + np.abs(added)
        grad_x = added.copy(order="K")
        conv2d_grad_input(grad, weight, x.shape, STRIDE, PADDING, out=grad_x, accumulate=True)
    assert_within(grad_x, exact, magnitude, grad.shape[1] + ROUNDINGS)
    assert typical(grad_x, exact) < TYPICAL

    grad_w = conv2d_grad_weight(grad, x, weight.shape, STRIDE, PADDING)
    exact = reference.conv2d_grad_weight(g64, x64, weight.shape, STRIDE, PADDING)
    tiles = winograd_strided.tiles_in(grad.shape)
    terms = tiles + ROUNDINGS + get_num_threads()
    assert_within(grad_w, exact, grad_weight(g64, x64, np.abs), terms)
    assert typical(grad_w, exact) < TYPICAL


@pytest.fixture
def always(monkeypatch):
    """Take Winograd's path even where it does not pay, and no other."""
    monkeypatch.setattr(winograd_strided, "pays", lambda weight, result: True)
    for path in (winograd_strided_grad_input, winograd_strided_grad_weight):
        monkeypatch.setattr(path, "pays", lambda weight, result: True)
    monkeypatch.setattr(winograd_strided_grad_input, "MANY_WEIGHTS", 0)
    monkeypatch.setattr(winograd_strided_grad_weight, "V_BYTES", 10**12)
    monkeypatch.setattr(winograd_strided_grad_weight, "covered", lambda shape: 10**6)
    for other in ("run_gather", "run_weight_gradient"):
        monkeypatch.setattr(conv, other, None)
    monkeypatch.setattr(conv.conv_panels, "run_panels", None)
    conv._known_shape.cache_clear()  # it remembers the answer
    yield monkeypatch
    conv._known_shape.cache_clear()


@pytest.mark.parametrize("in_pieces", [False, True])
def test_any_shape_within_the_bound(always, in_pieces):
    always.setattr(winograd_strided, "in_pieces", lambda weight, result: in_pieces)
    always.setattr(winograd_strided_grad_input, "in_pieces", lambda weight, result: in_pieces)
    always.setattr(winograd_strided_grad_weight, "in_pieces", lambda weight: in_pieces)
    forward_plan = winograd_strided._by_units
    input_plan, weight_plan = (
        winograd_strided_grad_input._by_units,
        winograd_strided_grad_weight._sum_plan,
    )

    @settings(max_examples=30)
    @given(
        st.tuples(
            st.integers(1, 3),
            st.sampled_from([1, 3, 16, 17, 33, 70]),
            st.integers(1, 26),
            st.integers(1, 26),
        ),
        st.sampled_from([1, 2, 16, 17, 40, 70]),
        st.integers(0, 3),
        st.tuples(*[st.sampled_from(LAYOUTS)] * 3),
        st.booleans(),
        st.integers(1, 2),
        st.sampled_from([20, 200, 4000]),
    )
    def run(shape, outputs, padding, layouts, add, threads, kilobytes):
        if min(shape[2:]) + 2 * padding < 3:
            padding = 1
        before = get_num_threads()
        set_num_threads(min(threads, before))
        always.setattr(winograd_strided, "UNIT_BYTES", kilobytes * 1024)
        always.setattr(winograd_strided_grad_input, "UNIT_BYTES", kilobytes * 1024)
        always.setattr(winograd_strided_grad_weight, "UNIT_BYTES", kilobytes * 1024)
        always.setattr(winograd_strided, "V_BYTES", kilobytes * 1024)
        always.setattr(winograd_strided_grad_input, "MOST_TILES", kilobytes // 20)
        for plan in (forward_plan, input_plan, weight_plan):
            plan.cache_clear()
        try:
            x, weight, _ = drawn(shape, outputs, padding, layouts)
            check_forward(x, weight, padding)
            x, weight, grad = drawn(shape, outputs, 1, layouts)
            check_gradients(x, weight, grad, laid_out(x, "channels_last") if add else None)
        finally:
            set_num_threads(before)

    run()
    for plan in (forward_plan, input_plan, weight_plan):
        plan.cache_clear()


LAYERS = [
    ((64, 16, 32, 32), 32),
    ((64, 32, 16, 16), 64),
    ((4, 64, 32, 32), 128),
    ((9, 128, 16, 16), 256),
    ((36, 256, 8, 8), 512),
    ((1, 128, 56, 56), 128),
    ((3, 100, 40, 47), 70),
]


@pytest.mark.parametrize("shape, outputs", LAYERS)
def test_layers_of_real_networks(monkeypatch, shape, outputs):
    """No fixture: these shapes take Winograd's path by themselves, in all three passes."""
    for other in ("run_gather", "run_weight_gradient"):
        monkeypatch.setattr(conv, other, None)
    monkeypatch.setattr(conv.conv_panels, "run_panels", None)
    x, weight, grad = drawn(shape, outputs, 1)
    check_forward(x, weight, 1)
    check_gradients(x, weight, grad)


def passes(x, weight, grad):
    return (
        conv2d_forward(x, weight, STRIDE, PADDING),
        conv2d_grad_input(grad, weight, x.shape, STRIDE, PADDING),
        conv2d_grad_weight(grad, x, weight.shape, STRIDE, PADDING),
    )


@pytest.mark.parametrize("shape, outputs", [LAYERS[0], LAYERS[4]])
def test_same_bits_every_time_and_close_with_other_thread_counts(shape, outputs):
    arrays = drawn(shape, outputs, 1)
    first = passes(*arrays)
    for _ in range(3):
        assert all((a == b).all() for a, b in zip(first, passes(*arrays), strict=True))
    before = get_num_threads()
    set_num_threads(1)
    try:
        for a, b in zip(first, passes(*arrays), strict=True):
            assert typical(a, b) < TYPICAL
    finally:
        set_num_threads(before)


def test_switch():
    arrays = drawn(*LAYERS[0], 1)
    fast = passes(*arrays)
    set_winograd(False)
    try:
        direct = passes(*arrays)
    finally:
        set_winograd(True)
    for a, b in zip(fast, direct, strict=True):
        assert (a != b).any()
        assert typical(a, b) < TYPICAL


@pytest.mark.parametrize(
    "stride, padding, dilation", [(2, 0, 1), (2, 2, 1), ((2, 1), 1, 1), (2, 2, 2)]
)
def test_other_geometry_has_the_right_results_on_whatever_path(stride, padding, dilation):
    rng = np.random.default_rng(0)
    geometry = [(v, v) if isinstance(v, int) else v for v in (stride, padding, dilation)]
    x = rng.standard_normal((8, 32, 32, 32), dtype=np.float32)
    weight = rng.standard_normal((32, 32, 3, 3), dtype=np.float32)
    y = conv2d_forward(x, weight, *geometry)
    right = reference.conv2d_forward(x.astype(np.float64), weight.astype(np.float64), *geometry)
    assert typical(y, right) < TYPICAL
    grad = rng.standard_normal(y.shape, dtype=np.float32)
    g64, x64, w64 = (a.astype(np.float64) for a in (grad, x, weight))
    right = reference.conv2d_grad_input(g64, w64, x.shape, *geometry)
    assert typical(conv2d_grad_input(grad, weight, x.shape, *geometry), right) < TYPICAL
    right = reference.conv2d_grad_weight(g64, x64, weight.shape, *geometry)
    assert typical(conv2d_grad_weight(grad, x, weight.shape, *geometry), right) < TYPICAL


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nonfinite_values_spoil_the_tiles_that_read_them_and_no_others(value):
    x, weight, grad = (np.ones_like(a) for a in drawn(*LAYERS[0], 1))
    # row 10 is inside the second row of tiles (result rows 4 .. 7 read rows 7 .. 15); column 7 is
    # the last that the first column of tiles reads, and the first of the second
    x[0, 3, 10, 7] = value
    y = conv2d_forward(x, weight, STRIDE, PADDING)
    spoiled = ~np.isfinite(y[0])
    assert spoiled[:, 5, 3:5].all()  # those that read it
    outside = np.ones((16, 16), bool)
    outside[4:8, 0:8] = False
    assert not spoiled[:, outside].any()
    assert np.isfinite(y[1:]).all()

    # row 3 of the result's gradient is inside the first row of tiles only, column 8 is the first
    # of the third column and the fifth of the second
    grad[0, 3, 2, 8] = value
    grad_x = conv2d_grad_input(grad, weight, x.shape, STRIDE, PADDING)
    spoiled = ~np.isfinite(grad_x[0])
    assert spoiled[:, 3:6, 15:18].all()
    outside = np.ones((32, 32), bool)
    outside[0:8, 8:24] = False
    assert not spoiled[:, outside].any()
    assert np.isfinite(grad_x[1:]).all()

    grad_w = conv2d_grad_weight(grad, np.ones_like(x), weight.shape, STRIDE, PADDING)
    bad = ~np.isfinite(grad_w)
    assert bad[3].all()
    assert not np.delete(bad, 3, axis=0).any()


@pytest.mark.parametrize("shape, outputs, in_pieces", [(*LAYERS[1], False), (*LAYERS[4], True)])
def test_finished_and_with_weights_that_are_kept(shape, outputs, in_pieces):
    """In pieces nothing is kept."""
    x, weight, _ = drawn(shape, outputs, 1)
    plain = conv2d_forward(x, weight, STRIDE, PADDING)
    rng = np.random.default_rng(0)
    scale, shift = rng.standard_normal((2, outputs), dtype=np.float32)
    residual = laid_out(rng.standard_normal(plain.shape, dtype=np.float32), "channels_last")
    finish = Finish(scale, shift, residual, relu=True)
    expected = plain.copy()
    finish.in_numpy(expected)
    prepared = Prepared()
    for _ in range(2):
        assert (conv2d_forward(x, weight, STRIDE, PADDING, prepared=prepared) == plain).all()
        found = conv2d_forward(x, weight, STRIDE, PADDING, finish=finish, prepared=prepared)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    assert (prepared.nbytes == 0) == in_pieces
