"""The published ResNet-20 for CIFAR-10 on the 10,000 test images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinygrad_ft.data import open_dataset
from tinygrad_ft.train import ModelCard, Preprocessing, load_model, predict_scores

DATA = Path(__file__).parents[3] / "shared" / "data"
WEIGHTS, IMAGES = DATA / "resnet20-12fca82f.th", DATA / "cifar10-images.zip"

# Images that PyTorch 2.13 classifies right with these weights, float32 in evaluation mode on the
# images as `open_dataset` decodes them, normalised by the same mean and std: ResNet-20 written with
# torch.nn, weights from torch.load, batches of 500. (The published 91.7% are of the original
# pixels; these images are JPEGs of quality 75 with halved colour resolution.)
RIGHT_IN_PYTORCH = 8103


def test_as_many_right_as_in_pytorch(tmp_path):
    for path in (WEIGHTS, IMAGES):
        if not path.exists():
            pytest.skip(f"shared/data/{path.name} is not here")
    test = open_dataset(IMAGES, "test", cache_dir=tmp_path)
    assert len(test) == 10_000
    preprocessing = Preprocessing.named("imagenet", 32)
    bare = ModelCard({"name": "resnet20", "num_classes": 10}, tuple(test.classes), preprocessing)
    model, card = load_model(WEIGHTS, bare)
    found = predict_scores(model, test, card.preprocessing)
    assert np.array_equal(found.labels, test.targets)
    right = int((found.predicted == found.labels).sum())  # 8103
    assert abs(right - RIGHT_IN_PYTORCH) <= 3
