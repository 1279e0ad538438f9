"""A network and its compiled twin, trained side by side; and what they are made of."""

import numpy as np

import tinygrad_ft as tg
from tinygrad_ft import nn, optim, random
from tinygrad_ft.nn import functional as F

IMAGES = (6, 3, 16, 16)


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + x)


def small(channels=8):
    """A small residual network."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        Block(channels),
        nn.Conv2d(channels, 17, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(17),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(17, 5),
    )


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(12, 12), nn.Linear(12, 12)
        self.second.weight = self.first.weight
        self.last = nn.Linear(12, 5)

    def forward(self, x):
        return self.last(F.relu(self.second(F.relu(self.first(x)))))


class Several(nn.Module):
    """Two arguments, two results, one of which the backward reads."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(12, 30), nn.Linear(12, 30)

    def forward(self, a, b):
        return F.relu(self.first(a)), F.relu(self.second(b))


class Twins:
    """Two networks with the same weights, one of them compiled, that are trained side by side."""

    def __init__(self, make, **options):
        self.models, self.optimizers = [], []
        for is_compiled in (False, True):
            tg.manual_seed(1)
            model = make()
            if is_compiled:
                model.compile(**options)
            self.models.append(model)
            learned = [p for p in model.parameters() if p.requires_grad]
            self.optimizers.append(optim.SGD(learned, lr=0.05, momentum=0.9))
        self.draws = [random.get_rng_state()] * 2

    def both(self, deed):
        """What a deed gives for each; random numbers as if there was no other."""
        results = []
        for i, model in enumerate(self.models):
            random.set_rng_state(self.draws[i])
            results.append(deed(model, self.optimizers[i]))
            self.draws[i] = random.get_rng_state()
        return results

    def step(self, x, y, x_grad=False, zero=True):
        def deed(model, optimizer):
            images = tg.tensor(x, requires_grad=x_grad)
            loss = F.cross_entropy(model(images), tg.tensor(y))
            if zero:
                optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.item(), None if images.grad is None else images.grad.numpy()

        (loss, x_grad_), (loss_, x_grad__) = self.both(deed)
        assert loss == loss_
        np.testing.assert_array_equal(x_grad_, x_grad__)
        self.compare()

    def compare(self):
        plain, compiled = (m.state_dict() for m in self.models)
        assert list(plain) == list(compiled)
        for name in plain:
            np.testing.assert_array_equal(compiled[name].numpy(), plain[name].numpy(), name)
        for p, q in zip(*(m.parameters() for m in self.models), strict=True):
            assert (p.grad is None) == (q.grad is None)
            if p.grad is not None:
                np.testing.assert_array_equal(q.grad.numpy(), p.grad.numpy())

    @property
    def graph(self):
        return self.models[1]._compiled._graph

    @property
    def is_repeated(self):
        return self.graph is not None and self.graph.ready


def batch(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape).astype(np.float32), rng.integers(0, 5, shape[0])


def trained(model, steps=3, **kwargs):
    """The last loss, not yet walked back."""
    for i in range(steps):
        x, y = batch(IMAGES, i)
        loss = F.cross_entropy(model(tg.tensor(x)), tg.tensor(y))
        if i < steps - 1:
            loss.backward(**kwargs)
    return loss
