"""Mixup and CutMix: training images and labels mixed with those of another image of the batch."""

from __future__ import annotations

import numpy as np

from tinygrad_ft.data.randomness import Draw, sample_uniform

# streams of random numbers of its own, beside those in `randomness`
_STREAM = 0xFFFF_0010
_KIND, _SHARE, _ROW, _COLUMN = range(_STREAM, _STREAM + 4)


class Mix:
    """Mixes image i of a batch of n with image n - 1 - i, as timm's `Mixup(mode="elem")` does.

        share l ~ Beta(a, a)
        mixup:   image = l x_i + (1 - l) x_j               (Zhang et al. 2018, arXiv 1710.09412)
        cutmix:  a box of the share 1 - l of the area around a random pixel is x_j's; where it
                 goes over the edge it is cut off and l is that of the rest
                                                           (Yun et al. 2019, arXiv 1905.04899)
        target = l onehot(y_i) + (1 - l) onehot(y_j)

    `mixup` and `cutmix` are the two a, 0 turning the one off; with both, each image draws one of
    the two with equal chances. The draws of an image are a function of (seed, epoch, sample index).
    """

    def __init__(self, classes: int, mixup: float = 0.0, cutmix: float = 0.0) -> None:
        if classes < 1 or mixup < 0 or cutmix < 0 or mixup == cutmix == 0:
            raise ValueError(
                f"Mix needs classes and a positive mixup or cutmix, got {classes}, {mixup} and "
                f"{cutmix}"
            )
        self.classes, self.mixup, self.cutmix = classes, mixup, cutmix

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, draw: Draw
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images (n,H,W,C) float32 and labels (n,) to new images and targets (n, classes) float32.

        ValueError for other images.
        """
        if images.ndim != 4 or images.dtype != np.float32:
            raise ValueError(
                f"Mix takes float32 images of shape (N, H, W, C), got {images.dtype} of "
                f"{images.shape}"
            )
        cut = self._uniform(draw, _KIND) < 0.5 if self.mixup and self.cutmix else self.cutmix > 0
        cut = np.broadcast_to(cut, len(images))
        share = np.where(cut, self._share(draw, self.cutmix), self._share(draw, self.mixup))
        inside = self._boxes(draw, share, images.shape[1], images.shape[2]) & cut[:, None, None]
        share = np.where(cut, 1 - inside.mean(axis=(1, 2)), share)
        partner = images[::-1]
        blend = np.where(cut, 1.0, share).astype(np.float32)[:, None, None, None]
        mixed = blend * images + (1 - blend) * partner
        mixed[inside] = partner[inside]
        own = np.eye(self.classes, dtype=np.float32)[labels]
        weight = share.astype(np.float32)[:, None]
        return mixed, weight * own + (1 - weight) * own[::-1]

    def _uniform(self, draw: Draw, stream: int) -> np.ndarray:
        return sample_uniform(draw.seed, draw.epoch, draw.indices, stream)

    def _share(self, draw: Draw, alpha: float) -> np.ndarray:
        """Beta(alpha, alpha) by the inverse of its distribution function: one number, one draw."""
        if not alpha:
            return np.ones(len(draw.indices))
        from scipy.special import betaincinv  # here: it takes a third of a second

        return np.asarray(betaincinv(alpha, alpha, self._uniform(draw, _SHARE)))

    def _boxes(self, draw: Draw, share: np.ndarray, height: int, width: int) -> np.ndarray:
        """(n,H,W): which pixels lie in the box."""
        side = np.sqrt(1 - share)
        inside = []
        for stream, length in ((_ROW, height), (_COLUMN, width)):
            half = (length * side).astype(np.int64)[:, None] // 2
            centre = (self._uniform(draw, stream) * length).astype(np.int64)[:, None]
            at = np.arange(length)
            inside.append((at >= centre - half) & (at < centre + half))
        return np.asarray(inside[0][:, :, None] & inside[1][:, None, :])

    def __repr__(self) -> str:
        return f"Mix({self.classes}, mixup={self.mixup}, cutmix={self.cutmix})"
