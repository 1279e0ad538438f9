"""Every kind of image that real folders hold: handled, or named and counted, whoever reads it."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_files import Make, encoded, picture, write_folder
from PIL import Image

from tinygrad_ft.data import DataError, ImageFolder

RED, BLUE = (200, 10, 10), (0, 0, 250)
GOOD = encoded(picture(1, 12, 12))


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def animated(kind: str) -> bytes:
    """A red picture, then a blue one."""
    first, second = Image.new("RGB", (12, 12), RED), Image.new("RGB", (12, 12), BLUE)
    lossless = {"lossless": True} if kind == "WEBP" else {}
    return saved(first, kind, save_all=True, append_images=[second], duration=40, **lossless)


def rotated() -> bytes:
    """Red above blue when it is upright; stored lying on its side."""
    upright = np.full((12, 12, 3), RED, np.uint8)
    upright[6:] = BLUE
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    return encoded(np.rot90(upright), "PNG", exif=exif)


def palette_with_alpha() -> bytes:
    image = Image.new("P", (12, 12), 1)
    image.putpalette([0, 0, 0, *RED])
    image.putpixel((0, 0), 0)
    return saved(image, "PNG", transparency=bytes([0, 255]))


def chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0"))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def wide() -> bytes:
    return encoded(np.full((4, 50_000, 3), RED, np.uint8))


# file name, content, the colour at the top left (None: any)
HANDLED: dict[str, tuple[str, bytes, tuple[int, int, int] | None]] = {
    "CMYK": ("x.jpg", saved(Image.new("CMYK", (12, 12), (0, 255, 255, 0)), "JPEG"), (254, 0, 0)),
    "grey": ("x.png", encoded(np.full((12, 12), 90, np.uint8)), (90, 90, 90)),
    "grey with alpha": ("x.png", saved(Image.new("LA", (12, 12), (9, 0)), "PNG"), (255,) * 3),
    "16 bits": ("x.png", encoded(np.full((12, 12), 0x5AFF, np.uint16)), (0x5A,) * 3),
    "one bit": ("x.png", saved(Image.new("1", (12, 12), 1), "PNG"), (255, 255, 255)),
    "palette with alpha": ("x.png", palette_with_alpha(), None),
    "animated GIF": ("x.gif", animated("GIF"), RED),
    "animated WebP": ("x.webp", animated("WEBP"), RED),
    "animated PNG": ("x.png", animated("PNG"), RED),
    "turned by EXIF": ("x.png", rotated(), RED),
    "50,000 pixels wide": ("x.png", wide(), RED),
    "a PNG called jpg": ("x.jpg", encoded(np.full((12, 12, 3), RED, np.uint8)), RED),
    "a JPEG called png": ("x.PNG", encoded(np.full((12, 12, 3), 77, np.uint8), "JPEG"), (77,) * 3),
}  # fmt: skip

# file name, content, what is said of it
NAMED: dict[str, tuple[str, bytes, str]] = {
    "zero bytes": ("x.jpg", b"", "is empty"),
    "truncated JPEG": ("x.jpg", encoded(picture(6, 64, 64), "JPEG")[:1500], "truncated"),
    "truncated PNG": ("x.png", encoded(picture(6, 64, 64))[:2000], "cannot be decoded"),
    "a text": ("x.jpg", b"404 not found", "is not an image in a known format"),
    "a web page": ("x.jpg", b"<!doctype html><html></html>", "is not an image in a known format"),
    "a video": ("x.gif", b"\0\0\0\x18ftypmp42\0\0\0\0", "is not an image in a known format"),
    "a bomb": ("x.png", png_claiming(50_000, 50_000), "bomb"),
    "no pixels": ("x.png", png_claiming(0, 7), "cannot be decoded|not an image"),
    "floating point": (
        "x.tif", saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "no known range",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", HANDLED)
def test_handled(make: Make, kind: str) -> None:
    name, content, colour = HANDLED[kind]
    found = ImageFolder(make({f"a/{name}": content, "b/1.png": GOOD}), size=12)
    image, label = found[0]
    assert (image.shape, label, found.bad_files) == ((12, 12, 3), 0, [])
    if colour is not None:
        assert np.abs(image[1, 1].astype(int) - colour).max() <= 2
    if kind == "turned by EXIF":
        assert np.array_equal(image[10, 1], BLUE)
        assert np.array_equal(image[1, 10], RED)
    if kind == "palette with alpha":
        assert image[0, 0].tolist() == [255, 255, 255]
        assert image[5, 5].tolist() == list(RED)


@pytest.mark.parametrize("kind", NAMED)
def test_named_or_counted(make: Make, kind: str) -> None:
    name, content, words = NAMED[kind]
    root = make({f"a/{name}": content, "a/good.png": GOOD, "b/1.png": GOOD})
    with pytest.raises(DataError, match=words) as caught:
        ImageFolder(root, size=12)
    assert f"a/{name}'" in str(caught.value)
    assert "--skip-bad" in str(caught.value)
    found = ImageFolder(root, size=12, skip_bad=True)
    assert [bad for bad, _ in found.bad_files] == [f"a/{name}"]
    assert found.names == ["a/good.png", "b/1.png"]
    read_late = ImageFolder(root, size=12, cache=False)
    with pytest.raises(DataError, match=words):
        read_late.get_batch(range(3))


def test_all_of_them_at_once_are_counted(make: Make) -> None:
    files: dict[str, bytes | None] = {}
    for i, (name, content, _) in enumerate([*HANDLED.values(), *NAMED.values()]):
        files[f"{'ab'[i % 2]}/{i:02}{name}"] = content
    found = ImageFolder(make(files), size=12, skip_bad=True)
    assert len(found) == len(HANDLED)
    assert len(found.bad_files) == len(NAMED)


def link(path: Path, target: Path, folder: bool = False) -> None:
    try:
        path.symlink_to(target, target_is_directory=folder)
    except OSError:
        pytest.skip("no symbolic links here")


@pytest.mark.parametrize("kind", ["to nothing", "to itself"])
def test_a_broken_link_is_not_just_missing(tmp_path: Path, kind: str) -> None:
    root = write_folder(tmp_path / "d", {"a/1.png": GOOD, "b/1.png": GOOD})
    broken = root / "a" / "2.png"
    link(broken, broken if kind == "to itself" else root / "gone.png")
    with pytest.raises(DataError, match=r"a/2\.png' cannot be read"):
        ImageFolder(root)
    found = ImageFolder(root, skip_bad=True)
    assert [name for name, _ in found.bad_files] == ["a/2.png"]
    assert len(found) == 2


def test_links_to_images_and_class_folders_are_followed(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "d", {"a/1.png": GOOD, "b/1.png": GOOD})
    elsewhere = write_folder(tmp_path / "elsewhere", {"2.png": GOOD, "3.png": GOOD})
    link(root / "a" / "2.png", elsewhere / "2.png")
    link(root / "c", elsewhere, folder=True)
    found = ImageFolder(root)
    assert found.classes == ("a", "b", "c")
    assert found.targets.tolist() == [0, 0, 1, 2, 2]


def test_a_folder_called_like_an_image_is_a_folder(make: Make) -> None:
    root = make({"a/x.jpg/1.png": GOOD, "b.png/1.png": GOOD, "b.png/2.png": GOOD})
    found = ImageFolder(root)
    assert found.classes == ("a", "b.png")
    assert found.names == ["a/x.jpg/1.png", "b.png/1.png", "b.png/2.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_named_and_not_waited_for(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "d", {"a/1.png": GOOD, "b/1.png": GOOD})
    os.mkfifo(root / "a" / "2.png")
    with pytest.raises(DataError, match=r"a/2\.png' is a pipe or a device, not a file"):
        ImageFolder(root)
    assert len(ImageFolder(root, skip_bad=True).bad_files) == 1


def test_files_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated: the administrator, and Windows, may read everything."""
    root = write_folder(tmp_path / "d", {"a/1.png": GOOD, "a/2.png": GOOD, "b/1.png": GOOD})
    plain = Path.read_bytes

    def refuse(self: Path) -> bytes:
        if self.name == "2.png":
            raise PermissionError(13, "Permission denied")
        return plain(self)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"a/2\.png' cannot be read: Permission denied"):
        ImageFolder(root)
    assert [n for n, _ in ImageFolder(root, skip_bad=True).bad_files] == ["a/2.png"]


def test_a_class_folder_that_may_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folder(tmp_path / "d", {"a/1.png": GOOD, "b/1.png": GOOD})
    plain = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return plain(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"b' cannot be read: Permission denied"):
        ImageFolder(root)
