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
#: other names that split folders are found under; upper and lower case are the same
_ALIASES = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}


@dataclass(frozen=True)
class Listing:
    """The image files of one split.

    names, targets   of the files, and their labels
    sizes            (n,) int64 bytes
    state            a text that changes when a file is added, removed, renamed or rewritten
    """

    classes: tuple[str, ...]
    names: list[str]
    targets: np.ndarray
    sizes: np.ndarray
    state: str


def is_image(name: str) -> bool:
    """Whether a file is an image by its name."""
    return PurePosixPath(name).suffix.lower() in EXTENSIONS


def _split_name(folder: str) -> str | None:
    """The split that a folder of this name is: train for "Training"; None if it is none."""
    plain = folder.casefold()
    name = _ALIASES.get(plain, plain)
    return name if name in SPLITS else None


def _find_root(source: Source) -> str:
    """The folder that holds the splits or classes: archives often wrap everything in one folder."""
    root = ""
    while True:
        folders, files = source.children(root)
        if len(folders) != 1 or _split_name(folders[0]) or any(map(is_image, files)):
            return root
        inside = f"{root}/{folders[0]}" if root else folders[0]
        if not any(is_folder for _, is_folder in source.scan(inside)):
            return root
        root = inside


def _holds_classes(source: Source, folder: str) -> bool:
    """Whether there are folders in it, and no image beside them. Looks no further than it must."""
    folders = False
    for name, is_folder in source.scan(folder):
        if is_folder:
            folders = True
        elif is_image(name):
            return False
    return folders


def _find_splits(source: Source, root: str) -> dict[str, str]:
    """Split name -> folder; empty for a layout without splits.

    A folder named "train" with images directly in it is a class (of railways), not a split.
    """
    found: dict[str, str] = {}
    for name in source.children(root)[0]:
        inside = f"{root}/{name}" if root else name
        if not _holds_classes(source, inside):
            continue
        split = _split_name(name) or name
        if split in found:
            raise DataError(
                f"{shown(source.path)} has two folders for the split {shown(split)}: "
                f"{shown(found[split])} and {shown(inside)}"
            )
        found[split] = inside
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
        raise DataError(f"{place} has {unknown_class(unknown[0], names, classes is not None)}")
    return _list_classes(source, place, names, folders)


def unknown_class(name: str, known: Sequence[str], given: bool) -> str:
    """What to say of a class that is not among the known ones, those of train or those given."""
    origin = "the classes asked for" if given else "those of the training split"
    some = ", ".join(shown(k) for k in known[:5]) + (", ..." if len(known) > 5 else "")
    return f"the class {shown(name)}, which is not among {origin} ({some})"


def _list_classes(
    source: Source, place: str, classes: tuple[str, ...], folders: dict[str, list[str]]
) -> Listing:
    names: list[str] = []
    sizes: list[int] = []
    counts = []
    digest = hashlib.blake2b(digest_size=16)
    for name in classes:
        inside = folders.get(name, [])
        found = sorted(item for at in inside for item in source.walk(at) if is_image(item[0]))
        if inside and not found:
            known = " ".join(sorted(EXTENSIONS))
            raise DataError(f"{place} has no images in class folder {shown(name)} ({known})")
        for file, state in found:
            digest.update(f"{file}\0{state}\0".encode("utf-8", "backslashreplace"))
            names.append(file)
            sizes.append(int(state.partition(",")[0]))
        counts.append(len(found))
    return Listing(
        classes,
        names,
        np.repeat(np.arange(len(classes)), counts),
        np.array(sizes, dtype=np.int64),
        digest.hexdigest() + repr(classes),
    )
