"""The transforms of Winograd's F(4x4, 3x3) on vectors of channels.

A 4x4 tile of the result of a 3x3 convolution is, with d the 6x6 tile of the input under it and g
the kernel,

    y = AT [ (G g GT) * (BT d B) ] A          (* elementwise; 36 products instead of 144)

         | 4  0 -5  0  1  0 |         |  1/4    0    0   |
         | 0 -4 -4  1  1  0 |         | -1/6  -1/6 -1/6  |         | 1  1  1  1  1  0 |
    BT = | 0  4 -4 -1  1  0 |     G = | -1/6   1/6 -1/6  |    AT = | 0  1 -1  2 -2  0 |
         | 0 -2 -1  2  1  0 |         | 1/24  1/12  1/6  |         | 0  1  1  4  4  0 |
         | 0  2 -1 -2  1  0 |         | 1/24 -1/12  1/6  |         | 0  1 -1  8 -8  1 |
         | 0  4  0 -5  0  1 |         |   0     0    1   |

(Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks"; interpolation points 0,
1, -1, 2, -2, infinity.) The weight gradient is the same bilinear form read the other way:

    dg = GT [ (BT d B) * (A dy AT) ] G        summed over tiles and images

Each function here does one tile for one vector of channels, and its kernel loops over the channels.
A 2-D transform is the 1-D one down the columns, then along the rows; it is done in two halves of
the rows, chosen so that nothing is computed twice and everything fits 32 vector registers (AVX-512;
with 16 LLVM spills some).
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from kernels.cache import kernel
from kernels.language import intrinsic, njit, signature_of, words
from kernels.simd import (
    INT,
    LANES,
    PANEL,
    VECTOR,
    add,
    emit_fma,
    emit_load,
    emit_store,
    load,
    load_first,
    store,
    store_first,
)


class Emit:
    """Arithmetic on vectors, in LLVM."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def fma(self, factor: float, x: Any, y: Any) -> Any:
        """factor * x + y"""
        return emit_fma(self.builder, self.constant(factor), x, y)

    def add(self, x: Any, y: Any) -> Any:
        return self.builder.fadd(x, y)

    def sub(self, x: Any, y: Any) -> Any:
        return self.builder.fsub(x, y)

    def scale(self, factor: float, x: Any) -> Any:
        return self.builder.fmul(self.constant(factor), x)

    def constant(self, value: float) -> Any:
        return ir.Constant(VECTOR, [value] * LANES)


Values = Sequence[Any]


def _input(e: Emit, d: Values, half: int) -> Values:
    """BT: rows 0, 1, 2 (half 0) or 3, 4, 5 (half 1)."""
    if half == 0:
        even = e.fma(-4, d[2], d[4])
        odd = e.fma(-4, d[1], d[3])
        return e.fma(-5, d[2], e.fma(4, d[0], d[4])), e.add(even, odd), e.sub(even, odd)
    even = e.sub(d[4], d[2])
    odd = e.sub(d[3], d[1])
    return e.fma(2, odd, even), e.fma(-2, odd, even), e.fma(-5, d[3], e.fma(4, d[1], d[5]))


def _output(e: Emit, m: Values, half: int) -> Values:
    """AT: rows 0, 2 (half 0) or 1, 3 (half 1)."""
    if half == 0:
        a, b = e.add(m[1], m[2]), e.add(m[3], m[4])
        return e.add(m[0], e.add(a, b)), e.fma(4, b, a)
    a, b = e.sub(m[1], m[2]), e.sub(m[3], m[4])
    return e.fma(2, b, a), e.add(e.fma(8, b, a), m[5])


def _gradient(e: Emit, y: Values, half: int) -> Values:
    """A: rows 0, 1, 2 or 3, 4, 5."""
    if half == 0:
        even, odd = e.add(y[0], y[2]), e.add(y[1], y[3])
        return y[0], e.add(even, odd), e.sub(even, odd)
    even, odd = e.fma(4, y[2], y[0]), e.fma(4, y[3], y[1])
    return e.fma(2, odd, even), e.fma(-2, odd, even), y[3]


def _weight(e: Emit, g: Values, half: int) -> Values:
    """G: rows 0, 1, 2 or 3, 4, 5."""
    if half == 0:
        outer = e.scale(-1 / 6, e.add(g[0], g[2]))
        return e.scale(1 / 4, g[0]), e.fma(-1 / 6, g[1], outer), e.fma(1 / 6, g[1], outer)
    outer = e.fma(1 / 24, g[0], e.scale(1 / 6, g[2]))
    return e.fma(1 / 12, g[1], outer), e.fma(-1 / 12, g[1], outer), g[2]


def _weight_gradient(e: Emit, u: Values, half: int) -> Values:
    """GT: rows 0, 2 or 1."""
    if half == 0:
        a, b = e.add(u[1], u[2]), e.add(u[3], u[4])
        scaled = e.scale(-1 / 6, a)
        return (
            e.fma(1 / 4, u[0], e.fma(1 / 24, b, scaled)),
            e.add(e.fma(1 / 6, b, scaled), u[5]),
        )
    a, b = e.sub(u[1], u[2]), e.sub(u[3], u[4])
    return (e.fma(-1 / 6, a, e.scale(1 / 12, b)),)


def two_dimensional(
    one_dimension: Callable[[Emit, Values, int], Values],
    rows_of_half: tuple[tuple[int, ...], tuple[int, ...]],
    height: int,
    width: int,
    accumulate: bool = False,
) -> Any:
    """An intrinsic (source, row step, column step, target, row step, column step): height x width
    vectors in; `accumulate` adds to the target."""

    @intrinsic
    def transform(typingctx, source, row_step, column_step, target, to_row_step, to_column_step):
        def codegen(context, builder, signature, args):
            source, row_step, column_step, target, to_row_step, to_column_step = args
            e = Emit(builder)

            def at(base, row, row_step, column, column_step):
                place = builder.add(base, builder.mul(row_step, ir.Constant(INT, row)))
                return builder.add(place, builder.mul(column_step, ir.Constant(INT, column)))

            for half in (0, 1):
                columns = []
                for j in range(width):
                    values = [
                        emit_load(builder, at(source, i, row_step, j, column_step))
                        for i in range(height)
                    ]
                    columns.append(one_dimension(e, values, half))
                for i, row in enumerate(rows_of_half[half]):
                    values = [column[i] for column in columns]
                    for other in (0, 1):
                        results = one_dimension(e, values, other)
                        for column, value in zip(rows_of_half[other], results, strict=True):
                            place = at(target, row, to_row_step, column, to_column_step)
                            if accumulate:
                                value = e.add(emit_load(builder, place), value)
                            emit_store(builder, place, value)
            return context.get_dummy_value()

        return signature_of(words(6)), codegen

    return transform


KERNEL = 9 * 64
"""Bytes of a panel's kernels of one input."""

_SIX = ((0, 1, 2), (3, 4, 5))
_input_vector = two_dimensional(_input, _SIX, 6, 6)
_gradient_vector = two_dimensional(_gradient, _SIX, 4, 4)
_weight_vector = two_dimensional(_weight, _SIX, 3, 3)
_output_vector = two_dimensional(_output, ((0, 2), (1, 3)), 6, 6)
_output_more_vector = two_dimensional(_output, ((0, 2), (1, 3)), 6, 6, accumulate=True)
_weight_gradient_vector = two_dimensional(_weight_gradient, ((0, 2), (1,)), 6, 6)


# The three kernels below do the panels of a row of tiles, which lie side by side: the addresses of
# a tile's vectors cost about as much as its arithmetic, and are computed once for an inner loop
# (Zen 5, 16 channels, in the cache: 80 cycles a tile instead of 100 for the input, 77 instead of
# 112 for the output). So the longer of the two loops is the inner one.


@njit(nogil=True)
def longer_inside(m, m_from, m_to, n, n_from, n_to):
    """Two loops, each as its number of turns and the steps of its source and target; the one with
    more turns is the second."""
    if m > n:
        return n, n_from, n_to, m, m_from, m_to
    return m, m_from, m_to, n, n_from, n_to


def input_walk(vector: Any, pixels: int) -> Any:
    """The function behind the transforms of a row of tiles, `pixels` apart; the intrinsic puts what
    it makes of a tile at multiples of two steps."""

    @njit(nogil=True)
    def walk(
        source,
        row_step,
        pixel_step,
        panels,
        target,
        first_step,
        second_step,
        panel_step,
        tiles,
        tile_step,
    ):
        m, m_from, m_to, n, n_from, n_to = longer_inside(
            panels, 64, panel_step, tiles, pixels * pixel_step, tile_step
        )
        for i in range(m):
            for v in range(0, 4 * PANEL, 4 * LANES):
                here, to = source + i * m_from + v, target + i * m_to + v
                for _ in range(n):
                    vector(here, row_step, pixel_step, to, first_step, second_step)
                    here, to = here + n_from, to + n_to

    return walk


def weight_walk(vector: Any) -> Any:
    """The function behind the transforms of a panel's kernels of some inputs: KERNEL bytes apart,
    and 64 in the target."""

    @njit(nogil=True)
    def walk(source, row_step, column_step, inputs, target, first_step, second_step):
        for v in range(0, 4 * PANEL, 4 * LANES):
            here, to = source + v, target + v
            for _ in range(inputs):
                vector(here, row_step, column_step, to, first_step, second_step)
                here, to = here + KERNEL, to + 64

    return walk


_walk_input, _walk_gradient = input_walk(_input_vector, 4), input_walk(_gradient_vector, 4)
_walk_weight = weight_walk(_weight_vector)


@kernel(words(9))
def transform_input(
    source, row_step, pixel_step, panels, target, position_step, panel_step, tiles, tile_step
):
    """BT d B of a row of 6x6 tiles, 4 pixels apart, the first at `source`, `panels` panels of
    channels: 36 rows of the target, position_step apart, in which tiles are tile_step apart."""
    _walk_input(
        source,
        row_step,
        pixel_step,
        panels,
        target,
        6 * position_step,
        position_step,
        panel_step,
        tiles,
        tile_step,
    )


@kernel(words(9))
def transform_gradient(
    source, row_step, pixel_step, panels, target, position_step, panel_step, tiles, tile_step
):
    """A dy AT of a row of 4x4 tiles."""
    _walk_gradient(
        source,
        row_step,
        pixel_step,
        panels,
        target,
        6 * position_step,
        position_step,
        panel_step,
        tiles,
        tile_step,
    )


@njit(nogil=True)
def _write_pixel(here, to, lanes, accumulate):
    """One panel of a pixel, its first `lanes` channels."""
    for i in range(0, PANEL, LANES):
        value = load(here + 4 * i)
        if lanes == PANEL:
            if accumulate != 0:
                value = add(value, load(to + 4 * i))
            store(to + 4 * i, value)
        else:
            if accumulate != 0:
                value = add(value, load_first(to + 4 * i, lanes - i))
            store_first(to + 4 * i, value, lanes - i)


def output_walk(overwrite: Any, add_to: Any, points: int) -> Any:
    """The function behind `transform_output`, for products of points x points positions, whose
    tiles the two intrinsics transform."""

    @njit(nogil=True)
    def walk(
        source,
        position_step,
        panel_step,
        channels,
        target,
        row_step,
        pixel_step,
        height,
        width,
        scratch,
        accumulate,
    ):
        panels, tiles = channels // PANEL, width // 4 if height >= 4 else 0
        m, m_from, m_to, n, n_from, n_to = longer_inside(
            panels, panel_step, 64, tiles, 64, 4 * pixel_step
        )
        line = points * position_step
        for i in range(m):
            for v in range(0, 4 * PANEL, 4 * LANES):
                here, to = source + i * m_from + v, target + i * m_to + v
                if accumulate == 0:
                    for _ in range(n):
                        overwrite(here, line, position_step, to, row_step, pixel_step)
                        here, to = here + n_from, to + n_to
                else:
                    for _ in range(n):
                        add_to(here, line, position_step, to, row_step, pixel_step)
                        here, to = here + n_from, to + n_to
        for p in range((channels + PANEL - 1) // PANEL):
            lanes = min(PANEL, channels - p * PANEL)
            for tile in range(tiles if lanes == PANEL else 0, (width + 3) // 4):
                here = source + p * panel_step + 64 * tile
                for v in range(0, 4 * PANEL, 4 * LANES):
                    overwrite(here + v, line, position_step, scratch + v, 256, 64)
                for y in range(min(4, height)):
                    for x in range(min(4, width - 4 * tile)):
                        to = target + y * row_step + (4 * tile + x) * pixel_step + 64 * p
                        _write_pixel(scratch + y * 256 + x * 64, to, lanes, accumulate)

    return walk


_walk_output = output_walk(_output_vector, _output_more_vector, 6)


@kernel(words(11))
def transform_output(
    source,
    position_step,
    panel_step,
    channels,
    target,
    row_step,
    pixel_step,
    height,
    width,
    scratch,
    accumulate,
):
    """AT m A of a row of tiles, 64 bytes apart in the source, into the pixels at `target`: `height`
    (4, or fewer at the lower border) x `width` pixels and `channels` channels.

    scratch      1 KiB, for tiles that are cut off
    accumulate   0: the target is overwritten; 1: added to

    Only the last panel of an odd number of channels takes masked stores, which are slow (packing.py
    says how much): adding to a whole tile takes 1.1 times as long as overwriting it, and 3.5 times
    with them."""
    _walk_output(
        source,
        position_step,
        panel_step,
        channels,
        target,
        row_step,
        pixel_step,
        height,
        width,
        scratch,
        accumulate,
    )


@kernel(words(6))
def transform_weight(source, row_step, column_step, inputs, target, position_step):
    """G g GT of one panel of 3x3 kernels of some inputs: KERNEL bytes apart, and 64 in the
    target."""
    _walk_weight(source, row_step, column_step, inputs, target, 6 * position_step, position_step)


@kernel(words(3))
def transform_weight_gradient(source, position_step, target):
    """GT u G of one panel: nine rows of a panel, one after the other."""
    for v in range(0, 4 * PANEL, 4 * LANES):
        _weight_gradient_vector(source + v, 6 * position_step, position_step, target + v, 192, 64)
