"""One layer worked by hand, then by the engine, number by number.

z = W x + b,  a = f(z),  L = sum (a - t)^2 / 2

delta   = dL/da = a - t
delta_z = delta * f'(z)      elementwise
dW      = delta_z x^T
db      = delta_z

python examples/backprop_by_hand.py
"""

import numpy as np

import tinygrad_ft as tg

x = np.array([1.0, 2.0])
W = np.array([[0.5, -0.25], [0.75, 1.0]])
b = np.array([0.1, -0.2])
t = np.array([1.0, 0.0])

ACTIVATIONS = {
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z, a: a * (1 - a), tg.sigmoid),
    "ReLU": (lambda z: np.where(z >= 0, z, 0.0), lambda z, a: np.where(z >= 0, 1.0, 0.0), tg.relu),
    "tanh": (np.tanh, lambda z, a: 1 - a**2, tg.tanh),
}

for name, (f, slope, op) in ACTIVATIONS.items():
    # by hand
    z = W @ x + b  # z = [0.5 - 0.5 + 0.1, 0.75 + 2 - 0.2] = [0.1, 2.55]
    a = f(z)
    delta_z = (a - t) * slope(z, a)
    dW = np.outer(delta_z, x)

    # by the engine
    Wt, bt = tg.tensor(W, requires_grad=True), tg.tensor(b, requires_grad=True)
    loss = ((op(Wt @ tg.tensor(x) + bt) - tg.tensor(t)) ** 2).sum() / 2
    loss.backward()

    print(f"{name}:  L = {loss.item():.6f}")
    print(f"  dW by hand    {dW.round(6).tolist()}")
    print(f"  dW by engine  {Wt.grad.numpy().round(6).tolist()}")
    print(f"  db by hand    {delta_z.round(6).tolist()}")
    print(f"  db by engine  {bt.grad.numpy().round(6).tolist()}")
    assert np.allclose(Wt.grad.numpy(), dW)
    assert np.allclose(bt.grad.numpy(), delta_z)

# and the derivative of the derivative, which needs no new code
w = tg.tensor(0.3, dtype=np.float64, requires_grad=True)
(first,) = tg.autograd.grad(tg.tanh(w), w, create_graph=True)
(second,) = tg.autograd.grad(first, w)
by_formula = -2 * np.tanh(0.3) * (1 - np.tanh(0.3) ** 2)
print(f"tanh''(0.3) = {second.item():.9f}, by formula {by_formula:.9f}")
