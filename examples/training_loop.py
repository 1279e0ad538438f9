"""The bare training loop: no Trainer, PyTorch's shape. A small ResNet learns scikit-learn's digits.

python examples/training_loop.py
"""

import tinygrad_ft as tg
from tinygrad_ft import models, optim
from tinygrad_ft.data import DataLoader, digits
from tinygrad_ft.nn import functional as F

EPOCHS = 8

tg.manual_seed(0)
model = models.resnet8(num_classes=10, in_chans=1)
optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
# the rate falls to 0: with the same rate to the end the last steps decide how good it is, by chance
scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=EPOCHS)
train_loader = DataLoader(digits(16), batch_size=64, shuffle=True, drop_last=True)
test_loader = DataLoader(digits(16, train=False), batch_size=256)

for epoch in range(EPOCHS):
    for images, labels in train_loader:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scheduler.step()
    print(f"epoch {epoch + 1}: last loss {loss.item():.3f}")

model.eval()
with tg.no_grad():
    right = sum((model(x).argmax(1) == y).sum().item() for x, y in test_loader)
print(f"accuracy on the test half: {right / len(test_loader.dataset):.1%}")
