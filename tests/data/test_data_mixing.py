"""Mixup and CutMix against their definition, image by image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tinygrad_ft.data import ArrayDataset, DataLoader, Draw, Normalize, sample_uniform
from tinygrad_ft.data.mixing import Mix

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(400, 7, 9, 3)).astype(np.float32)
LABELS = RNG.integers(0, 5, 400)
DRAW = Draw(3, 2, np.arange(400))


def onehot(labels: np.ndarray) -> np.ndarray:
    return np.eye(5)[labels]


def shares(targets: np.ndarray) -> np.ndarray:
    """The share of the own label, where own and partner's differ (nan elsewhere)."""
    found = targets[np.arange(len(targets)), LABELS].astype(float)
    return np.where(LABELS[::-1] == LABELS, np.nan, found)


def test_mixup_is_a_blend_with_the_mirrored_batch():
    before = IMAGES.copy()
    images, targets = Mix(5, mixup=0.4)(IMAGES, LABELS, DRAW)
    np.testing.assert_array_equal(IMAGES, before, "the input is left alone")
    share = shares(targets)
    for i in np.flatnonzero(~np.isnan(share)):
        j, l = 399 - i, share[i]
        np.testing.assert_allclose(
            images[i], l * IMAGES[i] + (1 - l) * IMAGES[j], rtol=1e-4, atol=1e-5
        )
        expected = l * onehot(LABELS)[i] + (1 - l) * onehot(LABELS)[j]
        np.testing.assert_allclose(targets[i], expected, atol=1e-6)
    assert images.dtype == targets.dtype == np.float32
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_the_shares_are_beta_distributed(alpha):
    _, targets = Mix(5, mixup=alpha)(IMAGES, LABELS, DRAW)
    found = shares(targets)
    found = found[~np.isnan(found)]
    assert stats.kstest(found, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_cutmix_pastes_a_box_and_counts_its_area():
    images, targets = Mix(5, cutmix=1.0)(IMAGES, LABELS, DRAW)
    share = shares(targets)
    sizes = []
    for i in np.flatnonzero(~np.isnan(share)):
        own = (images[i] == IMAGES[i]).all(axis=2)
        pasted = (images[i] == IMAGES[399 - i]).all(axis=2)
        assert (own | pasted).all()
        assert share[i] == pytest.approx(own.mean(), abs=1e-6)
        rows, columns = pasted.any(axis=1), pasted.any(axis=0)
        np.testing.assert_array_equal(pasted, rows[:, None] & columns)
        for line in (rows, columns):  # in one piece
            assert (np.diff(line.astype(int)) == 1).sum() <= 1
        sizes.append(pasted.sum())
    assert min(sizes) == 0
    assert max(sizes) > 40


def test_both_take_turns():
    images, _ = Mix(5, mixup=0.8, cutmix=1.0)(IMAGES, LABELS, DRAW)
    blended = [
        not ((images[i] == IMAGES[i]) | (images[i] == IMAGES[399 - i])).all() for i in range(400)
    ]
    assert 0.4 < np.mean(blended) < 0.6


def test_draws_are_a_function_of_seed_epoch_and_index():
    mix = Mix(5, mixup=0.4, cutmix=1.0)
    images, targets = mix(IMAGES, LABELS, DRAW)
    # a batch of a few images with their partners draws the same for each
    few = np.array([3, 70, 399 - 70, 399 - 3])
    part, part_targets = mix(IMAGES[few], LABELS[few], Draw(3, 2, few))
    np.testing.assert_array_equal(part, images[few])
    np.testing.assert_array_equal(part_targets, targets[few])
    for other in (Draw(4, 2, DRAW.indices), Draw(3, 1, DRAW.indices)):
        assert (mix(IMAGES, LABELS, other)[0] != images).any()


def test_its_draws_are_not_those_of_transforms():
    for stream in range(16):
        uniform = sample_uniform(3, 2, DRAW.indices, stream)
        for number in range(4):
            assert (uniform != sample_uniform(3, 2, DRAW.indices, 0xFFFF_0010 + number)).all()


def test_an_odd_batch_leaves_the_middle_image_alone():
    images, targets = Mix(5, mixup=1.0)(IMAGES[:3], LABELS[:3], Draw(0, 0, np.arange(3)))
    np.testing.assert_allclose(images[1], IMAGES[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(targets[1], onehot(LABELS)[1], atol=1e-6)


@pytest.mark.parametrize("workers", [0, 2])
def test_in_a_loader(workers):
    data = ArrayDataset(RNG.integers(0, 256, (10, 4, 4, 3), dtype=np.uint8), np.arange(10) % 2)
    transform = Normalize((0.5,) * 3, (0.2,) * 3)
    mix = Mix(2, mixup=1.0)

    def batches(**options: object) -> list:
        return list(DataLoader(data, 4, collate_fn=lambda x, y: (x, y), seed=5, **options))

    plain = batches(transform=transform)
    mixed = batches(transform=transform, mix=mix, num_workers=workers)
    for number, ((x, y), (images, targets)) in enumerate(zip(plain, mixed, strict=True)):
        index = np.arange(4 * number, 4 * number + len(y))
        nhwc = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        expected, expected_targets = mix(nhwc, y, Draw(5, 0, index))
        np.testing.assert_array_equal(images.transpose(0, 2, 3, 1), expected)
        np.testing.assert_array_equal(targets, expected_targets)
    without = DataLoader(data, 4, collate_fn=lambda x, y: (x, y), mix=mix)
    assert next(iter(without))[0].max() <= 1  # uint8 becomes 0..1 as without mixing


def test_wrong_use():
    for wrong in ((5, 0.0, 0.0), (5, -1.0, 0.0), (0, 1.0, 0.0)):
        with pytest.raises(ValueError, match="Mix needs"):
            Mix(*wrong)
    with pytest.raises(ValueError, match="Mix takes float32 images"):
        Mix(5, 1.0)((IMAGES * 50).astype(np.uint8), LABELS, DRAW)
