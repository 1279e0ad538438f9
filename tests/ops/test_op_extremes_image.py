"""Infinities, large offsets and single values in norms and resizing; work that is left out."""

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft.nn import functional as F

INF, NAN = np.inf, np.nan


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "area"])
def test_an_infinite_pixel_reaches_its_neighbours_alone(mode: str, dtype: type) -> None:
    array = np.ones((1, 1, 12, 12), dtype)
    array[0, 0, 6, 6] = INF
    x = tg.Tensor(array, requires_grad=True)
    out = F.interpolate(x, (17, 9), mode=mode)
    np.testing.assert_allclose(out.numpy()[..., :5, :3], 1, rtol=1e-6)
    np.testing.assert_allclose(out.numpy()[..., -3:, :], 1, rtol=1e-6)
    assert not np.isfinite(out.numpy()).all()
    out.backward(np.ones(out.shape, dtype))
    assert np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_borders_copy_special_numbers(mode: str) -> None:
    array = np.array([[NAN, INF, -0.0, 1e-40]], np.float32)
    out = F.pad(tg.Tensor(array), (2, 1), mode).numpy()
    np.testing.assert_array_equal(out[:, 2:6].view(np.int32), array.view(np.int32))
    assert np.isnan(out).sum() >= 1


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_borders_of_other_dtypes(mode: str, dtype: type) -> None:
    x = tg.tensor(np.array([[0, 1, 7]]).astype(dtype))
    out = F.pad(x, (1, 1), mode)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out.numpy()[:, 1:4], x.numpy())


def test_nearest_of_integers_and_large_images() -> None:
    """A dense map between all pixels would need 10 GB here."""
    x = tg.rand(1, 1, 224, 224)
    out = F.interpolate(x, scale_factor=1.5, mode="bicubic", align_corners=True)
    assert out.shape == (1, 1, 336, 336)
    np.testing.assert_allclose(out.numpy()[0, 0, ::335, ::335], x.numpy()[0, 0, ::223, ::223])


NORMS = {
    "layer_norm": lambda f, x: f.layer_norm(x, x.shape[1:]),
    "group_norm": lambda f, x: f.group_norm(x, 2),
    "instance_norm": lambda f, x: f.instance_norm(x),
    "rms_norm": lambda f, x: f.rms_norm(x, x.shape[-1:]),
}
ROWS = {
    "far from zero": lambda noise: 1e4 + noise,
    "equal": lambda noise: np.full_like(noise, 3.3),
    "tiny": lambda noise: 1e-20 * noise,
    "infinite": lambda noise: np.where(noise == noise.flat[0], INF, noise),
    "nan": lambda noise: np.where(noise == noise.flat[0], NAN, noise),
}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("name", NORMS)
def test_norms_at_extremes(name: str, row: str) -> None:
    """As close to the truth (PyTorch in float64) as PyTorch in float32, up to a factor."""
    torch = pytest.importorskip("torch")
    noise = np.random.default_rng(0).standard_normal((2, 4, 6))
    array = ROWS[row](noise).astype(np.float32)
    weight = np.random.default_rng(1).standard_normal(array.shape).astype(np.float32)
    x = tg.Tensor(array, requires_grad=True)
    out = NORMS[name](F, x)
    out.backward(weight)
    results = []
    for dtype in (torch.float64, torch.float32):
        peer = torch.tensor(array, dtype=dtype, requires_grad=True)
        theirs = NORMS[name](torch.nn.functional, peer)
        theirs.backward(torch.tensor(weight, dtype=dtype))
        results.append((theirs.detach().numpy(), peer.grad.numpy()))
    for ours, exact, single in zip((out.numpy(), x.grad.numpy()), *results, strict=True):
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(exact))
        scale = np.nanmax(np.abs(exact), initial=1e-3)
        error, allowed = np.abs(ours - exact), np.abs(single - exact)
        assert np.nanmax(error, initial=0) <= 4 * np.nanmax(allowed, initial=0) + 1e-5 * scale


@pytest.mark.parametrize("momentum", [0.0, 0.1, 1.0])
def test_instance_norm_moves_the_running_statistics(momentum: float) -> None:
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(3, 2, (3, 2, 4)).astype(np.float32)
    ours, theirs = [tg.zeros(2), tg.ones(2)], [torch.zeros(2), torch.ones(2)]
    F.instance_norm(tg.tensor(x), *ours, momentum=momentum)
    torch.nn.functional.instance_norm(torch.from_numpy(x), *theirs, momentum=momentum)
    for f, e in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(f.numpy(), e.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("frozen", [0, 1, 2])
@pytest.mark.parametrize("recorded", [False, True])
def test_a_norm_gives_the_gradients_that_are_asked_for(frozen: int, recorded: bool) -> None:
    tensors = [tg.randn(3, 4), tg.randn(4), tg.randn(4)]
    for i, t in enumerate(tensors):
        t.requires_grad_(i != frozen)
    out = F.layer_norm(tensors[0], 4, *tensors[1:])
    wanted = [t for t in tensors if t.requires_grad]
    grads = tg.autograd.grad(out, wanted, np.ones((3, 4), np.float32), create_graph=recorded)
    assert [g.shape for g in grads] == [t.shape for t in wanted]
