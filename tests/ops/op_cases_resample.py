"""Cases of borders, interpolation, and pixels moved between space and channels."""

from typing import Any

import op_reference_image as image
from op_case import Case, Input, case, options, real


def pad(note: str, x: Input, *args: Any, **kwargs: Any) -> Case:
    call = options(*args, **kwargs)
    return case("pad", [x], lambda x: image.pad(x, *args, **kwargs), call, note=note)


def interpolate(note: str, x: Input, order: int = 2, **settings: Any) -> Case:
    renamed = {"recompute_scale_factor": "redo"}
    mapped = {renamed.get(k, k): v for k, v in settings.items()}
    return case(
        "interpolate",
        [x],
        lambda x: image.interpolate(x, **mapped),
        options(**settings),
        order=order,
        note=note,
    )


IMAGE, LINE = real(1, 2, 3, 2), real(2, 1, 4)

RESAMPLING = [
    pad("", real(2, 3), (1, 2)),
    pad("crop", real(3, 4), (-1, 1, 2, -1), value=3.0),
    pad("none", real(2), ()),
    pad("cube", real(1, 2, 2), (1, 0, 0, 1, 1, 1)),
    pad("empty", real(0, 3), (0, 0, 1, 1)),
    pad("reflect", real(2, 3), (2, 1), "reflect"),
    pad("reflect image", real(2, 2, 3), (2, 1, 1, 0), "reflect"),
    pad("reflect crop", real(1, 2, 4), (-2, 3), "reflect"),
    pad("reflect cube", real(1, 2, 3, 2), (1, 0, 2, 1, 0, 1), "reflect"),
    pad("replicate", real(1, 2, 3), (1, 4), "replicate"),
    pad("replicate image", real(1, 1, 2, 3), (1, -1, 2, 0), "replicate"),
    pad("circular", real(1, 2, 3), (3, 2), "circular"),
    pad("circular image", real(1, 2, 3), (1, -1, 0, 2), "circular"),
    pad("replicate empty", real(0, 2, 3), (1, 1), "replicate"),
    interpolate("", IMAGE, size=(4, 5)),
    interpolate("nearest factor", IMAGE, scale_factor=2),
    interpolate("nearest factors", IMAGE, scale_factor=(1.5, 0.5)),
    interpolate("nearest line", LINE, size=3),
    interpolate("exact", IMAGE, size=(2, 3), mode="nearest-exact"),
    interpolate("exact factor", LINE, scale_factor=2.5, mode="nearest-exact"),
    interpolate("linear", LINE, size=7, mode="linear", order=3),
    interpolate("linear down", LINE, size=3, mode="linear"),
    interpolate("linear factor", LINE, scale_factor=1.6, mode="linear"),
    interpolate(
        "linear factor worked out",
        LINE,
        scale_factor=1.6,
        mode="linear",
        recompute_scale_factor=True,
    ),
    interpolate("linear corners", LINE, size=6, mode="linear", align_corners=True),
    interpolate("linear one", LINE, size=1, mode="linear", align_corners=True),
    interpolate("bilinear", IMAGE, size=(5, 3), mode="bilinear", order=3),
    interpolate("bilinear corners", IMAGE, size=(2, 4), mode="bilinear", align_corners=True),
    interpolate("bilinear factor", IMAGE, scale_factor=2, mode="bilinear"),
    interpolate("bicubic", IMAGE, size=(5, 3), mode="bicubic", order=3),
    interpolate("bicubic down", real(1, 1, 5, 4), size=(2, 3), mode="bicubic"),
    interpolate("bicubic corners", IMAGE, size=(4, 3), mode="bicubic", align_corners=True),
    interpolate("area", IMAGE, size=(2, 3), mode="area"),
    interpolate("area line", LINE, scale_factor=0.8, mode="area"),
    interpolate("empty", real(0, 2, 3, 2), size=4, mode="bilinear"),
    case("pixel_shuffle", [real(2, 4, 1, 2)], lambda x: image.pixel_shuffle(x, 2), options(2)),
    case(
        "pixel_shuffle", [real(9, 2, 1)], lambda x: image.pixel_shuffle(x, 3), options(3), note="3"
    ),
    # PyTorch gives an empty tensor, or its gradient, the wrong shape
    case(
        "pixel_shuffle",
        [real(0, 4, 2, 1)],
        lambda x: image.pixel_shuffle(x, 2),
        options(2),
        note="empty",
        torch=False,
    ),
    case("pixel_unshuffle", [real(2, 1, 2, 4)], lambda x: image.pixel_unshuffle(x, 2), options(2)),
    case(
        "pixel_unshuffle",
        [real(2, 1, 2, 3, 3)],
        lambda x: image.pixel_unshuffle(x, 3),
        options(3),
        note="3",
    ),
    case(
        "pixel_unshuffle",
        [real(0, 1, 2, 4)],
        lambda x: image.pixel_unshuffle(x, 2),
        options(2),
        note="empty",
        torch=False,
    ),
]
