"""A convolution's gradients together with the batch norm's after it: the bits of the three kernels
that they replace, which have their own tests against the reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import laid_out

import kernels
from kernels.norm import NormGradient, batch_norm_backward_later, batch_norm_statistics
from kernels.reference import conv as conv_reference
from kernels.reference import norm as norm_reference
from kernels.winograd_backward import conv2d_backward, conv2d_backward_pays

EPS = 1e-5
GEOMETRY = ((1, 1), (1, 1), (1, 1), 1)


class Problem:
    """relu(batch_norm(conv2d(x, w)) + residual), seen from behind."""

    def __init__(self, images, inner, outer, size, seed=0):
        rng = np.random.default_rng(seed)

        def image(channels):
            array = rng.standard_normal((images, *size, channels), np.float32)
            return array.transpose(0, 3, 1, 2)

        self.x, self.y, self.grad = image(inner), image(outer), image(outer)
        self.w = rng.standard_normal((outer, inner, 3, 3), np.float32)
        self.scale, self.shift = rng.standard_normal((2, outer), np.float32)
        self.passes = image(outer) < 0.5
        self.statistics = batch_norm_statistics(self.y)

    def arguments(self, after):
        mean, var, cut_off = self.statistics
        relu = None if after == "nothing" else (self.shift, cut_off)
        passes = self.passes if after == "residual, relu" else None
        return (self.scale, mean, var, EPS, relu, passes)

    def later(self, after, **options) -> NormGradient:
        return batch_norm_backward_later(self.grad, self.y, *self.arguments(after), **options)[0]

    def one_by_one(self, after):
        grad_y, *_ = kernels.batch_norm_backward(self.grad, self.y, *self.arguments(after))
        return (
            kernels.conv2d_grad_input(grad_y, self.w, self.x.shape, 1, 1),
            kernels.conv2d_grad_weight(grad_y, self.x, self.w.shape, 1, 1),
        )


AFTER = ("nothing", "relu", "residual, relu")


@settings(max_examples=60, deadline=None)
@given(
    images=st.integers(1, 9),
    inner=st.integers(8, 40),
    outer_panels=st.integers(1, 3),
    size=st.tuples(st.integers(3, 33), st.integers(3, 33)),
    after=st.sampled_from(AFTER),
    layout=st.sampled_from(("channels_last", "rows", "reversed")),
    threads=st.integers(1, 3),
)
def test_same_bits_as_one_by_one(images, inner, outer_panels, size, after, layout, threads):
    problem = Problem(images, inner, 16 * outer_panels, size)
    problem.x = laid_out(problem.x, layout)
    before = kernels.get_num_threads()
    kernels.set_num_threads(threads)
    try:
        later = problem.later(after)
        if not conv2d_backward_pays(later, problem.x, problem.w, *GEOMETRY):
            return
        grad_x = kernels.empty_nhwc(*problem.x.shape)
        grad_w = conv2d_backward(later, problem.x, problem.w, grad_x)
        wanted = problem.one_by_one(after)
    finally:
        kernels.set_num_threads(before)
    np.testing.assert_array_equal(grad_x, wanted[0])
    np.testing.assert_array_equal(grad_w, wanted[1])


@pytest.mark.parametrize("after", AFTER)
def test_near_the_reference(after):
    problem = Problem(4, 16, 32, (13, 18))
    grad, scale = problem.grad.astype(np.float64), problem.scale.astype(np.float64)
    y = problem.y.astype(np.float64)
    mean, var = y.mean((0, 2, 3)), y.var((0, 2, 3))
    if after == "residual, relu":
        grad = np.where(problem.passes, grad, 0)
    elif after == "relu":
        factor, term = (v[:, None, None] for v in (scale / np.sqrt(var + EPS), problem.shift))
        grad = np.where((y - mean[:, None, None]) * factor + term < 0, 0, grad)
    grad_y, *_ = norm_reference.batch_norm_backward(grad, y, scale, mean, var, EPS)
    w, x = problem.w.astype(np.float64), problem.x.astype(np.float64)
    found_x = kernels.empty_nhwc(*x.shape)
    found_w = conv2d_backward(problem.later(after), problem.x, problem.w, found_x)
    for found, wanted in (
        (found_x, conv_reference.conv2d_grad_input(grad_y, w, x.shape, (1, 1), (1, 1))),
        (found_w, conv_reference.conv2d_grad_weight(grad_y, x, w.shape, (1, 1), (1, 1))),
    ):
        assert np.abs(found - wanted).max() < 3e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("after", AFTER)
def test_adds_to_what_is_there(after):
    problem = Problem(3, 16, 16, (20, 20))
    so_far = np.random.default_rng(1).standard_normal((3, 20, 20, 16), np.float32)
    found, wanted = (so_far.copy().transpose(0, 3, 1, 2) for _ in range(2))
    conv2d_backward(problem.later(after), problem.x, problem.w, found, accumulate=True)
    grad_y, *_ = kernels.batch_norm_backward(problem.grad, problem.y, *problem.arguments(after))
    kernels.conv2d_grad_input(grad_y, problem.w, problem.x.shape, 1, 1, out=wanted, accumulate=True)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("in_place", [False, True])
def test_the_residuals_gradient_and_the_memory_of_grad_out(in_place):
    problem = Problem(2, 16, 16, (9, 9))
    wanted = np.where(problem.passes, problem.grad, 0)
    before = problem.grad.copy()
    arguments = problem.arguments("residual, relu")
    *_, residual = batch_norm_backward_later(problem.grad, problem.y, *arguments, in_place=in_place)
    np.testing.assert_array_equal(residual, wanted)
    assert np.shares_memory(residual, problem.grad) == in_place
    if not in_place:
        np.testing.assert_array_equal(problem.grad, before)


@pytest.mark.parametrize("place", ["grad", "y", "x", "w"])
def test_a_nan_is_not_hidden(place):
    problem = Problem(4, 16, 16, (12, 12))
    getattr(problem, place)[1, 3, 2, 2] = np.nan
    problem.statistics = batch_norm_statistics(problem.y)
    grad_x = kernels.empty_nhwc(*problem.x.shape)
    grad_w = conv2d_backward(problem.later("nothing"), problem.x, problem.w, grad_x)
    wanted = problem.one_by_one("nothing")
    np.testing.assert_array_equal(grad_x, wanted[0])
    np.testing.assert_array_equal(grad_w, wanted[1])
    assert np.isnan(grad_x).any() or np.isnan(grad_w).any()


def test_what_it_does_not_take():
    def pays(problem, geometry=GEOMETRY):
        return conv2d_backward_pays(problem.later("relu"), problem.x, problem.w, *geometry)

    assert pays(Problem(2, 16, 16, (16, 16)))
    assert not pays(Problem(2, 16, 24, (16, 16)))
    assert not pays(Problem(2, 16, 16, (16, 16)), ((1, 1), (0, 0), (1, 1), 1))
    assert not pays(Problem(2, 16, 16, (16, 16)), ((2, 2), (1, 1), (1, 1), 1))
    assert not pays(Problem(1, 256, 256, (16, 16)))
    kernels.set_winograd(False)
    try:
        assert not pays(Problem(2, 16, 16, (16, 16)))
    finally:
        kernels.set_winograd(True)
