"""freeze and unfreeze: parameters and batch-norm statistics."""

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft import nn, optim


def make():
    tg.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    return nn.Sequential(body, nn.Linear(16, 3))


def batch():
    return tg.tensor(np.random.default_rng(0).standard_normal((8, 1, 4, 4), np.float32) + 3)


def bits(module):
    return {key: value.numpy().tobytes() for key, value in module.state_dict().items()}


def train(net):
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        net.train()
        optimizer.zero_grad()
        net(batch()).sum().backward()
        optimizer.step()


def test_a_frozen_body_does_not_change_by_one_bit():
    net = make()
    body, head = net
    assert nn.freeze(body) is body
    before, before_head = bits(body), bits(head)
    train(net)
    assert bits(body) == before
    assert bits(head) != before_head
    assert body.training
    assert "frozen=True" in repr(body[1])


def test_freezing_after_training_drops_gradients_and_momentum_has_no_effect():
    net = make()
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    net(batch()).sum().backward()
    optimizer.step()
    nn.freeze(net[0])
    before = bits(net[0])
    optimizer.step()
    net(batch()).sum().backward()
    optimizer.step()
    assert bits(net[0]) == before


def test_a_frozen_body_computes_as_in_evaluation():
    net = make()
    train(net)
    net.eval()
    expected = net[0](batch()).numpy()
    nn.freeze(net[0])
    net.train()
    out = net[0](batch())
    np.testing.assert_array_equal(out.numpy(), expected)
    assert out.is_leaf  # nothing was recorded, so nothing is kept for a backward
    assert not out.requires_grad


def test_requires_grad_alone_leaves_the_statistics_moving():
    net = make()
    net[0].requires_grad_(False)
    before = bits(net[0])
    train(net)
    after = bits(net[0])
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def test_unfreeze_trains_again():
    net = make()
    nn.unfreeze(nn.freeze(net))
    assert all(p.requires_grad for p in net.parameters())
    assert "frozen" not in repr(net)
    before = bits(net)
    train(net)
    after = bits(net)
    assert all(before[key] != after[key] for key in before)


def test_freezing_is_not_part_of_the_state():
    net, frozen = make(), nn.freeze(make())
    net.load_state_dict(frozen.state_dict())
    assert net[0][1].frozen is False


@pytest.mark.parametrize("dims", [1, 2])
def test_both_batch_norms_freeze(dims):
    norm = nn.BatchNorm1d(3) if dims == 1 else nn.BatchNorm2d(3)
    x = tg.tensor(np.full((4, 3) if dims == 1 else (4, 3, 2, 2), 5, np.float32))
    nn.freeze(norm).train()
    np.testing.assert_allclose(norm(x).numpy(), 5 / np.sqrt(1 + 1e-5), rtol=1e-6)
    assert norm.running_mean.tolist() == [0.0] * 3
