"""A layer beside PyTorch's of the same name: the same state, inputs, outputs and gradients."""

from collections.abc import Sequence
from typing import Any

import numpy as np

import tinygrad_ft as tg


def load(ours: Any, theirs: Any) -> None:
    """PyTorch's state_dict into our layer; strict, so that every name and shape must agree."""
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()}, strict=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())


def flat(result: Any) -> list[Any]:
    """The tensors of a result in which tuples may lie within tuples, None left out."""
    if isinstance(result, tuple | list):
        return [t for part in result for t in flat(part)]
    return [] if result is None else [result]


def agree(
    ours: Any, theirs: Any, arrays: Sequence[np.ndarray], call: Any, tolerance: float = 1e-10
) -> None:
    """`call(layer, *tensors)` gives the same on both sides; and so do the gradients of all floating
    inputs and of all parameters, for outputs that are weighted at random."""
    import torch

    load(ours, theirs)
    mine = [tg.Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    other = [torch.from_numpy(a.copy()).requires_grad_(a.dtype.kind == "f") for a in arrays]
    found, expected = flat(call(ours, *mine)), flat(call(theirs, *other))
    assert len(found) == len(expected)
    rng = np.random.default_rng(0)
    our_total, their_total = tg.tensor(0.0), torch.tensor(0.0)
    for f, e in zip(found, expected, strict=True):
        assert f.shape == tuple(e.shape)
        np.testing.assert_allclose(f.numpy(), e.detach().numpy(), rtol=tolerance, atol=tolerance)
        weight = rng.standard_normal(f.shape)
        our_total = our_total + (f * tg.Tensor(weight)).sum()
        their_total = their_total + (e * torch.from_numpy(np.asarray(weight))).sum()
    our_total.backward()
    their_total.backward()
    pairs = [*zip(mine, other, strict=True)]
    pairs += [*zip(ours.parameters(), theirs.parameters(), strict=True)]
    for f, e in pairs:
        if not f.requires_grad:
            continue
        assert (f.grad is None) == (e.grad is None)
        if f.grad is not None:
            np.testing.assert_allclose(
                f.grad.numpy(), e.grad.numpy(), rtol=10 * tolerance, atol=10 * tolerance
            )
