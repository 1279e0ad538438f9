"""Grad-CAM: which parts of an image speak for a class, as the network sees it.

Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization" (arXiv 1610.02391). With A_k the K feature maps (H', W') that leave the last stage and
y_c the score of class c before the softmax:

    alpha_k = 1 / (H' W') sum_ij dy_c / dA_k[i, j]        how much map k counts for c
    M_c     = relu(sum_k alpha_k A_k)                     where those maps are active

The relu keeps what speaks for the class and drops what speaks against it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tinygrad_ft import autograd
from tinygrad_ft.grad_mode import no_grad
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.tensor import Tensor

_BATCH = 16  # images at a time; bounds the memory


def grad_cam(
    model: ImageClassifier, images: np.ndarray, classes: npt.ArrayLike
) -> np.ndarray | None:
    """The maps M_c of `images` for the class of each: (n, H', W') float32, from 0 to 1.

    images   (n, C, H, W) float32, preprocessed
    classes  (n,) the class index to explain in each image

    Each map is divided by its highest value; one that is nowhere positive is 0. None for a model
    whose last features are no maps of at least two pixels: there is no place to tell then. The
    model is used in evaluation mode and put back as it was; its gradients are left alone.
    ValueError if images and classes do not go together.
    """
    chosen = np.asarray(classes, dtype=np.int64)
    if images.ndim != 4 or chosen.shape != (len(images),):
        raise ValueError(
            f"grad_cam: needs images (n, C, H, W) and a class for each, got {images.shape} and "
            f"{chosen.shape}"
        )
    training = model.training
    model.eval()
    found = []
    try:
        for start in range(0, len(images), _BATCH):
            part = slice(start, start + _BATCH)
            maps = _maps(model, images[part], chosen[part])
            if maps is None:
                return None
            found.append(maps)
    finally:
        model.train(training)
    return np.concatenate(found) if found else None


def _maps(model: ImageClassifier, images: np.ndarray, chosen: np.ndarray) -> np.ndarray | None:
    with no_grad():  # the gradient ends at the features: the body needs none
        features = model.forward_features(Tensor(images)).numpy()
    if features.ndim != 4 or features.shape[2] * features.shape[3] < 2:
        return None
    leaf = Tensor(features, requires_grad=True)
    scores = model.forward_head(leaf)
    # in evaluation mode no image's score depends on another image: the sum serves them all
    total = scores[np.arange(len(chosen)), chosen].sum()
    (gradient,) = autograd.grad(total, leaf)
    assert gradient is not None  # every head looks at its features
    alpha = gradient.numpy().mean(axis=(2, 3), keepdims=True)  # (n, K, 1, 1)
    maps: np.ndarray = np.maximum((alpha * features).sum(axis=1), 0)
    highest = maps.max(axis=(1, 2), keepdims=True)
    return maps / np.where(highest > 0, highest, 1)
