"""Elementwise kernels: the same bits as the formula in any layout; PyTorch's optimizers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import LAYOUTS, is_channels_last, laid_out

import kernels
from kernels import elementwise
from kernels.reference import elementwise as reference

DTYPES = [np.float32, np.float64]
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45]


@pytest.fixture(autouse=True, scope="module")
def _kernels_for_middling_arrays():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elementwise, "FLAT_MINIMUM", 200)
        yield


def numbers(rng, shape, dtype):
    """Normal numbers with some special ones among them."""
    array = rng.normal(size=shape).astype(dtype)
    special = rng.random(shape) < 0.2
    array[special] = rng.choice(SPECIAL, special.sum())
    return array


@st.composite
def pairs(draw):
    shape = tuple(draw(st.lists(st.integers(0, 12), min_size=2, max_size=5)))
    dtype = draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    a, b = (laid_out(numbers(rng, shape, dtype), draw(st.sampled_from(LAYOUTS))) for _ in range(2))
    mask = laid_out(rng.random(shape) < 0.5, draw(st.sampled_from(LAYOUTS)))
    return a, b, mask


def assert_same(ours, expected):
    """Equal numbers (NaN too) of the same dtype and shape."""
    assert ours.dtype == expected.dtype
    assert ours.shape == expected.shape
    np.testing.assert_array_equal(ours, expected)


@settings(deadline=None, max_examples=120)
@given(pairs())
def test_equal_to_the_formula(problem):
    a, b, mask = problem
    copies = [array.copy() for array in problem]
    with np.errstate(invalid="ignore"):
        out, passes = kernels.relu_forward(a)
        for ours, expected in zip((out, passes), reference.relu_forward(a), strict=True):
            assert_same(ours, expected)
        assert out.strides == tuple(s * a.itemsize for s in passes.strides)
        for scale in (1.0, 0.0, 1.7):
            ours = kernels.mask_scale(a, mask, scale)
            assert_same(ours, reference.mask_scale(a, mask, scale))
        assert_same(kernels.add(a, b), reference.add(a, b))
        target, expected = a.copy(order="K"), a.copy(order="K")
        kernels.accumulate(target, b)
        reference.accumulate(expected, b)
    assert_same(target, expected)
    for array, copy in zip(problem, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [2, 9])
def test_results_keep_channels_last_memory(size, dtype):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 5, size, size)).astype(dtype)
    x = laid_out(values, "channels_last")
    mask = laid_out(values > 0, "channels_last")
    spread = np.broadcast_to(values[:, :, :1, :1], x.shape)  # no layout of its own
    out, passes = kernels.relu_forward(x)
    results = [out, passes, kernels.add(x, values), kernels.mask_scale(x, values > 0)]
    results += [kernels.add(spread, x), kernels.mask_scale(spread, mask, 2.0)]
    assert all(is_channels_last(result) for result in results)
    np.testing.assert_array_equal(results[-1], np.where(mask, spread * dtype(2), 0))


def test_relu_passes_zero_and_nan():
    x = np.array([-1.0, -0.0, 0.0, 2.0, np.nan, -np.inf, np.inf], np.float32)
    for repeat in (1, 100):
        out, passes = kernels.relu_forward(np.tile(x, repeat))
        np.testing.assert_array_equal(out, np.tile([0, 0, 0, 2, np.nan, 0, np.inf], repeat))
        expected = [False, True, True, True, True, False, True]
        np.testing.assert_array_equal(passes, np.tile(expected, repeat))
        assert passes.dtype == np.bool_


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float16])
def test_other_dtypes(dtype):
    x = np.arange(-300, 300).astype(dtype).reshape(2, 300)
    for ours, expected in zip(kernels.relu_forward(x), reference.relu_forward(x), strict=True):
        assert_same(ours, expected)
    assert_same(kernels.add(x, x), x + x)
    assert_same(kernels.mask_scale(x, x > 3, 2), reference.mask_scale(x, x > 3, 2))


def test_scalars():
    x = np.array(-2.0, np.float32)
    out, passes = kernels.relu_forward(x)
    assert out.shape == passes.shape == ()
    assert (out, passes) == (0, False)
    assert kernels.add(x, x) == -4


def test_accumulate_into_overlapping_memory_is_numpys():
    memory = np.arange(2000, dtype=np.float32)
    expected = memory.copy()
    expected[1:] += expected[:-1]
    kernels.accumulate(memory[1:], memory[:-1])
    np.testing.assert_array_equal(memory, expected)
    kernels.accumulate(memory, memory)
    np.testing.assert_array_equal(memory, 2 * expected)


def test_large_arrays_on_all_threads_give_the_same_bits_every_time():
    rng = np.random.default_rng(1)
    a, b = (numbers(rng, (7, 9, 65, 67), np.float32).transpose(0, 3, 1, 2) for _ in range(2))
    with np.errstate(invalid="ignore"):
        for _ in range(3):
            out, passes = kernels.relu_forward(a)
            np.testing.assert_array_equal(out, reference.relu_forward(a)[0])
            np.testing.assert_array_equal(passes, ~(a < 0))
            np.testing.assert_array_equal(kernels.add(a, b), a + b)
            assert kernels.add(a, b).tobytes() == kernels.add(a, b).tobytes()


def test_errors():
    x, y = np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32)
    with pytest.raises(ValueError, match=r"add: .* same shape, got a \(2, 3\), b \(3, 2\)"):
        kernels.add(x, y)
    with pytest.raises(ValueError, match=r"mask_scale: .* x \(2, 3\), mask \(3, 2\)"):
        kernels.mask_scale(x, y > 0)
    with pytest.raises(TypeError, match="mask must be a boolean array, got float32"):
        kernels.mask_scale(x, x)
    with pytest.raises(ValueError, match=r"accumulate: .* target \(2, 3\), value \(3, 2\)"):
        kernels.accumulate(x, y)
    x.flags.writeable = False
    with pytest.raises(ValueError, match=r"accumulate: .* read-only"):
        kernels.accumulate(x, np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(x, 0)


# ------------------------------------------------------------------------------------ optimizers


def copies(arrays, layout):
    laid = [laid_out(a, layout) for a in arrays]
    for a in laid:
        a.flags.writeable = True
    return laid


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["rows", "channels_last", "gaps"])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [None, 0.9])
def test_sgd_update(momentum, nesterov, layout, dtype):
    rng = np.random.default_rng(2)
    arrays = rng.normal(size=(3, 5, 6, 3, 3)).astype(dtype)
    options = (0.1, momentum or 0, 0.2, 0.01, nesterov)
    grad, *ours = copies(arrays, layout)
    _, *expected = copies(arrays, layout)
    if momentum is None:
        ours, expected = [ours[0], None], [expected[0], None]
    kernels.sgd_update(ours[0], grad, ours[1], *options)
    reference.sgd_update(expected[0], grad, expected[1], *options)
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(ours[0], expected[0], rtol=tolerance, atol=tolerance)
    if momentum is not None:
        np.testing.assert_allclose(ours[1], expected[1], rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(grad, arrays[0])


def test_sgd_update_of_many_is_that_of_each():
    """Plain memory in all sizes, and everything that is none."""

    def case(seed):
        rng = np.random.default_rng(seed)
        arrays = [rng.random((3, n)).astype(np.float32) for n in (1, 7, 16, 100, 70_000)]
        plain = [tuple(part.copy() for part in a) for a in arrays]
        shared = rng.random((3, 40)).astype(np.float32)
        views = [(shared[0, :20], shared[1, :20], shared[2, :20])]
        tied = [(shared[0, 10:30], shared[1, 10:30], shared[2, 10:30])]  # overlaps the one before
        square = rng.random((3, 6, 6)).astype(np.float32)
        other = [(square[0].copy(), square[1].T, square[2].copy())]
        wide = [tuple(rng.random((3, 5)))]
        itself = rng.random(9).astype(np.float32)
        return [*plain, *views, *tied, *other, *wide, (itself, itself, np.ones(9, np.float32))]

    options = (0.1, 0.9, 0.2, 0.01, True)
    ours, expected = case(3), case(3)
    kernels.sgd_update_all(*zip(*ours, strict=True), *options)
    for param, grad, velocity in expected:
        kernels.sgd_update(param, grad, velocity, *options)
    for mine, theirs in zip(ours, expected, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    kernels.sgd_update_all([], [], [], *options)
    fixed = np.zeros(3, np.float32)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match=r"sgd_update: .* read-only"):
        kernels.sgd_update_all([fixed], [fixed], [fixed.copy()], *options)
    with pytest.raises(ValueError, match=r"sgd_update: .* grad \(4,\)"):
        kernels.sgd_update_all([fixed], [np.zeros(4, np.float32)], [fixed.copy()], *options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["rows", "channels_last", "gaps"])
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_update(decoupled, layout, dtype):
    rng = np.random.default_rng(3)
    arrays = rng.normal(size=(4, 5, 6, 3, 3)).astype(dtype)
    arrays[3] **= 2
    options = (7, 0.01, (0.9, 0.99), 1e-8, 0.1, decoupled)
    ours, expected = copies(arrays, layout), copies(arrays, layout)
    kernels.adam_update(ours[1], ours[0], ours[2], ours[3], *options)
    reference.adam_update(expected[1], expected[0], expected[2], expected[3], *options)
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_optimizer_steps_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    start = rng.normal(size=(20, 30)).astype(np.float32)
    parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
    if name == "SGD":
        optimizer = torch.optim.SGD(
            [parameter], lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True
        )
    else:
        optimizer = getattr(torch.optim, name)([parameter], lr=0.01, weight_decay=0.1)
    ours = start.copy()
    first, second = np.zeros_like(ours), np.zeros_like(ours)
    for step in range(1, 6):
        grad = rng.normal(size=start.shape).astype(np.float32)
        parameter.grad = torch.from_numpy(grad)
        optimizer.step()
        if name == "SGD":
            kernels.sgd_update(ours, grad, first, 0.1, 0.9, 0.0, 0.01, True)
        else:
            options = (0.01, (0.9, 0.999), 1e-8, 0.1, name == "AdamW")
            kernels.adam_update(ours, grad, first, second, step, *options)
        np.testing.assert_allclose(ours, parameter.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_gradients_layout_does_not_matter(layout):
    rng = np.random.default_rng(5)
    start, values, first, second = rng.random((4, 8, 9, 3, 3)).astype(np.float32)
    results = []
    for grad in (values, laid_out(values, layout)):
        sgd, velocity, adam = start.copy(), first.copy(), start.copy()
        kernels.sgd_update(sgd, grad, velocity, 0.1, 0.9, 0.1, 0.01, True)
        moments = first.copy(), second.copy()
        kernels.adam_update(adam, grad, *moments, 3, 0.01, (0.9, 0.99), 1e-8, 0.1, True)
        results.append([array.tobytes() for array in (sgd, velocity, adam, *moments)])
    assert results[0] == results[1]


def test_optimizer_errors():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"sgd_update: .* grad \(3, 2\)"):
        kernels.sgd_update(x, x.T, None, 0.1, 0, 0, 0, False)
    with pytest.raises(ValueError, match=r"adam_update: .* exp_avg \(3, 2\)"):
        kernels.adam_update(x, x, x.T, x, 1, 0.1, (0.9, 0.9), 1e-8, 0, False)
    fixed = np.zeros((2, 3), np.float32)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match=r"sgd_update: .* read-only"):
        kernels.sgd_update(fixed, x, None, 0.1, 0, 0, 0, False)
