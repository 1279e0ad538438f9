"""The transforms of Winograd's algorithm for 3x3 kernels of stride 2, on vectors of channels.

Along one axis, four results of stride 2 read nine pixels d:

    y[q] = d[2q] g[0] + d[2q + 1] g[1] + d[2q + 2] g[2]

The even pixels meet a kernel of two taps, the odd ones one of a single tap, both with stride 1:

    y = AT [ (G (g0, g2)) * (BT even) + (H g1) * (CT odd) ]

        |  2 -1 -2  1  0 |         | 1/2   0  |        | 1  0 -1  0 |       | 1  |       | 1 1  1 1 0 |
        |  0 -2 -1  1  0 |         |-1/2 -1/2 |        | 0  1  1  0 |       |1/2 |       | 0 1 -1 2 0 |
   BT = |  0  2 -3  1  0 |     G = |-1/6  1/6 |   CT = | 0 -1  1  0 |   H = |1/2 |  AT = | 0 1  1 4 0 |
        |  0 -1  0  1  0 |         | 1/6  1/3 |        | 0  0  0  0 |       | 0  |       | 0 1 -1 8 1 |
        |  0  2 -1 -2  1 |         |  0    1  |        | 0 -1  0  1 |       | 1  |

BT, G and AT are Toom and Cook's for four results and two taps, with the interpolation points 0, 1,
-1, 2, infinity. A kernel of one tap needs no transform, but a sum in the same five places spares one
of the way back: AT without its fourth column can be inverted, and CT is that inverse. So nine
products do what twelve did, and in two dimensions 81 do what 144 did.

In two dimensions a position (i, j) of 5 x 5 sums over four phases: even or odd rows, even or odd
columns. Where i = 3 the odd rows are missing, where j = 3 the odd columns, and the phases that are
there follow each other without a gap.
"""

from collections.abc import Callable, Sequence
from typing import Any

from kernels.cache import kernel
from kernels.language import intrinsic, signature_of, words
from kernels.microkernel_code import constant
from kernels.simd import LANES, PANEL, emit_load, emit_store
from kernels.winograd_transforms import (
    KERNEL,
    Emit,
    input_walk,
    longer_inside,
    output_walk,
    two_dimensional,
)

Values = Sequence[Any]
Transform = Callable[[Emit, Values], Values]

POINTS = 5
PHASES = 4
"""At most; `phases` says how many a position has."""
_FORWARD = ((0, 1, 2, 3, 4), (0, 1, 2, 4))
_BACKWARD = ((0, 1, 2, 3, 4), (0, 1, 2, 3))


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


def _by_phases(
    even: Transform,
    odd: Transform,
    pixels: int,
    places: Sequence[Sequence[int]],
    phase_of: Callable[[int, int, int], int],
) -> Any:
    """An intrinsic (source, row step, column step, target, position step, phase step): the vectors
    of a tile of pixels x pixels in, those of all phases of all positions out.

    places     where the results of an axis go, for its even and its odd phase
    phase_of   which of the phases of a position in some row one is, odd row or not, odd column or
               not"""
    axes = [(even, range(0, pixels, 2)), (odd, range(1, pixels, 2))]

    @intrinsic
    def transform(typingctx, source, row_step, column_step, target, position_step, phase_step):
        def codegen(context, builder, signature, args):
            source, row_step, column_step, target, position_step, phase_step = args
            e = Emit(builder)

            def times(step, n):
                return builder.mul(step, constant(n))

            for odd_row, (down, rows) in enumerate(axes):
                for odd_column, (across, columns) in enumerate(axes):
                    transformed = []
                    for x in columns:
                        at = builder.add(source, times(column_step, x))
                        values = [
                            emit_load(builder, builder.add(at, times(row_step, y))) for y in rows
                        ]
                        transformed.append(down(e, values))
                    for i, row in enumerate(places[odd_row]):
                        results = across(e, [column[i] for column in transformed])
                        for column, value in zip(places[odd_column], results, strict=True):
                            phase = phase_of(row, odd_row, odd_column)
                            place = builder.add(target, times(position_step, POINTS * row + column))
                            place = builder.add(place, times(phase_step, phase))
                            emit_store(builder, place, value)
            return context.get_dummy_value()

        return signature_of(words(6)), codegen

    return transform


def _gap_free(row: int, odd_row: int, odd_column: int) -> int:
    """Phases that are missing (odd rows in row 3, odd columns in column 3) leave no gap."""
    return odd_row + odd_column * (1 if row == 3 else 2)


def _regular(row: int, odd_row: int, odd_column: int) -> int:
    return odd_row + 2 * odd_column


_input_vector = _by_phases(_input_even, _input_odd, 9, _FORWARD, _gap_free)
_weight_vector = _by_phases(_weight_even, _weight_odd, 3, _FORWARD, _gap_free)
_weight_back_vector = _by_phases(_weight_even, _weight_single, 3, _BACKWARD, _regular)
_walk_window = input_walk(two_dimensional(_window, ((0, 1, 2), (3, 4)), 5, 5), POINTS)


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
    m, m_from, m_to, n, n_from, n_to = longer_inside(
        panels, 64, panel_step, tiles, 8 * pixel_step, tile_step
    )
    for i in range(m):
        for v in range(0, 4 * PANEL, 4 * LANES):
            here, to = source + i * m_from + v, target + i * m_to + v
            for _ in range(n):
                _input_vector(here, row_step, pixel_step, to, position_step, phase_step)
                here, to = here + n_from, to + n_to


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
    if single_row and single_column:
        _walk_single(
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
    elif single_row:
        _walk_single_rows(
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
    elif single_column:
        _walk_single_columns(
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
    else:
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


@kernel(words(9))
def transform_strided_window(
    source, row_step, pixel_step, panels, target, position_step, panel_step, tiles, tile_step
):
    """BT d B of a row of windows of 5x5 pixels, 4 pixels apart; arguments as in
    `transform_input`."""
    _walk_window(
        source, row_step, pixel_step, panels, target, position_step, panel_step, tiles, tile_step
    )


@kernel(words(7))
def transform_strided_weight(
    source, row_step, column_step, inputs, target, position_step, phase_step
):
    """All phases of one panel of 3x3 kernels of some inputs: KERNEL bytes apart, and 64 in the
    target."""
    for v in range(0, 4 * PANEL, 4 * LANES):
        here, to = source + v, target + v
        for _ in range(inputs):
            _weight_vector(here, row_step, column_step, to, position_step, phase_step)
            here, to = here + KERNEL, to + 64


@kernel(words(7))
def transform_strided_weight_back(
    source, row_step, column_step, inputs, target, position_step, phase_step
):
    """The same for the input gradient."""
    for v in range(0, 4 * PANEL, 4 * LANES):
        here, to = source + v, target + v
        for _ in range(inputs):
            _weight_back_vector(here, row_step, column_step, to, position_step, phase_step)
            here, to = here + KERNEL, to + 64
