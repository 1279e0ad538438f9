"""The real data sets, where they are there. The test splits only: they take seconds."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tinygrad_ft.data import Dataset, ImageFolder, dataset_splits, open_dataset

Find = Callable[[str], Path]


def check_samples(data: ImageFolder, path: Path, step: int) -> None:
    with zipfile.ZipFile(path) as archive:
        for i in range(0, len(data), step):
            stored = Image.open(io.BytesIO(archive.read(data.names[i]))).convert("RGB")
            image, label = data[i]
            np.testing.assert_array_equal(image, stored)
            assert data.names[i].split("/")[1] == data.classes[label]


def test_cifar_images(shared_data: Find) -> None:
    path = shared_data("cifar10-images.zip")
    assert dataset_splits(path) == ("train", "test")
    data = open_dataset(path, "test")
    assert isinstance(data, ImageFolder)
    assert data.classes[::9] == ("airplane", "truck")
    assert np.bincount(data.targets).tolist() == [1000] * 10
    check_samples(data, path, 97)
    start = time.perf_counter()
    again: Dataset = open_dataset(path, "test")
    assert time.perf_counter() - start < 1, "from the cache"
    assert again.fingerprint == data.fingerprint


def test_tiny_imagenet_opens_without_reading_its_images(shared_data: Find) -> None:
    path = shared_data("tiny-imagenet-32.zip")
    train = ImageFolder(path, "train", cache=False)
    assert np.bincount(train.targets).tolist() == [500] * 200
    check_samples(train, path, 9973)
