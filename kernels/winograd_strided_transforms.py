"""The transforms of Winograd's algorithm for 3x3 kernels of stride 2, on vectors of channels.

Along one axis, four results y of stride 2 read nine pixels d:

    y[i] = d[2i] g[0] + d[2i + 1] g[1] + d[2i + 2] g[2]

The even pixels meet a kernel of two taps, the odd ones one of a single tap, both with stride 1. For
four results and two taps, Toom and Cook's algorithm with the points 0, 1, -1, 2 and infinity is

    y = AT [ (G g) * (BT d) ]           (* elementwise; 5 products instead of 8)

         | 2 -1 -2  1  0 |        |  1/2   0  |         | 1  1  1  1  0 |
         | 0 -2 -1  1  0 |        | -1/2 -1/2 |    AT = | 0  1 -1  2  0 |
    BT = | 0  2 -3  1  0 |    G = | -1/6  1/6 |         | 0  1  1  4  0 |
         | 0 -1  0  1  0 |        |  1/6  1/3 |         | 0  1 -1  8  1 |
         | 0  2 -1 -2  1 |        |   0    1  |

A kernel of one tap takes four products and needs no transform, but if its products are summed in
the same five places, both share the way back, AT. AT without its fourth column can be inverted:

         | 1  0 -1  0 |        |  1  |
         | 0  1  1  0 |        | 1/2 |
    CT = | 0 -1  1  0 |    H = | 1/2 |    AT [ (H g[1]) * (CT odd) ] = g[1] odd
         | 0  0  0  0 |        |  0  |
         | 0 -1  0  1 |        |  1  |

    y = AT [ (G (g[0], g[2])) * (BT even) + (H g[1]) * (CT odd) ]

So nine products do what twelve did, and in two dimensions 81 do what 144 did: a position (i, j) of
5 x 5 sums over four phases (even or odd rows, even or odd columns), of which the odd rows are
missing where i = 3, the odd columns where j = 3.

The input gradient, with padding 1, is made of four of its odd pixels, which have two taps, and of
four even ones, which have one. They share BT of the five pixels dy under them:

    dx[1, 3, 5, 7] = AT [ (G (g[2], g[0])) * (BT dy) ]
    dx[0, 2, 4, 6] = AT [ (G (g[1],  0 )) * (BT dy) ]        (the fifth product is 0)

Again 9 products in the place of 12; here single rows are missing where i = 4. The weight gradient
is the same form read the other way:

    (dg[2], dg[0]) = GT [ (A x[1, 3, 5, 7]) * (BT dy) ]      summed over tiles and images
    (dg[1],   -  ) = GT [ (A x[0, 2, 4, 6]) * (BT dy) ]

(The split into phases: Yepez and Ko 2020, "Stride 2 1-D, 2-D, and 3-D Winograd for Convolutional
Neural Networks".)
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from kernels.cache import kernel
from kernels.language import intrinsic, signature_of, words
from kernels.microkernel_code import constant
from kernels.simd import LANES, PANEL, emit_load, emit_store
from kernels.winograd_transforms import (
    KERNEL,
    Emit,
    input_walk,
    output_walk,
    two_dimensional,
    weight_walk,
)

Values = Sequence[Any]
Transform = Callable[[Emit, Values], Values]

POINTS = 5
PHASES = 4
"""Of most positions."""
_ALL, _BUT_3, _BUT_4 = (0, 1, 2, 3, 4), (0, 1, 2, 4), (0, 1, 2, 3)


def _window(e: Emit, d: Values, half: int) -> Values:
    """BT: rows 0, 1, 2 (half 0) or 3, 4 (half 1)."""
    odd = e.sub(d[3], d[1])
    if half == 0:
        return (
            e.fma(2, e.sub(d[0], d[2]), odd),
            e.sub(odd, e.add(d[1], d[2])),
            e.fma(3, e.sub(d[1], d[2]), odd),
        )
    return odd, e.fma(-2, odd, e.sub(d[4], d[2]))


def _input_even(e: Emit, d: Values) -> Values:
    """BT."""
    return *_window(e, d, 0), *_window(e, d, 1)


def _input_odd(e: Emit, d: Values) -> Values:
    """CT without its row of zeros."""
    return e.sub(d[0], d[2]), e.add(d[1], d[2]), e.sub(d[2], d[1]), e.sub(d[3], d[1])


def _weight_even(e: Emit, g: Values) -> Values:
    """G."""
    third = e.scale(1 / 3, g[1])
    return (
        e.scale(1 / 2, g[0]),
        e.scale(-1 / 2, e.add(g[0], g[1])),
        e.scale(1 / 6, e.sub(g[1], g[0])),
        e.fma(1 / 6, g[0], third),
        g[1],
    )


def _weight_odd(e: Emit, g: Values) -> Values:
    """H without its zero."""
    half = e.scale(1 / 2, g[0])
    return g[0], half, half, g[0]


def _weight_single(e: Emit, g: Values) -> Values:
    """G (g, 0) without its zero."""
    half, sixth = e.scale(1 / 2, g[0]), e.scale(1 / 6, g[0])
    return half, e.scale(-1 / 2, g[0]), e.scale(-1 / 6, g[0]), sixth


def _output(e: Emit, m: Values, half: int) -> Values:
    """AT: rows 0, 2 (half 0) or 1, 3 (half 1); m may lack its last number."""
    if half == 0:
        both = e.add(m[1], m[2])
        return e.add(e.add(m[0], m[3]), both), e.fma(4, m[3], both)
    difference = e.sub(m[1], m[2])
    last = e.fma(8, m[3], difference)
    return e.fma(2, m[3], difference), e.add(last, m[4]) if len(m) == POINTS else last


class _Axis(NamedTuple):
    """What one phase is along an axis: its transform, which pixels go in, where the results go."""

    transform: Transform
    pixels: Sequence[int]
    places: Sequence[int]


def _by_phases(first: _Axis, second: _Axis, phase_of: Callable[[int, int, int], int]) -> Any:
    """An intrinsic (source, row step, column step, target, position step, phase step): the vectors
    of a tile's pixels in, those of all phases of all positions out.

    phase_of   which of the phases of a position in some row one is: second of its rows or not,
               second of its columns or not"""

    @intrinsic
    def transform(typingctx, source, row_step, column_step, target, position_step, phase_step):
        def codegen(context, builder, signature, args):
            source, row_step, column_step, target, position_step, phase_step = args
            e = Emit(builder)

            def times(step, n):
                return builder.mul(step, constant(n))

            for second_row, down in enumerate((first, second)):
                for second_column, across in enumerate((first, second)):
                    transformed = []
                    for x in across.pixels:
                        at = builder.add(source, times(column_step, x))
                        values = [
                            emit_load(builder, builder.add(at, times(row_step, y)))
                            for y in down.pixels
                        ]
                        transformed.append(down.transform(e, values))
                    for i, row in enumerate(down.places):
                        results = across.transform(e, [column[i] for column in transformed])
                        for column, value in zip(across.places, results, strict=True):
                            phase = phase_of(row, second_row, second_column)
                            place = builder.add(target, times(position_step, POINTS * row + column))
                            place = builder.add(place, times(phase_step, phase))
                            emit_store(builder, place, value)
            return context.get_dummy_value()

        return signature_of(words(6)), codegen

    return transform


def _from_phases(first: _Axis, second: _Axis) -> Any:
    """An intrinsic (source, position step, phase step, target, row step, column step), the other
    way round: results are at `pixels`, what goes in at `places`."""

    @intrinsic
    def transform(typingctx, source, position_step, phase_step, target, row_step, column_step):
        def codegen(context, builder, signature, args):
            source, position_step, phase_step, target, row_step, column_step = args
            e = Emit(builder)

            def at(base, steps):
                for step, n in steps:
                    base = builder.add(base, builder.mul(step, constant(n)))
                return base

            for second_row, down in enumerate((first, second)):
                for second_column, across in enumerate((first, second)):
                    phase = (phase_step, _regular(0, second_row, second_column))
                    transformed = []
                    for column in across.places:
                        positions = [(position_step, POINTS * row + column) for row in down.places]
                        values = [
                            emit_load(builder, at(source, [position, phase]))
                            for position in positions
                        ]
                        transformed.append(down.transform(e, values))
                    for i, y in enumerate(down.pixels):
                        results = across.transform(e, [column[i] for column in transformed])
                        for x, value in zip(across.pixels, results, strict=True):
                            place = at(target, [(row_step, y), (column_step, x)])
                            emit_store(builder, place, value)
            return context.get_dummy_value()

        return signature_of(words(6)), codegen

    return transform


def _block(e: Emit, x: Values) -> Values:
    """A."""
    return *_block_single(e, x), x[3]


def _block_single(e: Emit, x: Values) -> Values:
    """A without its last row."""
    even, odd = e.add(x[0], x[2]), e.add(x[1], x[3])
    far = e.fma(2, e.fma(4, x[3], x[1]), e.fma(4, x[2], x[0]))
    return x[0], e.add(even, odd), e.sub(even, odd), far


def _weight_gradient(e: Emit, u: Values) -> Values:
    """GT."""
    second = e.fma(1 / 3, u[3], e.fma(1 / 6, u[2], u[4]))
    return *_weight_gradient_single(e, u), e.fma(-1 / 2, u[1], second)


def _weight_gradient_single(e: Emit, u: Values) -> Values:
    """The first row of GT; u may lack its last number."""
    return (e.fma(1 / 6, e.sub(u[3], u[2]), e.scale(1 / 2, e.sub(u[0], u[1]))),)


def _gap_free(row: int, odd_row: int, odd_column: int) -> int:
    """Phases that are missing (odd rows in row 3, odd columns in column 3) leave no gap."""
    return odd_row + odd_column * (1 if row == 3 else 2)


def _regular(row: int, odd_row: int, odd_column: int) -> int:
    return odd_row + 2 * odd_column


_input_vector = _by_phases(
    _Axis(_input_even, range(0, 9, 2), _ALL), _Axis(_input_odd, range(1, 9, 2), _BUT_3), _gap_free
)
_weight_vector = _by_phases(
    _Axis(_weight_even, (0, 2), _ALL), _Axis(_weight_odd, (1,), _BUT_3), _gap_free
)
_weight_back_vector = _by_phases(
    _Axis(_weight_even, (0, 2), _ALL), _Axis(_weight_single, (1,), _BUT_4), _regular
)
_block_vector = _by_phases(
    _Axis(_block, (1, 3, 5, 7), _ALL), _Axis(_block_single, (0, 2, 4, 6), _BUT_4), _regular
)
_weight_gradient_vector = _from_phases(
    _Axis(_weight_gradient, (0, 2), _ALL), _Axis(_weight_gradient_single, (1,), _BUT_4)
)
_walk_window = input_walk(two_dimensional(_window, ((0, 1, 2), (3, 4)), 5, 5), 4)


def _output_walk(rows: int, columns: int) -> Any:
    """AT m A of tiles of rows x columns positions, which lie as those of 5 x 5 do."""
    vector, more = (
        two_dimensional(_output, ((0, 2), (1, 3)), rows, columns, accumulate)
        for accumulate in (False, True)
    )
    return output_walk(vector, more, POINTS)


_walk_output = _output_walk(5, 5)
_walk_single_rows, _walk_single_columns = _output_walk(4, 5), _output_walk(5, 4)
_walk_single = _output_walk(4, 4)


_walk_input, _walk_blocks = input_walk(_input_vector, 8), input_walk(_block_vector, 8)
_walk_weight, _walk_weight_back = weight_walk(_weight_vector), weight_walk(_weight_back_vector)


@kernel(words(10))
def transform_strided_input(
    source,
    row_step,
    pixel_step,
    panels,
    target,
    position_step,
    phase_step,
    panel_step,
    tiles,
    tile_step,
):
    """A row of windows of 9x9 pixels, 8 pixels apart, the first at `source`, `panels` panels of
    channels: 25 positions of the target, position_step apart, their phases phase_step apart, in
    which tiles are tile_step apart."""
    _walk_input(
        source,
        row_step,
        pixel_step,
        panels,
        target,
        position_step,
        phase_step,
        panel_step,
        tiles,
        tile_step,
    )


@kernel(words(10))
def transform_strided_blocks(
    source,
    row_step,
    pixel_step,
    panels,
    target,
    position_step,
    phase_step,
    panel_step,
    tiles,
    tile_step,
):
    """A x AT of the phases of a row of blocks of 8x8 pixels; arguments as above."""
    _walk_blocks(
        source,
        row_step,
        pixel_step,
        panels,
        target,
        position_step,
        phase_step,
        panel_step,
        tiles,
        tile_step,
    )


@kernel(words(11))
def transform_strided_output(
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
    """AT m A of a row of tiles; arguments as in `transform_output`."""
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


@kernel(words(13))
def transform_strided_pixels(
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
    single_row,
    single_column,
):
    """AT m A of one phase of a row of tiles of the input gradient: positions in row 4 are missing
    with `single_row`, those in column 4 with `single_column`; other arguments as in
    `transform_output`."""
    arguments = (
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
    if single_row and single_column:
        _walk_single(*arguments)
    elif single_row:
        _walk_single_rows(*arguments)
    elif single_column:
        _walk_single_columns(*arguments)
    else:
        _walk_output(*arguments)


@kernel(words(9))
def transform_strided_window(
    source, row_step, pixel_step, panels, target, position_step, panel_step, tiles, tile_step
):
    """BT d B of a row of windows of 5x5 pixels, 4 pixels apart; arguments as in
    `transform_input`."""
    _walk_window(
        source,
        row_step,
        pixel_step,
        panels,
        target,
        POINTS * position_step,
        position_step,
        panel_step,
        tiles,
        tile_step,
    )


@kernel(words(7))
def transform_strided_weight(
    source, row_step, column_step, inputs, target, position_step, phase_step
):
    """All phases of one panel of 3x3 kernels of some inputs: KERNEL bytes apart, and 64 in the
    target."""
    _walk_weight(source, row_step, column_step, inputs, target, position_step, phase_step)


@kernel(words(7))
def transform_strided_weight_back(
    source, row_step, column_step, inputs, target, position_step, phase_step
):
    """The same for the input gradient."""
    _walk_weight_back(source, row_step, column_step, inputs, target, position_step, phase_step)


@kernel(words(5))
def transform_strided_weight_gradient(source, position_step, phase_step, inputs, target):
    """The weight's gradient of one panel and some inputs, 64 bytes apart in the source: nine rows
    of a panel each, one after the other."""
    for v in range(0, 4 * PANEL, 4 * LANES):
        here, to = source + v, target + v + 8 * 64  # kernels are turned here
        for _ in range(inputs):
            _weight_gradient_vector(here, position_step, phase_step, to, -192, -64)
            here, to = here + 64, to + KERNEL
