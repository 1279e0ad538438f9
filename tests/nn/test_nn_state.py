"""state_dict and load_state_dict."""

from collections import OrderedDict

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import nn


def make():
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Linear(4, 5))


def bits(module):
    return {key: value.numpy().tobytes() for key, value in module.state_dict().items()}


def arrays(module):
    return {key: value.numpy().copy() for key, value in module.state_dict().items()}


def test_values_are_detached_and_share_memory():
    net = make()
    state = net.state_dict()
    assert isinstance(state, OrderedDict)
    weight = state["0.weight"]
    assert not weight.requires_grad
    assert np.shares_memory(weight.numpy(), net[0].weight.numpy())
    weight.zero_()
    assert not net[0].weight.numpy().any()
    assert next(iter(net.state_dict(prefix="net."))) == "net.0.weight"


@pytest.mark.parametrize("kind", ["tensors", "arrays"])
def test_round_trip_is_bit_exact(kind):
    source, target = make(), make()
    state = source.state_dict() if kind == "tensors" else arrays(source)
    param = target[0].weight
    result = target.load_state_dict(state)
    assert bits(target) == bits(source)
    assert target[0].weight is param
    assert not np.shares_memory(param.numpy(), source[0].weight.numpy())
    assert result.missing_keys == []
    assert result.unexpected_keys == []
    assert repr(result) == "<All keys matched successfully>"


def test_loading_counts_as_an_in_place_change():
    net = nn.Linear(2, 2)
    x = tg.tensor(np.ones((1, 2), np.float32), requires_grad=True)
    loss = net(x).sum()
    net.load_state_dict(net.state_dict())
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def broken_states():
    good = arrays(make())
    missing = {k: v for k, v in good.items() if k not in ("2.weight", "1.running_var")}
    return [
        (missing, ['Missing key(s) in state_dict: "1.running_var", "2.weight".']),
        ({**good, "9.bias": good["2.bias"]}, ['Unexpected key(s) in state_dict: "9.bias".']),
        (
            {**good, "2.bias": np.zeros(7, np.float32)},
            [
                "size mismatch for 2.bias: copying a param with shape (7,) from checkpoint, the "
                "shape in current model is (5,)."
            ],
        ),
        (
            {**good, "1.num_batches_tracked": np.array(1.5)},
            ["type mismatch for 1.num_batches_tracked: float64 from checkpoint"],
        ),
        ({**good, "2.bias": np.full(5, 1e300)}, ["values of 2.bias (float64)", "too large"]),
        ({**good, "2.bias": np.array(list("abcde"))}, ["type mismatch for 2.bias"]),
        ({**good, "2.bias": [1.0] * 5}, ["2.bias from checkpoint is a list, not a Tensor"]),
        (
            {"0.weight": np.zeros((3, 2, 1, 1)), "other": np.zeros(1)},
            ["Missing key(s)", "Unexpected key(s)", "size mismatch for 0.weight"],
        ),
    ]


@pytest.mark.parametrize("index", range(8))
def test_an_error_changes_nothing_and_lists_everything(index):
    state, messages = broken_states()[index]
    net = make()
    before = bits(net)
    with pytest.raises(RuntimeError) as error:
        net.load_state_dict(state)
    assert "Error(s) in loading state_dict for Sequential" in str(error.value)
    for message in messages:
        assert message in str(error.value)
    assert bits(net) == before


def test_not_strict_loads_what_fits_and_reports_the_rest():
    source, target = make(), make()
    state = arrays(source)
    del state["2.bias"]
    state["head.bias"] = np.zeros(3)
    kept = target[2].bias.numpy().copy()
    result = target.load_state_dict(state, strict=False)
    assert result.missing_keys == ["2.bias"]
    assert result.unexpected_keys == ["head.bias"]
    np.testing.assert_array_equal(target[2].bias.numpy(), kept)
    np.testing.assert_array_equal(target[0].weight.numpy(), source[0].weight.numpy())

    state["0.bias"] = np.zeros(1, np.float32)
    before = bits(target)
    with pytest.raises(RuntimeError, match="size mismatch"):
        target.load_state_dict(state, strict=False)
    assert bits(target) == before


def test_files_without_num_batches_tracked_are_complete():
    source, target = make(), make()
    state = arrays(source)
    del state["1.num_batches_tracked"]
    result = target.load_state_dict(state)
    assert result.missing_keys == []


def test_dtypes_are_converted_to_those_of_the_model():
    net = nn.Linear(2, 1)
    net.load_state_dict({"weight": np.array([[1, 2]]), "bias": np.array([0.5], np.float16)})
    assert net.weight.dtype == np.float32
    assert net.weight.tolist() == [[1.0, 2.0]]
    assert net.bias.tolist() == [0.5]


def test_values_that_share_memory_with_the_module_are_swapped_correctly():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    first, second = net[0].weight.tolist(), net[1].weight.tolist()
    state = net.state_dict()
    state["0.weight"], state["1.weight"] = state["1.weight"], state["0.weight"]
    net.load_state_dict(state)
    assert net[0].weight.tolist() == second
    assert net[1].weight.tolist() == first


def test_scalars_stored_with_one_dimension():
    norm = nn.BatchNorm1d(2)
    state = {**arrays(norm), "num_batches_tracked": np.array([12])}
    norm.load_state_dict(state)
    assert norm.num_batches_tracked.item() == 12


def test_not_a_dict():
    with pytest.raises(TypeError, match="takes a dict"):
        make().load_state_dict([1, 2])


def test_non_persistent_buffers_are_not_saved():
    net = nn.Module()
    net.register_buffer("kept", tg.tensor([1.0]))
    net.register_buffer("dropped", tg.tensor([1.0]), persistent=False)
    assert list(net.state_dict()) == ["kept"]
    net.register_buffer("dropped", tg.tensor([1.0]))
    assert list(net.state_dict()) == ["kept", "dropped"]
