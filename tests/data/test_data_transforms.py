from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tinygrad_ft.data import (
    CenterCrop,
    Compose,
    Cutout,
    Draw,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    Resize,
    ToFloat,
)
from tinygrad_ft.data.transforms import Transform


def batch(n: int = 20, height: int = 8, width: int = 8, channels: int = 3) -> np.ndarray:
    shape = (n, height, width, channels)
    return np.random.default_rng(0).integers(1, 256, shape, dtype=np.uint8)


def draw(n: int = 20, epoch: int = 0) -> Draw:
    return Draw(7, epoch, np.arange(n))


RANDOM: list[Transform] = [
    RandomCrop(8, padding=2),
    RandomHorizontalFlip(),
    Cutout(3),
    Compose([RandomCrop(6), RandomHorizontalFlip(), Normalize((0.4,) * 3, (0.2,) * 3), Cutout(2)]),
]


@pytest.mark.parametrize("transform", RANDOM, ids=repr)
@given(order=st.permutations(range(20)), cut=st.integers(0, 20))
def test_a_sample_is_treated_alike_in_any_batch(
    transform: Transform, order: list[int], cut: int
) -> None:
    images = batch()
    whole = transform(images, draw())
    index = np.array(order)
    for part in (index[:cut], index[cut:]):
        out = transform(images[part], Draw(7, 0, part))
        np.testing.assert_array_equal(out, whole[part])


@pytest.mark.parametrize("transform", RANDOM, ids=repr)
def test_random_transforms(transform: Transform) -> None:
    images = batch()
    before = images.copy()
    first = transform(images, draw(epoch=0))
    np.testing.assert_array_equal(images, before, "the input is left alone")
    assert (first != transform(images, draw(epoch=1))).any(), "epochs differ"
    with pytest.raises(TypeError, match="is random: call it"):
        transform(images, None)
    with pytest.raises(ValueError, match="20 images, but 3 sample indices"):
        transform(images, draw(3))


def test_random_crop_cuts_windows_of_the_padded_image() -> None:
    images = batch(400, 5, 7)
    out = RandomCrop(6, padding=1)(images, draw(400))
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    seen = set()
    for image, source in zip(out, padded, strict=True):
        places = [
            (i, j)
            for i in range(2)
            for j in range(4)
            if (source[i : i + 6, j : j + 6] == image).all()
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == 8, "every place occurs"
    filled = RandomCrop(9, padding=1, fill=9)(batch(4, 7, 7), draw(4))
    assert (filled[:, 0] == 9).all()


def test_random_crop_of_float_images() -> None:
    images = batch().astype(np.float32)
    np.testing.assert_array_equal(
        RandomCrop(8, 2)(images, draw()), RandomCrop(8, 2)(batch(), draw()).astype(np.float32)
    )


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_random_flip(p: float) -> None:
    images = batch(2000, 2, 3)
    out = RandomHorizontalFlip(p)(images, draw(2000))
    flipped = (out == images[:, :, ::-1]).all(axis=(1, 2, 3))
    same = (out == images).all(axis=(1, 2, 3))
    assert (flipped | same).all()
    assert abs(flipped.mean() - p) < 0.05


def test_cutout_squares() -> None:
    out = Cutout(3)(batch(3000), draw(3000)) == 0
    assert (out == out[..., :1]).all(), "all channels"
    holes = out[..., 0]
    areas = holes.sum(axis=(1, 2))
    rows, columns = holes.any(axis=2).sum(axis=1), holes.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(areas, rows * columns)
    assert set(rows) == set(columns) == {2, 3}, "cut off at the edge by one"
    assert abs((rows == 2).mean() - 2 / 8) < 0.05
    assert (holes.mean(axis=0) > 0).all(), "anywhere"


def test_to_float_and_normalize_follow_torchvision() -> None:
    images = batch()
    scaled = ToFloat()(images)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, images / 255, rtol=2e-7)
    assert ToFloat()(np.full((1, 1, 1, 1), 255, dtype=np.uint8)) == 1.0
    mean, std = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
    expected = (images / 255 - mean) / std
    for given_images in (images, scaled):
        out = Normalize(mean, std)(given_images)
        assert out.dtype == np.float32
        np.testing.assert_allclose(out, expected, atol=2e-6)
    grey = Normalize([0.5], [0.25])(images[..., :1])
    np.testing.assert_allclose(grey, (images[..., :1] / 255 - 0.5) / 0.25, atol=2e-6)


def test_center_crop_and_resize() -> None:
    images = batch(3, 9, 12)
    np.testing.assert_array_equal(CenterCrop(5)(images), images[:, 2:7, 4:9])
    out = Resize(4)(images)
    for image, source in zip(out, images, strict=True):
        expected = Image.fromarray(source).resize((4, 4), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(image, expected)
    assert Resize(4)(images[..., :1]).shape == (3, 4, 4, 1)


def test_nested_compose_counts_as_its_parts() -> None:
    parts = [RandomCrop(8, 2), RandomHorizontalFlip(), Cutout(3)]
    nested = Compose([parts[0], Compose(parts[1:])])
    np.testing.assert_array_equal(nested(batch(), draw()), Compose(parts)(batch(), draw()))


def test_transforms_of_one_kind_draw_differently() -> None:
    images = batch(200)
    once = Cutout(1)(images, draw(200))
    twice = Compose([Cutout(1), Cutout(1)])(images, draw(200))
    assert (twice == 0).sum() > 1.9 * (once == 0).sum()


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: RandomCrop(0), "size must be positive"),
        (lambda: RandomCrop(4, -1), "padding not negative"),
        (lambda: RandomCrop(20)(batch(), draw()), "size 20 is larger than the padded images, 8x8"),
        (lambda: RandomHorizontalFlip(1.5), "p must be from 0 to 1"),
        (lambda: Cutout(0), "size must be at least 1"),
        (lambda: CenterCrop(9)(batch()), "larger than the images, 8x8"),
        (lambda: Resize(0), "size must be at least 1"),
        (lambda: Resize(4)(batch().astype(np.float32)), "put it before ToFloat"),
        (lambda: Normalize((0.5,), (0.0,)), "std above 0"),
        (lambda: Normalize((0.5, 0.5), (1.0,)), "one number for each channel"),
        (lambda: Normalize((0.5,), (1.0,))(batch()), "for 1 channels, the images have 3"),
        (lambda: ToFloat()(batch().astype(np.float64)), "takes uint8 or float32 images"),
        (lambda: Cutout(2)(batch()[0], draw()), r"shape \(N, H, W, C\)"),
    ],
)
def test_wrong_use(call: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()  # type: ignore[operator]
