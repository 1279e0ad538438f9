"""The layer of the source document, worked by hand and compared with the engine number by number.

    z = W x + b,  a = f(z),  delta = dL/da,  delta_i = delta * f'(z)  (elementwise)
    dW = delta_i x^T,  db = delta_i

with f one of sigmoid, ReLU, tanh, and a softmax head with categorical cross-entropy.
"""

import math

import numpy as np
import pytest

import tinygrad_ft as tg
from tinygrad_ft.nn import functional as F

# W = [ 1  -2 ]   x = [ 3 ]   b = [ 0.5 ]    z = [ 1*3 + -2*1 + 0.5 ]  =  [  1.5 ]
#     [ 0.5 1 ]       [ 1 ]       [ -4  ]        [ 0.5*3 + 1*1 - 4  ]     [ -1.5 ]
W = [[1.0, -2.0], [0.5, 1.0]]
X = [[3.0], [1.0]]
B = [[0.5], [-4.0]]
Z = [1.5, -1.5]
# the gradient that arrives from above
DELTA = [2.0, -1.0]

# sigmoid(1.5) = 1 / (1 + e^-1.5) = 1 / 1.2231302 = 0.8175745
# sigmoid(-1.5) = 1 - 0.8175745 = 0.1824255
# f' = a (1 - a) = 0.8175745 * 0.1824255 = 0.1491465, the same for both
# delta_i = [2 * 0.1491465, -1 * 0.1491465] = [0.2982930, -0.1491465]
# dW = delta_i x^T = [[0.8948789, 0.2982930], [-0.4474394, -0.1491465]]
SIGMOID = {
    "a": [0.8175745, 0.1824255],
    "delta_i": [0.2982930, -0.1491465],
    "dW": [[0.8948789, 0.2982930], [-0.4474394, -0.1491465]],
}

# ReLU(1.5) = 1.5 with f' = 1; ReLU(-1.5) = 0 with f' = 0
# delta_i = [2 * 1, -1 * 0] = [2, 0];  dW = [[2*3, 2*1], [0, 0]]
RELU = {"a": [1.5, 0.0], "delta_i": [2.0, 0.0], "dW": [[6.0, 2.0], [0.0, 0.0]]}

# tanh(1.5) = (e^3 - 1) / (e^3 + 1) = 19.0855369 / 21.0855369 = 0.9051483; tanh(-1.5) = -0.9051483
# f' = 1 - a^2 = 1 - 0.8192934 = 0.1807066, the same for both
# delta_i = [0.3614133, -0.1807066];  dW = [[1.0842398, 0.3614133], [-0.5421199, -0.1807066]]
TANH = {
    "a": [0.9051483, -0.9051483],
    "delta_i": [0.3614133, -0.1807066],
    "dW": [[1.0842398, 0.3614133], [-0.5421199, -0.1807066]],
}


def column(values: list[float]) -> np.ndarray:
    return np.array(values).reshape(2, 1)


@pytest.mark.parametrize(
    ("f", "by_hand"),
    [(tg.sigmoid, SIGMOID), (tg.relu, RELU), (tg.tanh, TANH)],
    ids=["sigmoid", "relu", "tanh"],
)
def test_one_layer(f, by_hand: dict) -> None:
    w, b = tg.Tensor(np.array(W), requires_grad=True), tg.Tensor(np.array(B), requires_grad=True)
    x = tg.Tensor(np.array(X))
    z = w @ x + b
    a = f(z)
    np.testing.assert_array_equal(z.numpy(), column(Z))
    np.testing.assert_allclose(a.numpy(), column(by_hand["a"]), atol=5e-8)
    (delta_i,) = tg.autograd.grad(a, z, column(DELTA), retain_graph=True)
    np.testing.assert_allclose(delta_i.numpy(), column(by_hand["delta_i"]), atol=5e-7)
    a.backward(column(DELTA))
    np.testing.assert_allclose(w.grad.numpy(), by_hand["dW"], atol=5e-7)
    np.testing.assert_allclose(b.grad.numpy(), column(by_hand["delta_i"]), atol=5e-7)
    # and in the document's symbols
    np.testing.assert_allclose(w.grad.numpy(), delta_i.numpy() @ np.array(X).T, rtol=1e-14)


def test_relu_at_zero_follows_the_document() -> None:
    """f'(x) = 1 for x >= 0."""
    x = tg.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    tg.relu(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 1]


def test_softmax_head_with_cross_entropy() -> None:
    """The scores are log 1, log 2, log 5, so that p = [1/8, 2/8, 5/8] exactly.

    One-hot y = [0, 1, 0]:  L = -log(2/8) = log 4,  dL/dz = p - y = [0.125, -0.75, 0.625]
    """
    z = tg.Tensor(np.log([[1.0, 2.0, 5.0]]), requires_grad=True)
    p = tg.softmax(z, 1)
    np.testing.assert_allclose(p.numpy(), [[0.125, 0.25, 0.625]], rtol=1e-14)
    one_hot = tg.Tensor(np.array([[0.0, 1.0, 0.0]]))
    by_definition = -(one_hot * p.log()).sum()
    for loss in (
        by_definition,
        F.cross_entropy(z, tg.tensor([1])),
        F.cross_entropy(z, one_hot),
    ):
        assert loss.item() == pytest.approx(math.log(4), rel=1e-14)
        (gradient,) = tg.autograd.grad(loss, z)
        np.testing.assert_allclose(gradient.numpy(), [[0.125, -0.75, 0.625]], rtol=1e-13)


def test_two_layers_and_a_step_of_gradient_descent() -> None:
    """A hidden ReLU layer and the softmax head: the whole of one training step by hand.

    h = ReLU(W x + b) = [1.5, 0]
    s = V h with V = [[1, 0], [-1, 2]]       = [1.5, -1.5]
    p = softmax(s): p1 = 1 / (1 + e^-3) = 0.9525741, p2 = 0.0474259;  y = [0, 1]
    ds = p - y = [0.9525741, -0.9525741]
    dV = ds h^T = [[1.4288612, 0], [-1.4288612, 0]]
    dh = V^T ds = [0.9525741 + 0.9525741, -2 * 0.9525741] = [1.9051483, -1.9051483]
    delta_i = dh * f'(z) = [1.9051483, 0]
    dW = delta_i x^T = [[5.7154448, 1.9051483], [0, 0]];  db = [1.9051483, 0]
    """
    w, b = tg.Tensor(np.array(W), requires_grad=True), tg.Tensor(np.array(B), requires_grad=True)
    v = tg.Tensor(np.array([[1.0, 0.0], [-1.0, 2.0]]), requires_grad=True)
    hidden = tg.relu(w @ tg.Tensor(np.array(X)) + b)
    scores = (v @ hidden).reshape(1, 2)
    loss = F.cross_entropy(scores, tg.tensor([1]))
    # -log 0.0474259 = 3 + log(1 + e^-3)
    assert loss.item() == pytest.approx(3 + math.log(1 + math.exp(-3)), rel=1e-14)
    loss.backward()
    np.testing.assert_allclose(v.grad.numpy(), [[1.4288612, 0], [-1.4288612, 0]], atol=5e-7)
    np.testing.assert_allclose(w.grad.numpy(), [[5.7154448, 1.9051483], [0, 0]], atol=5e-7)
    np.testing.assert_allclose(b.grad.numpy(), column([1.9051483, 0.0]), atol=5e-7)
    with tg.no_grad():
        for parameter in (w, b, v):
            parameter -= 0.1 * parameter.grad
    np.testing.assert_allclose(w.numpy(), [[0.4284555, -2.1905148], [0.5, 1.0]], atol=5e-7)
    np.testing.assert_allclose(b.numpy(), column([0.3094852, -4.0]), atol=5e-7)
