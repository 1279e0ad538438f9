"""Layers against PyTorch's: a state_dict made there loads here and gives the same output, the same
gradients, and the same repr."""

import re
import warnings

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import nn

torch = pytest.importorskip("torch")

LAYERS = [
    # name, arguments, shape of the input
    ("Conv1d", [(4, 6, 3), {"stride": 2, "padding": 1, "groups": 2}], (2, 4, 9)),
    ("Conv1d", [(4, 2, 3), {"padding": "same", "dilation": 2, "bias": False}], (4, 9)),
    ("Conv1d", [(2, 2, 4), {"padding": "same", "padding_mode": "reflect"}], (1, 2, 7)),
    ("Conv1d", [(2, 2, 3), {"padding": 2, "padding_mode": "circular"}], (1, 2, 7)),
    ("Conv2d", [(4, 6, 3), {"padding": 1}], (2, 4, 6, 5)),
    ("Conv2d", [(4, 6, (3, 2)), {"stride": (1, 2), "dilation": (2, 1)}], (4, 6, 5)),
    ("Conv2d", [(4, 4, 3, 1, (1, 2), 1, 4), {"padding_mode": "reflect"}], (2, 4, 4, 5)),
    ("Conv2d", [(2, 3, 3), {"padding": "same", "padding_mode": "replicate"}], (2, 2, 4, 5)),
    ("Conv2d", [(2, 3, 3), {"padding": "valid", "padding_mode": "circular"}], (2, 2, 4, 5)),
    ("Conv2d", [(2, 3, (3, 5)), {"padding": (1, 2), "padding_mode": "circular"}], (2, 2, 4, 5)),
    ("ConvTranspose1d", [(4, 6, 3), {"stride": 2, "output_padding": 1, "groups": 2}], (2, 4, 5)),
    ("ConvTranspose1d", [(2, 3, 3, 1, 1), {"bias": False}], (2, 5)),
    ("ConvTranspose2d", [(4, 6, 3, 2, 1, 1, 2), {"bias": False}], (2, 4, 3, 4)),
    ("ConvTranspose2d", [(2, 3, (2, 3)), {"dilation": (2, 1), "padding": (1, 0)}], (2, 4, 3)),
    ("AvgPool1d", [(3, 2, 1), {"count_include_pad": False}], (2, 3, 7)),
    ("AvgPool1d", [(2,), {"ceil_mode": True}], (3, 7)),
    ("AvgPool2d", [(3,), {"stride": 2, "divisor_override": 2}], (2, 3, 7, 5)),
    ("MaxPool1d", [(3, 2, 1, 2), {}], (2, 3, 7)),
    ("MaxPool1d", [(2,), {"return_indices": True}], (3, 7)),
    ("MaxPool2d", [((3, 2), 2, 1), {"ceil_mode": True}], (2, 3, 6, 5)),
    ("MaxPool2d", [(2, 1, 0, 2, True, True), {}], (2, 3, 6, 5)),
    ("AdaptiveAvgPool1d", [(3,), {}], (2, 3, 7)),
    ("AdaptiveAvgPool2d", [((3, None),), {}], (2, 3, 7, 2)),
    ("AdaptiveMaxPool2d", [(3,), {}], (2, 3, 7, 5)),
    ("AdaptiveMaxPool2d", [((None, 2), True), {}], (3, 4, 5)),
    ("BatchNorm1d", [(4,), {}], (3, 4)),
    ("BatchNorm2d", [(4,), {"momentum": 0.3}], (3, 4, 2, 2)),
    ("InstanceNorm1d", [(4,), {}], (3, 4, 5)),
    ("InstanceNorm1d", [(4,), {"affine": True}], (4, 5)),
    ("InstanceNorm2d", [(4,), {"affine": True, "track_running_stats": True}], (3, 4, 2, 3)),
    ("InstanceNorm2d", [(4,), {"eps": 0.1}], (4, 2, 3)),
    ("GroupNorm", [(2, 4), {}], (3, 4, 5)),
    ("GroupNorm", [(4, 4), {"affine": False}], (3, 4, 2, 2)),
    ("LayerNorm", [(5,), {}], (3, 4, 5)),
    ("LayerNorm", [((4, 5),), {"bias": False}], (3, 4, 5)),
    ("LayerNorm", [((5,), 0.1, False), {}], (3, 5)),
    ("RMSNorm", [(5,), {}], (3, 4, 5)),
    ("RMSNorm", [((4, 5), 0.1, False), {}], (3, 4, 5)),
    ("LocalResponseNorm", [(3,), {"alpha": 0.1}], (2, 4, 3, 3)),
    ("Upsample", [(), {"scale_factor": 2}], (2, 3, 4, 3)),
    ("Upsample", [((5, 2),), {"mode": "bilinear"}], (2, 3, 4, 3)),
    ("Upsample", [(None, (2, 1.5), "bicubic", True), {}], (2, 3, 4, 4)),
    ("Upsample", [(7,), {"mode": "linear"}], (2, 3, 4)),
    ("PixelShuffle", [(2,), {}], (2, 8, 3, 2)),
    ("PixelUnshuffle", [(2,), {}], (2, 3, 4, 6)),
    ("Unfold", [((2, 3),), {"padding": 1, "stride": 2}], (2, 3, 4, 5)),
    ("Fold", [((4, 5), (2, 3)), {"padding": 1, "stride": 2}], (2, 12, 9)),
    ("ConstantPad1d", [((1, 2), 3.5), {}], (2, 3, 4)),
    ("ConstantPad2d", [(1, -2), {}], (3, 4, 4)),
    ("ZeroPad1d", [(2,), {}], (2, 3, 4)),
    ("ZeroPad2d", [((1, 0, -1, 2),), {}], (2, 3, 4, 4)),
    ("ReflectionPad1d", [((1, 3),), {}], (3, 4)),
    ("ReflectionPad2d", [(2,), {}], (2, 3, 4, 4)),
    ("ReplicationPad1d", [(5,), {}], (2, 3, 4)),
    ("ReplicationPad2d", [((1, 2, 0, 3),), {}], (3, 4, 4)),
    ("CircularPad1d", [(2,), {}], (2, 3, 4)),
    ("CircularPad2d", [((1, 2, 0, 3),), {}], (2, 3, 4, 4)),
    ("Flatten", [(), {"start_dim": 2}], (2, 3, 4, 2)),
    ("Unflatten", [(1, (2, 3)), {}], (2, 6, 4)),
]  # fmt: skip

pairs = pytest.mark.parametrize(
    "name, arguments, shape", LAYERS, ids=[f"{i}-{layer[0]}" for i, layer in enumerate(LAYERS)]
)


def make(name, arguments):
    """(ours, theirs) with the same state, drawn at random."""
    args, kwargs = arguments
    ours, theirs = getattr(nn, name)(*args, **kwargs), getattr(torch.nn, name)(*args, **kwargs)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for tensor in theirs.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(rng.uniform(0.5, 1.5, tensor.shape)))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    return ours, theirs


def as_tuple(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)


@pairs
@pytest.mark.parametrize("training", [True, False])
def test_same_outputs_gradients_and_statistics(name, arguments, shape, training):
    ours, theirs = make(name, arguments)
    ours.train(training)
    theirs.train(training)
    rng = np.random.default_rng(1)
    array = rng.normal(1, 1, shape).astype(np.float32)
    x, peer = tg.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using padding='same' with even", UserWarning)
        expected = as_tuple(theirs(peer))
    found = as_tuple(ours(x))
    assert len(found) == len(expected)
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(f.numpy(), e.detach().numpy(), rtol=1e-5, atol=1e-5)
    grad = rng.normal(size=found[0].shape).astype(np.float32)
    found[0].backward(grad)
    expected[0].backward(torch.from_numpy(grad))
    np.testing.assert_allclose(x.grad.numpy(), peer.grad.numpy(), rtol=1e-4, atol=1e-4)
    for parameter, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(parameter.grad, other.grad.numpy(), rtol=1e-4, atol=1e-4)
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(
            ours.state_dict()[key].numpy(), value.numpy(), rtol=1e-5, err_msg=key
        )


@pairs
def test_same_repr(name, arguments, shape):
    ours, theirs = make(name, arguments)
    shown = [repr(ours), repr(theirs)]
    if "Norm" in name:  # versions of PyTorch differ in showing whether there is a bias
        shown = [re.sub(", bias=(True|False)", "", text) for text in shown]
    assert shown[0] == shown[1]


@pytest.mark.parametrize("name", ["Conv1d", "Conv2d", "ConvTranspose1d", "ConvTranspose2d"])
def test_same_initialisation(name):
    """The bounds of the uniform distribution are PyTorch's, and so is its spread."""
    tg.manual_seed(0)
    torch.manual_seed(0)
    ours, theirs = getattr(nn, name)(40, 60, 3), getattr(torch.nn, name)(40, 60, 3)
    for key in ("weight", "bias"):
        a, b = getattr(ours, key).numpy(), getattr(theirs, key).detach().numpy()
        assert a.shape == b.shape
        bound = 1 / np.sqrt(theirs.weight[0].numel())
        for values in (a, b):
            assert 0.9 * bound < np.abs(values).max() <= bound
        np.testing.assert_allclose(a.std(), bound / np.sqrt(3), rtol=0.25)


@pytest.mark.parametrize("size", [7, 8])
def test_transposed_convolution_to_a_size(size):
    ours, theirs = make("ConvTranspose2d", [(2, 3, 3, 2, 1), {}])
    x = np.random.default_rng(2).normal(size=(2, 2, 4, 4)).astype(np.float32)
    found = ours(tg.tensor(x), output_size=(size, 7))
    assert found.shape == (2, 3, size, 7)
    expected = theirs(torch.from_numpy(x), output_size=(size, 7)).detach().numpy()
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"output_size \(9, 7\).*from \(7, 7\) to \(8, 8\)"):
        ours(tg.tensor(x), output_size=(9, 7))
