"""A multilayer perceptron on two moons: what the engine needs for a network without convolutions.

python examples/mlp.py
"""

from sklearn.datasets import make_moons

import tinygrad_ft as tg
from tinygrad_ft import nn, optim

points, sides = make_moons(400, noise=0.15, random_state=0)
x, y = tg.tensor(points).float(), tg.tensor(sides)

tg.manual_seed(0)
model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))
criterion = nn.CrossEntropyLoss()
optimizer = optim.AdamW(model.parameters(), lr=0.01)

for step in range(301):
    scores = model(x)
    loss = criterion(scores, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 0:
        accuracy = (scores.argmax(1) == y).float().mean().item()
        print(f"step {step}: loss {loss.item():.4f}, accuracy {accuracy:.1%}")

# a picture of what it learned, in text: # and . are the two classes
for row in range(12):
    height = 1.4 - row * 2.2 / 11
    line = tg.tensor([[-1.4 + column * 4.0 / 63, height] for column in range(64)])
    with tg.no_grad():
        print("".join("#" if side else "." for side in model(line).argmax(1).tolist()))
