"""`ImageFolder`: images sorted into one folder for each class, on disk or in a zip archive."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinygrad_ft.data.cache import CachedImages, Chunk, ImageCache
from tinygrad_ft.data.datasets import check_indices
from tinygrad_ft.data.decode import DECODER_VERSION, Mode, decode_image
from tinygrad_ft.data.errors import DataError, shown
from tinygrad_ft.data.layout import Listing, list_images
from tinygrad_ft.data.sources import ZipSource, open_source

Progress = Callable[[int, int], None]
_CHUNK = 128  # files decoded by one task
#: decoded images that take more bytes are not kept on disk unless asked for. A fixed number: by the
#: disk's free space the same data would be read this way today and that way tomorrow
CACHE_LIMIT = 16 << 30
#: nor are more files than this decoded before the first one is used: it takes a minute for 100,000
CACHE_FILES = 250_000


class ImageFolder:
    """Labelled images in folders named after their class.

        root/train/CLASS/*.jpg   root/val/CLASS/*.jpg   root/test/CLASS/*.jpg     split="train", ...
        root/CLASS/*.jpg                                                          split=None

    `root` is a folder or a zip archive of that layout, with or without one folder around it. Images
    may lie at any depth below their class folder. Classes are sorted by name (Unicode code points);
    all splits use the classes of "train", or those given as `classes`.

    size         every image becomes size x size: the largest centred square, resized. None keeps
                 the files' own size, which must then be one and the same
    mode         "RGB" (three channels) or "L" (one, grey)
    cache        True: decode all images now, once, into a memory-mapped array that later openings
                 of the unchanged source use at once. False: decode when asked, in every epoch
                 again; a million files open in seconds, without one of them being read. None: True
                 up to CACHE_FILES images (250,000) that take CACHE_LIMIT (16 GiB) decoded, else
                 False
    cache_dir    instead of TINYGRAD_FT_CACHE_DIR or the user's cache folder
    skip_bad     leave out files that cannot be decoded, and list them in `bad_files`; otherwise the
                 first one raises DataError. The others must be known beforehand, so this goes
                 with the cache, however large
    num_workers  decoding threads, by default one for each core, at most 8
    progress     called as progress(done, total) while files are decoded

    `names` are the files' names within `root`. Raises DataError naming the path.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str | None = None,
        *,
        size: int | None = None,
        mode: Mode = "RGB",
        classes: Sequence[str] | None = None,
        cache: bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        skip_bad: bool = False,
        num_workers: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        if size is not None and size < 1:
            raise ValueError(f"ImageFolder: size must be at least 1, got {size}")
        if mode not in ("RGB", "L"):
            raise ValueError(f"ImageFolder: mode must be 'RGB' or 'L', got {mode!r}")
        if skip_bad and cache is False:
            raise ValueError("ImageFolder: skip_bad needs the cache, not cache=False")
        self.root, self.split, self.size, self.mode = Path(root), split, size, mode
        self._workers = num_workers or min(os.cpu_count() or 1, 8)
        self._source = open_source(self.root)
        self._images: np.ndarray | None = None
        self._sizes = np.zeros(0, np.int64)
        self._fingerprint = ""
        self.bad_files: list[tuple[str, str]] = []
        listing = None
        if cache is not False:
            asked = bool(cache or skip_bad)
            found, listing = self._cached(classes, cache_dir, skip_bad, asked, progress)
            if found is not None:
                self._images, self.targets = found.images, found.targets
                self.classes, self.names = found.classes, found.names
                self.bad_files = found.bad_files
                self._fingerprint = found.fingerprint
                return
        listing = listing or list_images(self._source, split, classes)
        self.classes, self.names = listing.classes, listing.names
        self.targets, self._sizes = listing.targets, listing.sizes

    def _cached(
        self,
        classes: Sequence[str] | None,
        cache_dir: str | os.PathLike[str] | None,
        skip_bad: bool,
        asked: bool,
        progress: Progress | None,
    ) -> tuple[CachedImages | None, Listing | None]:
        """The images out of the cache, made if need be; None, unless `asked`, for too many."""
        key = repr(
            (
                str(self.root.resolve()),
                self.split,
                self.size,
                self.mode,
                classes and list(classes),
                skip_bad,
                DECODER_VERSION,
            )
        )
        with self._source:
            if isinstance(self._source, ZipSource):
                listing = None  # reading the directory of a large archive can wait until it must
                cache = ImageCache(cache_dir, key, self._source.state())
            else:
                listing = list_images(self._source, self.split, classes)
                cache = ImageCache(cache_dir, key, listing.state)
            if (found := cache.load()) is not None:
                return found, listing
            listing = listing or list_images(self._source, self.split, classes)
            if not asked and self._too_many(listing):
                return None, listing
            decoded = self._decode_all(listing, skip_bad, progress)
            return cache.build(len(listing.names), listing.classes, decoded), listing

    def _too_many(self, listing: Listing) -> bool:
        """Whether decoding all of them first would take too long, or too much room."""
        return len(listing.names) > CACHE_FILES or self._decoded_bytes(listing) > CACHE_LIMIT

    def _decoded_bytes(self, listing: Listing) -> int:
        """What all images take; where they keep their own size, the first one speaks for all."""
        channels = 3 if self.mode == "RGB" else 1
        if self.size is not None:
            return len(listing.names) * self.size**2 * channels
        try:
            return len(listing.names) * self._decode(listing.names[0]).size
        except DataError:
            return 0  # then decoding ends at once, and names the file

    def _decode_all(
        self,
        listing: Listing,
        skip_bad: bool,
        progress: Progress | None,
    ) -> Generator[Chunk, None, None]:
        """Decode in several threads; chunks come in the order of the listing."""
        workers = self._workers
        total = len(listing.names)
        counts = np.zeros(len(listing.classes), dtype=np.int64)
        first: tuple[str, tuple[int, ...]] | None = None
        done = 0
        pending: deque[Future[list[np.ndarray | DataError]]] = deque()
        starts = iter(range(0, total, _CHUNK))
        with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
            try:
                while True:
                    # a bounded number of chunks in flight keeps the memory bounded
                    while len(pending) < 2 * workers and (start := next(starts, None)) is not None:
                        names = listing.names[start : start + _CHUNK]
                        pending.append(pool.submit(self._decode_some, names))
                    if not pending:
                        break
                    results = pending.popleft().result()
                    names = listing.names[done : done + len(results)]
                    labels = listing.targets[done : done + len(results)]
                    good, bad_files = [], []
                    for i, result in enumerate(results):
                        if isinstance(result, DataError):
                            if not skip_bad:
                                raise DataError(
                                    f"{result}. Remove the file, or leave out bad files with "
                                    "skip_bad=True (--skip-bad)"
                                ) from result
                            bad_files.append((names[i], str(result)))
                            continue
                        first = first or (names[i], result.shape)
                        self._check_shape(names[i], result.shape, first)
                        good.append(i)
                    images = [r for r in results if isinstance(r, np.ndarray)]
                    counts += np.bincount(labels[good], minlength=len(counts))
                    done += len(results)
                    yield Chunk(
                        np.stack(images) if images else np.zeros((0, 0, 0, 0), dtype=np.uint8),
                        labels[good],
                        [names[i] for i in good],
                        bad_files,
                    )
                    if progress is not None:
                        progress(done, total)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        self._check_classes_left(listing, counts)

    def _decode_some(self, names: list[str]) -> list[np.ndarray | DataError]:
        results: list[np.ndarray | DataError] = []
        for name in names:
            try:
                results.append(self._decode(name))
            except DataError as error:
                results.append(error)
        return results

    def _decode(self, name: str) -> np.ndarray:
        data = self._source.read(name)
        return decode_image(data, f"{self.root}/{name}", self.mode, self.size)

    def _check_shape(
        self, name: str, shape: tuple[int, ...], first: tuple[str, tuple[int, ...]]
    ) -> None:
        if shape != first[1]:
            raise DataError(
                f"{shown(self.root)} has images of different sizes: {shown(first[0])} is "
                f"{first[1][1]}x{first[1][0]}, {shown(name)} is {shape[1]}x{shape[0]} "
                "(width x height); choose one with size= (--size)"
            )

    def _check_classes_left(self, listing: Listing, counts: np.ndarray) -> None:
        had = np.bincount(listing.targets, minlength=len(counts))
        for name, before, after in zip(listing.classes, had, counts, strict=True):
            if before and not after:
                raise DataError(
                    f"none of the {before} images of class {shown(name)} in {shown(self.root)} "
                    "can be decoded"
                )

    @property
    def cached(self) -> bool:
        """Whether all images have been decoded; False: each one is, whenever it is asked for."""
        return self._images is not None

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all pixels, labels and class names; with cache=False, of the file names and
        sizes in place of the pixels.
        """
        if self._fingerprint:
            return self._fingerprint
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((self.classes, self.size, self.mode)).encode())
        digest.update(self.targets.astype("<i8").tobytes())
        for name, size in zip(self.names, self._sizes, strict=True):
            digest.update(f"{name}\0{size}\0".encode("utf-8", "backslashreplace"))
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        i = int(check_indices([index], len(self))[0])
        image = self._decode(self.names[i]) if self._images is None else np.array(self._images[i])
        return image, int(self.targets[i])

    def get_batch(self, indices: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Samples `indices`: (N,H,W,C) uint8, (N,) int64."""
        index = check_indices(indices, len(self))
        if self._images is not None:
            return self._images[index], self.targets[index]
        names = [self.names[i] for i in index]
        with ThreadPoolExecutor(self._workers, thread_name_prefix="decode") as pool:
            images = list(pool.map(self._decode, names))
        for name, image in zip(names, images, strict=True):
            self._check_shape(name, image.shape, (names[0], images[0].shape))
        return np.stack(images), self.targets[index]
