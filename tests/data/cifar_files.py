"""Writes CIFAR archives as the official ones are, with fewer rows."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path

import numpy as np

ROWS = 6  # images in each file, instead of 10,000 (CIFAR-100: 5 times as many for training)


def python2_text(text: bytes) -> bytes:
    return (
        b"U" + bytes([len(text)]) + text
        if len(text) < 256
        else b"T" + struct.pack("<i", len(text)) + text
    )


def python2_list(items: list[bytes]) -> bytes:
    return b"](" + b"".join(items) + b"e"


def python2_array(array: np.ndarray) -> bytes:
    """An array as Python 2's protocol 2 wrote it."""
    rows, columns = array.shape
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        b"(K\x01(" + b"J" + struct.pack("<i", rows) + b"J" + struct.pack("<i", columns) + b"t"
        b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89" + python2_text(array.tobytes()) + b"tb"
    )


def python2_pickle(entries: dict[bytes, bytes]) -> bytes:
    """A protocol 2 pickle of a dictionary whose values are pickled already."""
    body = b"".join(python2_text(key) + value for key, value in entries.items())
    return b"\x80\x02}(" + body + b"u."


def numbers(labels: np.ndarray) -> bytes:
    return python2_list([b"K" + bytes([int(n)]) for n in labels])


def names(count: int) -> list[str]:
    return [f"class_{i}" for i in range(count)]


def rows(seed: int, count: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 3072), dtype=np.uint8), rng.integers(0, classes, count)


def batches(kind: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """File name -> rows and labels; kind 10 or 100."""
    if kind == 10:
        files = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
        return {name: rows(i, ROWS, 10) for i, name in enumerate(files)}
    return {"train": rows(0, 5 * ROWS, 100), "test": rows(1, ROWS, 100)}


def cifar_files(kind: int, binary: bool) -> dict[str, bytes]:
    """Every file of an archive by its path in it."""
    folder = f"cifar-{kind}-" + {(10, 0): "batches-py", (10, 1): "batches-bin"}.get(
        (kind, int(binary)), "binary" if binary else "python"
    )
    label_key, names_key = (
        (b"labels", b"label_names") if kind == 10 else (b"fine_labels", b"fine_label_names")
    )
    meta = {10: "batches.meta", 100: "meta"}[kind]
    out: dict[str, bytes] = {}
    for name, (pixels, labels) in batches(kind).items():
        if binary:
            columns = [labels[:, None].astype(np.uint8), pixels]
            if kind == 100:  # the coarse label comes first
                columns.insert(0, np.full((len(labels), 1), 19, dtype=np.uint8))
            out[f"{folder}/{name}.bin"] = np.concatenate(columns, axis=1).tobytes()
        else:
            out[f"{folder}/{name}"] = python2_pickle(
                {
                    b"batch_label": python2_text(b"a batch"),
                    b"data": python2_array(pixels),
                    label_key: numbers(labels),
                    b"coarse_labels": numbers(labels // 5),
                    b"filenames": python2_list([python2_text(b"x.png")] * len(labels)),
                }
            )
    listed = names(kind)
    if binary:
        meta = {10: "batches.meta.txt", 100: "fine_label_names.txt"}[kind]
        out[f"{folder}/{meta}"] = ("\n".join(listed) + "\n\n").encode()
    else:
        texts = [python2_text(name.encode()) for name in listed]
        out[f"{folder}/{meta}"] = python2_pickle({names_key: python2_list(texts)})
    return out


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path
