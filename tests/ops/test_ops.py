"""Every case of the catalogue: values, gradients of the orders it names, dtypes, memory layouts."""

from typing import Any

import numpy as np
import pytest
from op_case import Case
from op_catalogue import CASES

import tinygrad_ft as tg
from tinygrad_ft import autograd

every_case = pytest.mark.parametrize("case", CASES, ids=[c.id for c in CASES])


def as_list(result: Any) -> list:
    return list(result) if isinstance(result, tuple | list) else [result]


def weights_for(outputs: list, seed: int = 0) -> list[np.ndarray]:
    """A fixed random weight for every element of every output."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(tuple(o.shape)) for o in outputs]


def derivatives(case: Case, tensors: list[tg.Tensor]) -> list[np.ndarray | None]:
    """First and second derivatives of randomly weighted outputs, with respect to all inputs."""
    outputs = case.differentiable(case.run(*tensors))
    inputs = [t for t in tensors if t.requires_grad]
    weights = [w.astype(o.dtype) for w, o in zip(weights_for(outputs), outputs, strict=True)]
    first = autograd.grad(outputs, inputs, weights, create_graph=True)
    again = [g for g in first if g.requires_grad]
    second: list = []
    if again:
        seeds = [w.astype(g.dtype) for w, g in zip(weights_for(again, 1), again, strict=True)]
        second = list(autograd.grad(again, inputs, seeds, allow_unused=True))
    return [None if g is None else g.numpy() for g in [*first, *second]]


def slopes(case: Case, tensors: list[tg.Tensor]) -> list[np.ndarray]:
    """First derivatives alone, from a backward that is not recorded."""
    outputs = case.differentiable(case.run(*tensors))
    weights = [w.astype(o.dtype) for w, o in zip(weights_for(outputs), outputs, strict=True)]
    inputs = [t for t in tensors if t.requires_grad]
    return [g.numpy() for g in autograd.grad(outputs, inputs, weights)]


@every_case
def test_value(case: Case) -> None:
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 2e-5)):
        arrays = case.arrays(dtype)
        expected = as_list(case.expected(*arrays))
        for form in case.forms():
            found = as_list(case.call(form, *case.tensors(arrays)))
            assert len(found) == len(expected)
            for f, e in zip(found, expected, strict=True):
                kind = np.asarray(e).dtype
                assert f.shape == np.shape(e)
                assert f.dtype == (dtype if kind.kind == "f" else kind)
                np.testing.assert_allclose(f.numpy(), e, rtol=tolerance, atol=tolerance)


@every_case
def test_finite_differences(case: Case) -> None:
    tensors = case.tensors(case.arrays())
    assert tg.gradcheck(lambda *t: case.differentiable(case.run(*t)), tensors, case.order)


@every_case
def test_recorded_and_unrecorded_backward_agree(case: Case) -> None:
    """In fused ops they are different code."""
    tensors = case.tensors(case.arrays())
    inputs = [t for t in tensors if t.requires_grad]
    results = []
    for create_graph in (False, True):
        outputs = case.differentiable(case.run(*tensors))
        results.append(autograd.grad(outputs, inputs, weights_for(outputs), create_graph))
    for fast, recorded in zip(*results, strict=True):
        assert not fast.requires_grad
        np.testing.assert_allclose(fast.numpy(), recorded.numpy(), rtol=1e-10, atol=1e-12)


@every_case
def test_float32_stays_float32(case: Case) -> None:
    exact = derivatives(case, case.tensors(case.arrays()))
    single = derivatives(case, case.tensors(case.arrays(np.float32)))
    for e, s in zip(exact, single, strict=True):
        if e is None:
            continue
        assert s.dtype == np.float32
        np.testing.assert_allclose(s, e, rtol=1e-3, atol=1e-4)


def layouts(array: np.ndarray) -> list[np.ndarray]:
    """The same values in memory that is transposed, reversed, or has gaps."""
    flip = (slice(None, None, -1),) * array.ndim
    gaps = np.zeros([2 * n for n in array.shape], array.dtype)
    inside = (slice(None, None, 2),) * array.ndim
    gaps[inside] = array
    return [array.T.copy().T, array[flip].copy()[flip], gaps[inside]]


@every_case
def test_memory_layout_does_not_matter(case: Case) -> None:
    """Second derivatives as well in float64; float32, where kernels serve it, once."""
    if case.name == "view":
        pytest.skip("a view of scattered memory is refused; see test_op_errors.py")
    for dtype, tolerance, how in ((np.float64, 1e-11, derivatives), (np.float32, 1e-4, slopes)):
        arrays = case.arrays(dtype)
        values = as_list(case.run(*case.tensors(arrays)))
        expected = how(case, case.tensors(arrays))
        for moved in zip(*[layouts(a) for a in arrays], strict=True):
            found = as_list(case.run(*case.tensors(list(moved))))
            for a, b in zip(values, found, strict=True):
                np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=tolerance, atol=tolerance)
            for a, b in zip(expected, how(case, case.tensors(list(moved))), strict=True):
                if a is not None:
                    np.testing.assert_allclose(a, b, rtol=10 * tolerance, atol=10 * tolerance)
            for before, after in zip(arrays, moved, strict=True):
                np.testing.assert_array_equal(before, after, "an input was modified")
        for before, after in zip(case.arrays(dtype), arrays, strict=True):
            np.testing.assert_array_equal(before, after, "an input was modified")


@every_case
def test_against_torch(case: Case) -> None:
    torch = pytest.importorskip("torch")
    if not case.torch:
        pytest.skip("PyTorch has nothing that is called in this way")
    owners = (torch.nn.functional, torch, torch.Tensor)
    function = next(getattr(o, case.name) for o in owners if hasattr(o, case.name))
    arrays = case.arrays()
    ours = case.tensors(arrays)
    theirs = [torch.from_numpy(a.copy()) for a in arrays]
    for t, o in zip(theirs, ours, strict=True):
        t.requires_grad_(o.requires_grad)
    expected = as_list(case.call(function, *theirs))
    found = as_list(case.run(*ours))
    for f, e in zip(found, expected, strict=True):
        assert f.dtype == e.detach().numpy(force=True).dtype
        np.testing.assert_allclose(f.numpy(), e.detach().numpy(force=True), rtol=1e-10, atol=1e-12)
    outputs = [e for e in expected if e.requires_grad]
    inputs = [t for t in theirs if t.requires_grad]
    seeds = [torch.from_numpy(np.asarray(w)) for w in weights_for(outputs)]
    first = torch.autograd.grad(outputs, inputs, seeds, create_graph=True)
    again = [g for g in first if g.requires_grad]
    second: list = []
    if again:
        seeds = [torch.from_numpy(np.asarray(w)) for w in weights_for(again, 1)]
        second = list(torch.autograd.grad(again, inputs, seeds, allow_unused=True))
    derived = derivatives(case, ours)
    assert all(g is not None for g in derived[: len(first)])
    for f, e in zip(derived[: len(first)], first, strict=True):
        np.testing.assert_allclose(f, e.detach().numpy(force=True), rtol=1e-9, atol=1e-11)
    if len(again) == len(first) and len(derived) == 2 * len(first):
        for f, e in zip(derived[len(first) :], second, strict=True):
            f = np.zeros(1) if f is None else f
            e = np.zeros(1) if e is None else e.detach().numpy(force=True)
            np.testing.assert_allclose(*np.broadcast_arrays(f, e), rtol=1e-8, atol=1e-10)
