from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from tinygrad_ft.data import GLYPH_CLASSES, digits, glyphs


def test_digits_are_scikit_learns() -> None:
    train, test = digits(size=8), digits(size=8, train=False)
    assert (len(train), len(test)) == (898, 899)
    assert train.classes == test.classes == tuple("0123456789")
    ours = np.concatenate([train.images, test.images])
    theirs = np.rint(load_digits().images * (255 / 16))[..., None]
    ours_sorted, theirs_sorted = (
        sorted(image.astype(np.uint8).tobytes() for image in images) for images in (ours, theirs)
    )
    assert ours_sorted == theirs_sorted, "all of them, each on one side"
    assert ours.max() == 255


def test_the_digits_split_is_stratified_and_fixed() -> None:
    train, test = digits(), digits(train=False)
    difference = np.bincount(train.targets) - np.bincount(test.targets)
    assert np.abs(difference).max() <= 1
    assert train.images.shape == (898, 16, 16, 1)
    assert digits().fingerprint == train.fingerprint
    assert train.fingerprint != test.fingerprint


def test_enlarged_digits_show_the_same_picture() -> None:
    small, large = digits(size=8), digits(size=16)
    halved = large.images.reshape(898, 8, 2, 8, 2).mean(axis=(2, 4))
    assert np.corrcoef(halved.ravel(), small.images.ravel())[0, 1] > 0.98
    np.testing.assert_array_equal(small.targets, large.targets)


def test_a_glyph_is_a_function_of_seed_and_index() -> None:
    some, more = glyphs(100, seed=1), glyphs(2500, seed=1)
    np.testing.assert_array_equal(some.images, more.images[:100])
    np.testing.assert_array_equal(some.targets, more.targets[:100])
    other = glyphs(100, seed=2)
    assert (some.images != other.images).any(axis=(1, 2, 3)).all()


def test_glyphs_vary_and_their_classes_are_even() -> None:
    data = glyphs(880)
    assert data.images.shape == (880, 16, 16, 1)
    assert "".join(data.classes) == GLYPH_CLASSES
    assert np.ptp(np.bincount(data.targets)) <= 1
    assert (data.images.max(axis=(1, 2, 3)) > 100).all(), "none is empty"
    assert len({image.tobytes() for image in data.images}) == 880
    assert glyphs(6, size=24, classes="猫x").images.shape == (6, 24, 24, 1)


def test_glyphs_look_like_the_handwriting() -> None:
    """A classifier that has seen glyphs alone reads most of the handwritten digits."""
    drawn, written = glyphs(3000, classes="0123456789"), digits()
    knn = KNeighborsClassifier(5).fit(drawn.images.reshape(3000, -1), drawn.targets)
    accuracy = (knn.predict(written.images.reshape(898, -1)) == written.targets).mean()
    assert accuracy > 0.6, accuracy
    # as much ink, and as much of it full
    ours, theirs = drawn.images / 255, written.images / 255
    assert abs(ours.mean() - theirs.mean()) < 0.05
    assert abs((ours > 0.95).mean() - (theirs > 0.95).mean()) < 0.03


def test_wrong_use() -> None:
    for wrong in ({"n": 0}, {"n": 3, "classes": ""}, {"n": 3, "classes": "aa"}):
        with pytest.raises(ValueError, match="need n >= 1 and different classes"):
            glyphs(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nothing to draw for the class ' '"):
        glyphs(3, classes="a ")
    with pytest.raises(ValueError, match="size must be at least 8"):
        digits(size=4)
