"""How Winograd's tiles are cut into units, and where each tile lies.

The result of each image is covered by tiles of 4x4 pixels. A unit is what one task works on at a
time: some whole images, or a band of one image's rows of tiles, so that a unit has about as many
tiles as wanted. The source under a unit is staged with zeros around it (conv_plan.py explains the
idea); a table gives the place of each of the unit's rows of tiles, and a shorter last unit uses its
beginning.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.addresses import address
from kernels.finish import FinishTable

Array = NDArray[Any]
PANEL = 16

Table = NDArray[np.int64]
Pair = tuple[int, int]

UNIT_BYTES = 1152 * 1024
"""V and M of a fused unit are at most about this large; 200 to 960 KiB give the same times on Zen
3, and smaller ones take up to a fifth longer on Zen 5."""


@dataclass(frozen=True)
class TilePlan:
    """Tiles of a batch of images.

    tiles_in_image, columns   tiles of one image, and of one row
    count, images             units; images in one
    bands, band_rows          bands in an image; rows of tiles in a band
    unit_tiles                tiles of a whole unit
    stage_rows, stage_columns           the stage of the source (windows of the tiles), in pixels
    stage_pixel, stage_row, stage_image its distances in bytes
    patch_pixel, patch_row, patch_image the same for the stage of the gradient (4x4 windows)
    rows_of_tiles             per row of tiles of a unit: offset in the stage, offset in the patch
                              stage, row of its first pixel, image within the unit
    first_row, first_column   pixel of the source under the first tile's first pixel
    """

    tiles_in_image: int
    columns: int
    count: int
    images: int
    bands: int
    band_rows: int
    unit_tiles: int
    stage_rows: int
    stage_columns: int
    stage_pixel: int
    stage_row: int
    stage_image: int
    patch_pixel: int
    patch_row: int
    patch_image: int
    rows_of_tiles: Table
    first_row: int
    first_column: int


@lru_cache(maxsize=512)
def tile_plan(
    images: int,
    channels: int,
    gradient_channels: int,
    size: Pair,
    padding: Pair,
    wanted: int,
    tasks: int,
    stride: int = 1,
) -> TilePlan:
    """Cut the results (`size`: height, width) of `images` images into units of about `wanted`
    tiles. The window of a tile is 3 * stride + 3 pixels wide."""
    rows, columns = -(-size[0] // 4), -(-size[1] // 4)
    in_image = rows * columns
    together, bands = 1, 1
    if in_image > wanted or images < tasks:
        bands = min(
            rows, max(-(-in_image // wanted), 1 if images >= tasks else -(-tasks // images))
        )
    else:
        together = max(1, min(wanted // in_image, images // tasks))
        # as many units for each task
        units = -(-images // (together * tasks)) * tasks
        together = -(-images // units)
    band_rows = -(-rows // bands)
    bands = -(-rows // band_rows)
    stage_pixel, patch_pixel = _padded(channels) * 4, _padded(gradient_channels) * 4
    tile_step, overlap = 4 * stride, 3 - stride
    stage_row, patch_row = (
        (tile_step * columns + overlap) * stage_pixel,
        4 * columns * patch_pixel,
    )
    stage_image = (tile_step * band_rows + overlap) * stage_row
    patch_image = 4 * band_rows * patch_row
    rows_of_tiles = [
        [
            image * stage_image + tile_step * row * stage_row,
            image * patch_image + 4 * row * patch_row,
            4 * row,
            image,
        ]
        for image in range(together)
        for row in range(band_rows)
    ]
    return TilePlan(
        in_image,
        columns,
        images * bands if bands > 1 else -(-images // together),
        together,
        bands,
        band_rows,
        len(rows_of_tiles) * columns,
        tile_step * band_rows + overlap,
        tile_step * columns + overlap,
        stage_pixel,
        stage_row,
        stage_image,
        patch_pixel,
        patch_row,
        patch_image,
        np.array(rows_of_tiles, np.int64).reshape(-1, 4),
        -padding[0],
        -padding[1],
    )


@lru_cache(maxsize=64)
def tile_table(images: int, size: Pair, steps: tuple[int, ...], tile: int = 4) -> Array:
    """Per tile of tile x tile pixels: offset in an image of these steps (images, rows, pixels),
    height, width."""
    height, width = size
    return np.array(
        [
            [
                n * steps[0] + y * steps[1] + x * steps[2],
                min(tile, height - y),
                min(tile, width - x),
            ]
            for n in range(images)
            for y in range(0, height, tile)
            for x in range(0, width, tile)
        ],
        np.int64,
    )


def _padded(channels: int) -> int:
    """Channels rounded up to whole panels."""
    return -(-channels // 16) * 16


def wanted_tiles(inputs: int, outputs: int) -> int:
    """Tiles of a fused unit: as many as fit, in multiples of 8, from 16 to 64."""
    fit = UNIT_BYTES // (36 * 64 * (panels(inputs) + panels(outputs)))
    return max(16, min(64, fit // 8 * 8))


def unit_ints(
    source: Array | None, shape: tuple[int, ...], strides: tuple[int, ...], plan: TilePlan
) -> list[Any]:
    """The beginning of the bodies' argument block (winograd_loops.py), for a source of this shape
    and strides, which may be given later."""
    n_step, c_step, h_step, w_step = strides
    n, c, h, w = shape
    return [
        *(source, n_step, h_step, w_step, c_step, h, w, c),
        *(plan.first_row, plan.first_column),
        *(n, plan.count, plan.images, plan.bands, plan.band_rows),
        *(plan.tiles_in_image, plan.columns),
        *(plan.stage_rows, plan.stage_columns),
        *(plan.stage_pixel, plan.stage_row, plan.stage_image),
        plan.rows_of_tiles,
        *(plan.patch_pixel, plan.patch_row, plan.patch_image),
    ]


def image_ints(
    image: int | None,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    finish: int | list[int] | None = 0,
    accumulate: bool = False,
) -> list[Any]:
    """Address; steps of image, row, pixel, channel; height, width, channels; finish; accumulate."""
    n_step, c_step, h_step, w_step = strides
    return [image, n_step, h_step, w_step, c_step, *shape[2:], shape[1], finish, int(accumulate)]


def image_table(image: Array, finish: FinishTable | None = None, accumulate: bool = False) -> Array:
    """The same as a table for one image."""
    then = 0 if finish is None else address(finish.numbers)
    ints = image_ints(address(image), image.shape, image.strides, then, accumulate)
    return np.array(ints, np.int64)


def panels(channels: int) -> int:
    return -(-channels // PANEL)
