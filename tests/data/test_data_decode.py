from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import encoded, picture
from PIL import Image

from tinygrad_ft.data import DataError, decode_image


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF"])
def test_lossless_formats_come_back_exactly(kind: str) -> None:
    pixels = picture(0, 5, 7)
    np.testing.assert_array_equal(decode_image(encoded(pixels, kind), "a"), pixels)


def test_webp_and_jpeg_are_read() -> None:
    pixels = np.full((16, 16, 3), (200, 40, 90), dtype=np.uint8)
    assert (
        np.abs(decode_image(encoded(pixels, "JPEG", quality=95), "a").astype(int) - pixels).max()
        < 6
    )
    np.testing.assert_array_equal(decode_image(encoded(pixels, "WEBP", lossless=True), "a"), pixels)


def test_grey_mode_has_one_channel_and_grey_files_become_rgb() -> None:
    grey = picture(1)[..., 0]
    data = encoded(grey)
    np.testing.assert_array_equal(decode_image(data, "a", "L"), grey[..., None])
    np.testing.assert_array_equal(decode_image(data, "a"), np.repeat(grey[..., None], 3, axis=2))


# EXIF: what has to be done to the stored pixels so that the picture stands upright
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation(orientation: int) -> None:
    pixels = picture(2, 4, 6)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(pixels, "PNG", exif=exif)
    np.testing.assert_array_equal(decode_image(data, "a"), UPRIGHT[orientation](pixels))


def test_exif_orientation_outside_its_range_changes_nothing() -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    pixels = picture(2)
    np.testing.assert_array_equal(decode_image(encoded(pixels, "PNG", exif=exif), "a"), pixels)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_unreadable_exif_does_not_spoil_a_picture() -> None:
    pixels = np.full((8, 8, 3), 120, dtype=np.uint8)
    data = encoded(pixels, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    np.testing.assert_array_equal(decode_image(data, "a").shape, (8, 8, 3))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_keep_the_high_byte(kind: str) -> None:
    values = np.array([[0, 255, 256], [4660, 65280, 65535]], dtype=np.uint16)
    image = Image.fromarray(values)
    data = saved(image, kind)
    np.testing.assert_array_equal(decode_image(data, "a", "L")[..., 0], values >> 8)
    assert decode_image(data, "a").shape == (2, 3, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_without_a_known_range_are_refused(dtype: type) -> None:
    image = Image.fromarray(np.full((4, 4), 100_000, dtype=dtype))
    with pytest.raises(DataError, match=r"'x\.tif' cannot be decoded: .*no known range"):
        decode_image(saved(image, "TIFF"), "x.tif")


def test_transparency_is_laid_on_white() -> None:
    rgba = np.zeros((1, 3, 4), dtype=np.uint8)
    rgba[0, :, :3] = (10, 20, 30)
    rgba[0, :, 3] = (255, 0, 128)
    out = decode_image(encoded(rgba), "a")
    np.testing.assert_array_equal(out[0, 0], (10, 20, 30))
    np.testing.assert_array_equal(out[0, 1], (255, 255, 255))
    expected = np.array((10, 20, 30)) * 128 / 255 + 255 * 127 / 255
    assert np.abs(out[0, 2] - expected).max() <= 1


def test_palette_with_alpha_and_animation() -> None:
    first = Image.new("P", (4, 4), 1)
    first.putpalette([0, 0, 0, 200, 10, 10, 0, 0, 250])
    first.putpixel((0, 0), 0)
    second = Image.new("P", (4, 4), 2)
    second.putpalette([0, 0, 0, 200, 10, 10, 0, 0, 250])
    out = decode_image(
        saved(first, "GIF", save_all=True, append_images=[second], transparency=0), "a.gif"
    )
    np.testing.assert_array_equal(out[0, 0], (255, 255, 255))
    np.testing.assert_array_equal(out[3, 3], (200, 10, 10))
    partly = decode_image(saved(first, "PNG", transparency=bytes([0, 255, 255])), "a.png")
    np.testing.assert_array_equal(partly, out)


def test_cmyk_jpeg() -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # red in print
    out = decode_image(saved(image, "JPEG"), "a.jpg")
    assert out[8, 8, 0] > 240
    assert out[8, 8, 1] < 15


def test_one_bit_images() -> None:
    out = decode_image(saved(Image.new("1", (3, 2), 1), "PNG"), "a.png")
    np.testing.assert_array_equal(out, np.full((2, 3, 3), 255))


def test_size_is_resize_of_the_shorter_side_then_centre_crop() -> None:
    image = Image.fromarray(picture(3, 40, 80))
    expected = image.resize((40, 20), Image.Resampling.BILINEAR).crop((10, 0, 30, 20))
    np.testing.assert_array_equal(decode_image(saved(image, "PNG"), "a", size=20), expected)


def test_an_image_of_the_right_size_is_not_resampled() -> None:
    pixels = picture(4, 9, 9)
    np.testing.assert_array_equal(decode_image(encoded(pixels), "a", size=9), pixels)


def test_a_large_jpeg_decoded_small_looks_the_same() -> None:
    smooth = np.asarray(Image.fromarray(picture(5, 8, 8)).resize((1024, 1024)))
    fast = decode_image(encoded(smooth, "JPEG", quality=95), "a", size=32)
    slow = decode_image(encoded(smooth, "PNG"), "a", size=32)
    assert np.abs(fast.astype(int) - slow).max() < 12


def test_a_very_wide_image_becomes_small_without_growing_first() -> None:
    strip = np.zeros((4, 50_000, 3), dtype=np.uint8)
    strip[:, 24_998:25_002] = 255
    out = decode_image(encoded(strip), "a", size=64)
    assert out.shape == (64, 64, 3)
    assert out[32, 32].min() > 250


def test_decompression_bomb() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))
    with pytest.raises(DataError, match=r"'bomb\.png' cannot be decoded: .*bomb"):
        decode_image(bomb + chunk(b"IEND", b""), "bomb.png")


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", r"'cat/1\.jpg' is empty"),
        (b"hello, I am a text", r"'cat/1\.jpg' is not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", r"'cat/1\.jpg' is not an image"),
        (
            encoded(picture(6, 64, 64), "JPEG")[:1500],
            r"'cat/1\.jpg' cannot be decoded: .*truncated",
        ),
    ],
)
def test_bad_files_are_named(data: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        decode_image(data, "cat/1.jpg")


SAMPLES = [
    encoded(picture(7, 20, 20), "JPEG"),
    encoded(picture(7, 20, 20), "PNG"),
    saved(Image.fromarray(picture(7, 20, 20)[..., 0]), "GIF"),
    encoded(picture(7, 20, 20), "WEBP"),
    encoded(picture(7, 20, 20), "TIFF"),
]


# a damaged file may make Pillow warn on its way to the error or to a picture
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(SAMPLES),
    st.floats(0, 1),
    st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=4),
)
def test_damage_gives_a_picture_or_a_data_error(
    data: bytes, keep: float, changes: list[tuple[float, int]]
) -> None:
    damaged = bytearray(data[: int(len(data) * keep)] if keep < 0.9 else data)
    for place, value in changes:
        if damaged:
            damaged[int(place * len(damaged))] = value
    try:
        out = decode_image(bytes(damaged), "damaged", size=8)
    except DataError as error:
        message = str(error)
    else:
        message = "'damaged' is still a picture"
        assert out.shape == (8, 8, 3)
        assert out.dtype == np.uint8
    assert message.startswith("'damaged' ")
