"""A small transformer learns to sort digits: 8 of them go in, position i says the i-th smallest.

python examples/sort_transformer.py
"""

import tinygrad_ft as tg
from tinygrad_ft import nn, optim

LENGTH, DIGITS, WIDTH = 8, 10, 32


class Sorter(nn.Module):
    """Digits (N, LENGTH) -> scores (N, LENGTH, DIGITS)."""

    def __init__(self) -> None:
        super().__init__()
        self.digit = nn.Embedding(DIGITS, WIDTH)
        self.position = nn.Embedding(LENGTH, WIDTH)
        layer = nn.TransformerEncoderLayer(
            WIDTH, nhead=4, dim_feedforward=64, dropout=0.0, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, norm=nn.LayerNorm(WIDTH))
        self.head = nn.Linear(WIDTH, DIGITS)

    def forward(self, digits: tg.Tensor) -> tg.Tensor:
        x = self.digit(digits) + self.position(tg.arange(LENGTH))
        return self.head(self.encoder(x))


def draw(count: int) -> tuple[tg.Tensor, tg.Tensor]:
    """Random digits, and the same ones sorted."""
    digits = tg.randint(0, DIGITS, (count, LENGTH))
    return digits, digits.sort(1).values


tg.manual_seed(0)
model = Sorter()
criterion = nn.CrossEntropyLoss()
optimizer = optim.AdamW(model.parameters(), lr=3e-3)
schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=250)

for step in range(1, 251):
    digits, ordered = draw(64)
    scores = model(digits)
    # classes stand in dimension 1: (N, LENGTH, DIGITS) -> (N, DIGITS, LENGTH)
    loss = criterion(scores.transpose(1, 2), ordered)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    if step % 50 == 0:
        right = (scores.argmax(2) == ordered).float().mean().item()
        print(f"step {step}: loss {loss.item():.4f}, digits in place {right:.1%}")

model.eval()
with tg.no_grad():
    digits, ordered = draw(500)  # 10^8 possible ones: new to the model
    found = model(digits).argmax(2)
share = (found == ordered).all(1).float().mean().item()
print("sorted", *digits[0].tolist(), "into", *found[0].tolist())
print(f"new sequences sorted without a mistake: {share:.1%}")
