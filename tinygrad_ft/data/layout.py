"""Which files of a folder or zip archive are images, and of which split and class."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from tinygrad_ft.data.decode import EXTENSIONS
from tinygrad_ft.data.errors import DataError, shown
from tinygrad_ft.data.sources import Source, open_source

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Listing:
    """The image files of one split: names, labels, and the state of each file."""

    classes: tuple[str, ...]
    names: list[str]
    targets: np.ndarray
    states: list[str]

    def state(self) -> str:
        """A text that changes when a file is added, removed, renamed or rewritten."""
        digest = hashlib.blake2b(digest_size=16)
        for name, state in zip(self.names, self.states, strict=True):
            digest.update(f"{name}\0{state}\0".encode("utf-8", "backslashreplace"))
        return digest.hexdigest() + repr(self.classes)


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in EXTENSIONS


def _find_root(source: Source) -> str:
    """The folder that holds the splits or classes: archives often wrap everything in one folder."""
    root = ""
    while True:
        folders, files = source.children(root)
        if len(folders) != 1 or folders[0] in SPLITS or any(map(_is_image, files)):
            return root
        inside = f"{root}/{folders[0]}" if root else folders[0]
        if not source.children(inside)[0]:
            return root
        root = inside


def _find_splits(source: Source, root: str) -> dict[str, str]:
    """Split name -> folder; empty for a layout without splits.

    A folder named "train" with images directly in it is a class (of railways), not a split.
    """
    folders = source.children(root)[0]
    found = {}
    for name in folders:
        inside = f"{root}/{name}" if root else name
        inner_folders, files = source.children(inside)
        if inner_folders and not any(map(_is_image, files)):
            found[name] = inside
    return found if any(name in SPLITS for name in found) else {}


def folder_splits(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The splits of an image folder or zip, () when its classes lie at the top."""
    with open_source(path) as source:
        found = _find_splits(source, _find_root(source))
    return tuple(s for s in SPLITS if s in found) + tuple(sorted(set(found) - set(SPLITS)))


def list_images(source: Source, split: str | None, classes: Sequence[str] | None) -> Listing:
    """Find the image files of a split without opening one. See `ImageFolder` for the rules."""
    where = shown(source.path)
    root = _find_root(source)
    splits = _find_splits(source, root)
    folder = root
    if split is not None:
        if split not in splits:
            have = f"it has {', '.join(splits)}" if splits else "its classes lie at the top"
            raise DataError(f"{where} has no split {shown(split)}: {have}")
        folder = splits[split]
    elif splits:
        raise DataError(f"{where} has the splits {', '.join(splits)}: choose one")
    # class folders by class name; two spellings of one Unicode name are one class
    folders: dict[str, list[str]] = {}
    for name in source.children(folder)[0]:
        inside = f"{folder}/{name}" if folder else name
        folders.setdefault(unicodedata.normalize("NFC", name), []).append(inside)
    place = f"{where}, split {shown(split)}," if split is not None else where
    if not folders:
        raise DataError(
            f"{place} has no class folders; images are expected as CLASS/*.jpg or train/CLASS/*.jpg"
        )
    if classes is None:
        # the labels of every split are those of the training split
        base = splits.get("train", folder) if split is not None else folder
        known = {unicodedata.normalize("NFC", name) for name in source.children(base)[0]}
        names = tuple(sorted(known))
    else:
        names = tuple(unicodedata.normalize("NFC", name) for name in classes)
    if unknown := sorted(set(folders) - set(names)):
        origin = "the training split" if classes is None else "the given classes"
        raise DataError(f"{place} has the class {shown(unknown[0])}, which {origin} lack")
    return _list_classes(source, place, names, folders)


def _list_classes(
    source: Source, place: str, classes: tuple[str, ...], folders: dict[str, list[str]]
) -> Listing:
    names: list[str] = []
    states: list[str] = []
    counts = []
    for name in classes:
        inside = folders.get(name, [])
        found = sorted(item for at in inside for item in source.walk(at) if _is_image(item[0]))
        if inside and not found:
            known = " ".join(sorted(EXTENSIONS))
            raise DataError(f"{place} has no images in class folder {shown(name)} ({known})")
        names += [item[0] for item in found]
        states += [item[1] for item in found]
        counts.append(len(found))
    return Listing(classes, names, np.repeat(np.arange(len(classes)), counts), states)
