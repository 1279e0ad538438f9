"""RNN, LSTM, GRU and their cells: the formulas, PyTorch's shapes and state_dict, errors."""

import numpy as np
import pytest
import torch_twin as twin

import tinygrad_ft as tg
from tinygrad_ft import nn

RNG = np.random.default_rng(0)


def draw(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


# ---- by the formulas -----------------------------------------------------------------------------


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def stepped(kind, weights, x, states):
    """One step for one sequence, in NumPy."""
    wi, wh, bi, bh = weights
    a, b = wi @ x + bi, wh @ states[0] + bh
    if kind == "RNN":
        return (np.tanh(a + b),)
    size = len(states[0])
    a, b = a.reshape(-1, size), b.reshape(-1, size)
    if kind == "GRU":
        r, z = sigmoid(a[0] + b[0]), sigmoid(a[1] + b[1])
        n = np.tanh(a[2] + r * b[2])
        return ((1 - z) * n + z * states[0],)
    i, f, g, o = sigmoid(a[0] + b[0]), sigmoid(a[1] + b[1]), np.tanh(a[2] + b[2]), a[3] + b[3]
    c = f * states[1] + i * g
    return sigmoid(o) * np.tanh(c), c


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_two_layers_are_the_formulas(kind):
    layer = getattr(nn, kind)(2, 3, num_layers=2).double()
    x = draw(4, 2)
    output, last = layer(tg.tensor(x))
    ends = [h.numpy() for h in (last if kind == "LSTM" else (last,))]
    sequence = x
    for depth in range(2):
        names = (f"weight_ih_l{depth}", f"weight_hh_l{depth}", f"bias_ih_l{depth}")
        weights = [getattr(layer, n).numpy() for n in (*names, f"bias_hh_l{depth}")]
        states, outputs = (np.zeros(3), np.zeros(3))[: len(ends)], []
        for row in sequence:
            states = stepped(kind, weights, row, states)
            outputs.append(states[0])
        sequence = np.stack(outputs)
        for end, state in zip(ends, states, strict=True):
            np.testing.assert_allclose(end[depth], state, rtol=1e-12)
    np.testing.assert_allclose(output.numpy(), sequence, rtol=1e-12)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_cell_is_a_step_of_the_layer(kind):
    layer, cell = getattr(nn, kind)(2, 3), getattr(nn, f"{kind}Cell")(2, 3)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    x = tg.tensor(draw(4, 5, 2)).float()
    output, _ = layer(x)
    state = None
    for t in range(4):
        state = cell(x[t], state)
        h = state[0] if kind == "LSTM" else state
        np.testing.assert_allclose(h.numpy(), output[t].numpy(), rtol=1e-5, atol=1e-6)


def test_gradients_by_finite_differences():
    layer = nn.LSTM(2, 3, bidirectional=True, proj_size=2).double()
    x = tg.Tensor(draw(2, 1, 2), requires_grad=True)
    assert tg.gradcheck(lambda t: layer(t)[0], x, order=2)
    assert tg.gradcheck(lambda *params: layer(x)[0], list(layer.parameters()))


# ---- as in PyTorch -------------------------------------------------------------------------------

CONFIGURATIONS = [
    {},
    {"bias": False, "batch_first": True},
    {"bidirectional": True},
    {"num_layers": 2, "batch_first": True},
    {"num_layers": 3, "bias": False, "bidirectional": True},
]


@pytest.mark.parametrize("states", ["given", "zero"])
@pytest.mark.parametrize("kind", ["RNN", "relu", "LSTM", "projected", "GRU"])
def test_against_torch(kind, states):
    torch = pytest.importorskip("torch")
    options = {"relu": {"nonlinearity": "relu"}, "projected": {"proj_size": 2}}.get(kind, {})
    name = {"relu": "RNN", "projected": "LSTM"}.get(kind, kind)
    width = options.get("proj_size", 3)
    for settings in CONFIGURATIONS:
        ours = getattr(nn, name)(2, 3, **settings, **options).double()
        theirs = getattr(torch.nn, name)(2, 3, **settings, **options, dtype=torch.float64)
        count = settings.get("num_layers", 1) * (2 if settings.get("bidirectional") else 1)
        for batch in ((), (4,)):
            shape = (5, *batch, 2)
            if batch and settings.get("batch_first"):
                shape = (4, 5, 2)
            arrays = [draw(*shape)]
            if states == "given":
                arrays.append(draw(count, *batch, width))
                if name == "LSTM":
                    arrays.append(draw(count, *batch, 3))

            def call(layer, x, *first):
                if not first:
                    return layer(x)
                return layer(x, first if len(first) == 2 else first[0])

            for layer in (ours, theirs):
                layer.zero_grad()
            twin.agree(ours, theirs, arrays, call)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("kind", ["RNN", "relu", "LSTM", "GRU"])
def test_cells_against_torch(kind, batch, bias):
    torch = pytest.importorskip("torch")
    options = {"nonlinearity": "relu"} if kind == "relu" else {}
    name = ("RNN" if kind == "relu" else kind) + "Cell"
    ours = getattr(nn, name)(2, 3, bias, **options).double()
    theirs = getattr(torch.nn, name)(2, 3, bias, **options, dtype=torch.float64)
    first = [draw(*batch, 3) for _ in range(2 if kind == "LSTM" else 1)]
    twin.agree(ours, theirs, [draw(*batch, 2)], lambda cell, x: cell(x))
    for cell in (ours, theirs):
        cell.zero_grad()
    twin.agree(
        ours,
        theirs,
        [draw(*batch, 2), *first],
        lambda cell, x, *h: cell(x, h if len(h) == 2 else h[0]),
    )


def test_it_starts_as_pytorch_does():
    """Everything from U(-1/sqrt(H), 1/sqrt(H)): within the bounds, and as spread out."""
    tg.manual_seed(0)
    for layer in (nn.LSTM(50, 100), nn.GRUCell(50, 100)):
        for param in layer.parameters():
            values = param.numpy() * 10
            assert np.abs(values).max() <= 1
            assert abs(values.std() - np.sqrt(1 / 3)) < 0.05
            assert abs(values.mean()) < 0.15


# ---- options and errors --------------------------------------------------------------------------


def test_dropout_acts_between_layers_in_training_only():
    layer = nn.RNN(2, 3, num_layers=2, dropout=1.0)
    x = tg.tensor(draw(4, 5, 2)).float()
    # the second layer sees zeros: every sequence of the batch gives the same
    output = layer(x)[0].numpy()
    np.testing.assert_array_equal(output, np.broadcast_to(output[:, :1], output.shape))
    assert layer.eval()(x)[0].numpy().std(1).min() > 0
    with pytest.warns(UserWarning, match="dropout=0.5 does nothing"):
        nn.GRU(2, 3, dropout=0.5)


def test_float32_stays_float32():
    output, (h, c) = nn.LSTM(2, 3)(tg.tensor(draw(4, 2)).float())
    assert output.dtype == h.dtype == c.dtype == np.float32


def test_repr():
    layer = nn.LSTM(4, 8, num_layers=2, batch_first=True, bidirectional=True, proj_size=2)
    assert repr(layer) == (
        "LSTM(4, 8, proj_size=2, num_layers=2, batch_first=True, bidirectional=True)"
    )
    assert repr(nn.RNNCell(4, 8, bias=False, nonlinearity="relu")) == (
        "RNNCell(4, 8, bias=False, nonlinearity=relu)"
    )


@pytest.mark.parametrize(
    "use, message",
    [
        (lambda: nn.LSTM(0, 3), "LSTM needs sizes of 1 or more.*input_size=0"),
        (lambda: nn.RNN(2, 3, nonlinearity="sigmoid"), "nonlinearity='tanh' or 'relu'.*'sigmoid'"),
        (lambda: nn.RNNCell(2, 3, nonlinearity="elu"), "nonlinearity='tanh' or 'relu'.*'elu'"),
        (lambda: nn.GRUCell(2, 0), "GRUCell needs sizes of 1 or more"),
        (lambda: nn.GRU(2, 3, 2, dropout=1.5), "probability.*dropout=1.5"),
        (lambda: nn.LSTM(2, 3, proj_size=3), "proj_size from 0 to less than hidden_size 3, got 3"),
        (lambda: nn.GRU(2, 3)(tg.zeros(5, 4, 3)), r"GRU\(2, 3\).*\(5, 4, 3\).*\(T, N, I\).*I = 2"),
        (lambda: nn.GRU(2, 3)(tg.zeros(2)), r"\(2,\)"),
        (lambda: nn.GRU(2, 3)(tg.zeros(0, 4, 2)), r"\(0, 4, 2\): a sequence of length 0"),
        (lambda: nn.GRU(2, 3)(tg.zeros(5, 4, 2), tg.zeros(1, 3, 3)), r"expected \(1, 4, 3\)"),
        (lambda: nn.GRU(2, 3)(tg.zeros(5, 2), tg.zeros(1, 4, 3)), r"expected \(1, 3\)"),
        (lambda: nn.LSTM(2, 3)(tg.zeros(5, 2), (tg.zeros(1, 3),)), "2 first states, got 1"),
        (lambda: nn.LSTMCell(2, 3)(tg.zeros(4, 3)), r"\(4, 3\): expected \(N, 2\)"),
        (lambda: nn.RNNCell(2, 3)(tg.zeros(4, 2), tg.zeros(3)), r"\(3,\).*needs \(4, 3\)"),
    ],
)
def test_errors(use, message):
    with pytest.raises(ValueError, match=message):
        use()
