from dataclasses import dataclass

import numpy as np
import pytest
from bounds import assert_within
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import LAYOUTS, is_channels_last, laid_out

from kernels import (
    conv2d_forward,
    conv2d_grad_input,
    conv2d_grad_weight,
    conv_direct,
    get_num_threads,
    set_num_threads,
    set_winograd,
)
from kernels.reference import conv as reference


@pytest.fixture(autouse=True)
def direct():
    """These tests hold the direct path to its (tighter) bound; test_winograd.py has the other."""
    set_winograd(False)
    yield
    set_winograd(True)


@dataclass(frozen=True)
class Case:
    x: tuple[int, int, int, int]
    weight: tuple[int, int, int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def parameters(self):
        return self.stride, self.padding, self.dilation, self.groups


@st.composite
def cases(draw):
    pair = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))  # noqa: E731
    kernel = draw(st.one_of(pair(1, 5), st.sampled_from([(1, 1), (3, 3)])))
    stride, padding, dilation = draw(pair(1, 3)), draw(pair(0, 3)), draw(pair(1, 2))
    groups = draw(st.integers(1, 4))
    inner = draw(st.sampled_from([1, 2, 3, 8, 16, 17]))
    outer = draw(st.sampled_from([1, 2, 5, 16, 17, 33]))
    least = [
        max(1, d * (k - 1) + 1 - 2 * p) for k, p, d in zip(kernel, padding, dilation, strict=True)
    ]
    size = [draw(st.integers(low, low + 12)) for low in least]
    return Case(
        (draw(st.integers(0, 5)), inner * groups, *size),
        (outer * groups, inner, *kernel),
        stride,
        padding,
        dilation,
        groups,
    )


def arrays(case, layouts, dtype=np.float32):
    """x, weight, grad_out in the given layouts."""
    rng = np.random.default_rng(sum(case.x) + sum(case.weight))
    x = rng.standard_normal(case.x).astype(dtype)
    weight = rng.standard_normal(case.weight).astype(dtype)
    shape = reference.conv2d_forward(x, weight, *case.parameters).shape
    grad = rng.standard_normal(shape).astype(dtype)
    return [laid_out(a, layout) for a, layout in zip((x, weight, grad), layouts, strict=True)]


def check_float32(case, layouts):
    x, weight, grad = arrays(case, layouts)
    x64, w64, g64 = (a.astype(np.float64) for a in (x, weight, grad))
    positions = case.weight[2] * case.weight[3]
    p = case.parameters

    y = conv2d_forward(x, weight, *p)
    assert is_channels_last(y)
    assert_within(
        y,
        reference.conv2d_forward(x64, w64, *p),
        reference.conv2d_forward(abs(x64), abs(w64), *p),
        case.weight[1] * positions + 1,
    )
    grad_x = conv2d_grad_input(grad, weight, case.x, *p)
    assert is_channels_last(grad_x)
    assert_within(
        grad_x,
        reference.conv2d_grad_input(g64, w64, case.x, *p),
        reference.conv2d_grad_input(abs(g64), abs(w64), case.x, *p),
        case.weight[0] // case.groups * positions + 1,
    )
    grad_w = conv2d_grad_weight(grad, x, case.weight, *p)
    assert grad_w.flags.c_contiguous
    assert_within(
        grad_w,
        reference.conv2d_grad_weight(g64, x64, case.weight, *p),
        reference.conv2d_grad_weight(abs(g64), abs(x64), case.weight, *p),
        grad.shape[0] * grad.shape[2] * grad.shape[3] + get_num_threads(),
    )


@settings(max_examples=100)
@given(cases(), st.tuples(*[st.sampled_from(LAYOUTS)] * 3), st.integers(1, 2))
def test_equals_the_formula_for_any_shape_and_strides(case, layouts, threads):
    before = get_num_threads()
    set_num_threads(min(threads, before))
    try:
        check_float32(case, layouts)
    finally:
        set_num_threads(before)


@pytest.mark.parametrize(
    "case",
    [
        Case((2, 3, 40, 37), (64, 3, 7, 7), (2, 2), (3, 3)),  # a stem
        Case((3, 64, 30, 31), (40, 64, 3, 3), (1, 1), (1, 1)),  # bands of rows
        Case((2, 130, 9, 9), (200, 130, 3, 3), (2, 2), (1, 1)),  # weights shared by panels
        Case((2, 48, 14, 14), (96, 48, 1, 1), (2, 2)),
        Case((3, 70, 13, 12), (40, 70, 3, 2), (2, 1), (1, 1)),  # panels that are not full
        Case((5, 32, 30, 31), (24, 32, 1, 1)),  # per task, a band that is cut off
        Case((1, 256, 6, 5), (512, 256, 1, 1)),  # by panels
        Case((2, 96, 12, 12), (96, 1, 3, 3), (1, 1), (1, 1), (1, 1), 96),  # depthwise
        Case((1, 64, 5, 300), (32, 16, 3, 3), (1, 1), (2, 2), (2, 2), 4),
        Case((130, 5, 2, 2), (3, 5, 2, 2)),  # many tiny images
        Case((2, 35, 11, 12), (35, 1, 5, 5), (2, 2), (2, 1), (1, 2), 35),
    ],
)
@pytest.mark.parametrize("layout", ["rows", "channels_last"])
def test_shapes_of_real_networks(case, layout):
    check_float32(case, (layout, "rows", layout))


@pytest.mark.parametrize("kernel", [(3, 3), (3, 1), (1, 3)])
def test_result_bits_do_not_depend_on_memory_layout(kernel):
    case = Case((3, 20, 11, 11), (24, 20, *kernel), (2, 2), (1, 1))
    results = []
    for layout in LAYOUTS:
        x, weight, grad = arrays(case, (layout,) * 3)
        results.append(
            (
                conv2d_forward(x, weight, *case.parameters),
                conv2d_grad_input(grad, weight, case.x, *case.parameters),
                conv2d_grad_weight(grad, x, case.weight, *case.parameters),
            )
        )
    for other in results[1:]:
        assert all((a == b).all() for a, b in zip(results[0], other, strict=True))


@settings(max_examples=40)
@given(cases())
def test_float64_equals_the_formula(case):
    x, weight, grad = arrays(case, ("gaps", "reversed", "rows"), np.float64)
    p = case.parameters
    pairs = [
        (conv2d_forward(x, weight, *p), reference.conv2d_forward(x, weight, *p)),
        (
            conv2d_grad_input(grad, weight, case.x, *p),
            reference.conv2d_grad_input(grad, weight, case.x, *p),
        ),
        (
            conv2d_grad_weight(grad, x, case.weight, *p),
            reference.conv2d_grad_weight(grad, x, case.weight, *p),
        ),
    ]
    for result, expected in pairs:
        assert result.dtype == np.float64
        np.testing.assert_allclose(result, expected, rtol=1e-10, atol=1e-10)


def test_the_three_are_adjoint():
    """<conv(x, w), g> = <x, grad_input(g, w)> = <w, grad_weight(g, x)>: one trilinear form."""
    case = Case((2, 6, 13, 10), (8, 3, 3, 2), (2, 3), (2, 1), (1, 2), 2)
    x, w, g = arrays(case, ("rows",) * 3, np.float64)
    p = case.parameters
    form = np.vdot(conv2d_forward(x, w, *p), g)
    assert np.vdot(conv2d_grad_input(g, w, case.x, *p), x) == pytest.approx(form, rel=1e-12)
    assert np.vdot(conv2d_grad_weight(g, x, case.weight, *p), w) == pytest.approx(form, rel=1e-12)


@pytest.mark.parametrize(
    "case",
    [
        Case((16, 16, 16, 16), (32, 16, 3, 3), (2, 2), (1, 1)),
        Case((4, 130, 9, 9), (200, 130, 3, 3), (2, 2), (1, 1)),
    ],
)
def test_same_bits_every_time_and_close_with_other_thread_counts(case):
    x, weight, grad = arrays(case, ("channels_last", "rows", "channels_last"))

    def all_three():
        return (
            conv2d_forward(x, weight, *case.parameters),
            conv2d_grad_input(grad, weight, case.x, *case.parameters),
            conv2d_grad_weight(grad, x, case.weight, *case.parameters),
        )

    first = all_three()
    for _ in range(4):
        assert all((a == b).all() for a, b in zip(first, all_three(), strict=True))
    before = get_num_threads()
    set_num_threads(1)
    try:
        for a, b in zip(first, all_three(), strict=True):
            assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()
    finally:
        set_num_threads(before)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nonfinite_values_reach_exactly_the_pixels_that_read_them(value):
    case = Case((1, 17, 12, 12), (18, 17, 3, 3), (1, 1), (1, 1))
    x, weight, _ = (a.copy() for a in arrays(case, ("rows",) * 3))
    x[0, 4, 5, 6] = value
    y = conv2d_forward(x, weight, *case.parameters)
    touched = np.zeros((12, 12), bool)
    touched[4:7, 5:8] = True
    assert (~np.isfinite(y) == touched).all()
    assert (np.isnan(y) == (touched & np.isnan(value))).all()


def test_out_is_written_whatever_its_strides():
    case = Case((2, 5, 9, 8), (7, 5, 3, 3), (1, 1), (1, 1))
    x, weight, grad = arrays(case, ("rows",) * 3)
    results = [
        (lambda out: conv2d_forward(x, weight, *case.parameters, out=out)),
        (lambda out: conv2d_grad_input(grad, weight, case.x, *case.parameters, out=out)),
        (lambda out: conv2d_grad_weight(grad, x, case.weight, *case.parameters, out=out)),
    ]
    for call in results:
        expected = call(None)
        room = np.full([n + 2 for n in expected.shape], 7, np.float32)
        out = room[1:-1, 1:-1, 1:-1, 1:-1]
        assert call(out) is out
        assert (out == expected).all()
        out[...] = 7
        assert (room == 7).all()


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 0, 8, 8)])
def test_empty_batches_and_no_channels(shape):
    weight = np.ones((4, shape[1], 3, 3), np.float32)
    x = np.ones(shape, np.float32)
    y = conv2d_forward(x, weight)
    assert y.shape == (shape[0], 4, 6, 6)
    assert (y == 0).all()
    assert conv2d_grad_input(y, weight, shape).shape == shape
    grad = conv2d_grad_weight(y, x, weight.shape)
    assert grad.shape == weight.shape
    assert (grad == 0).all()


def test_small_work_is_done_by_one_thread_with_the_same_result(monkeypatch):
    case = Case((2, 4, 9, 9), (6, 4, 3, 3))
    x, weight, _ = arrays(case, ("rows",) * 3)
    alone = conv2d_forward(x, weight)
    monkeypatch.setattr(conv_direct, "SMALL", 0)
    assert (conv2d_forward(x, weight) == alone).all()


F32 = np.float32


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda x, w: conv2d_forward(x[0], w), ValueError, "must be"),
        (lambda x, w: conv2d_forward(x[:, :3], w), ValueError, r"\(2, 3, 6, 6\).*groups=1"),
        (lambda x, w: conv2d_forward(x, w, groups=3), ValueError, "groups=3"),
        (lambda x, w: conv2d_forward(x, w, stride=0), ValueError, "stride"),
        (lambda x, w: conv2d_forward(x, w, padding=(-1, 0)), ValueError, "padding"),
        (lambda x, w: conv2d_forward(x, w, dilation=(1, 2, 3)), ValueError, "dilation"),
        (lambda x, w: conv2d_forward(x[:, :, :2], w), ValueError, "3x3 kernel.*2x6"),
        (lambda x, w: conv2d_forward(x.astype(np.float64), w), TypeError, "float64 and float32"),
        (lambda x, w: conv2d_forward(x.astype(int), w.astype(int)), TypeError, "int64"),
        (lambda x, w: conv2d_forward(x, w, out=np.zeros((2, 5, 4, 5), F32)), ValueError, "out is"),
        (lambda x, w: conv2d_grad_input(x, w, x.shape), ValueError, "grad_out has shape"),
        (lambda x, w: conv2d_grad_weight(x, x, w.shape), ValueError, "grad_out has shape"),
    ],
)
def test_errors_name_the_operation_and_the_shapes(call, error, text):
    x, w = np.zeros((2, 4, 6, 6), F32), np.zeros((5, 4, 3, 3), F32)
    with pytest.raises(error, match=r"^conv2d_\w+: .*" + text):
        call(x, w)
