"""The innermost loops of every matrix product and convolution.

Both kernels compute some rows of a matrix product, one panel (16 columns) after the other,

    C[i, 0:16] (+)= sum over r, k of  A[i, r, k] * B[r, k, 0:16]

and keep a tile of C in vector registers while they walk along k: for each k they load a panel of B,
and for each row of the tile broadcast one float of A and multiply-add. With 16 lanes a tile is 8
rows of 2 panels (2 vectors), with 8 lanes 6 rows of 1 panel (2 vectors), with 4 lanes 3 rows of 1
panel (4 vectors): as many accumulators as it takes to hide the latency of a multiply-add, and no
more than the registers hold. Two vectors also share each broadcast: a processor that begins two
multiply-adds and two loads in a cycle would else spend its time loading.

The sum over r goes through a table of byte offsets into A, so that A may be a window of an image (r
runs over the kernel's rows, or over rows of pixels); B is read without gaps.

    multiply_rows      A's k is contiguous, its rows lie anywhere (a table of offsets): pixels
    multiply_columns   A's rows are contiguous, its k has any distance: the transposed product of a
                       weight gradient
    multiply_channels  lane by lane, A having panels as well: depthwise convolution

Measured with 16 lanes, A and B in the cache, GFLOP/s of one core (peak 117 on Zen 4, 273 on Zen 5,
which has twice the multipliers) by rows x panels of the tile:

    rows x panels          8x1   12x1   16x1   24x1    8x2   10x2   12x2   14x2
    Zen 4, k = 16          101    103     78     85
           k = 384         116    115    116    116
           2048, 8 KiB     116     87     54      -
    Zen 5, k = 16          218    207    191    174    273    275    257    243
           k = 512         213    227    216    198    271    272    272    272
           512, 8 KiB      207    201    133     75    272    274    271    242

(8 KiB: the distance of the rows of A. Sixteen of them do not fit an 8-way cache.) With 8 lanes on
Zen 4: 4 rows 106, 5 109, 6 113; with 4 lanes 2 rows 54, 3 58, 4 57. Unrolling k by 2 or 8 instead
of 4 changes nothing.
"""

from typing import Any

from kernels.cache import kernel
from kernels.language import intrinsic, njit, signature_of, words
from kernels.microkernel_code import constant, emit_initial, emit_products, emit_result
from kernels.simd import BYTE, INT, LANES, PANEL, pointer

TILE_ROWS = {16: (8, 4, 2, 1), 8: (6, 4, 2, 1), 4: (3, 2, 1, 1)}[LANES]
"""Heights of the tiles: the first does the work, the others what remains of the rows."""
TOGETHER = {16: 2, 8: 1, 4: 1}[LANES]
"""Panels of a tile, while there are as many."""


def _from_table(builder: Any, base: Any, table: Any, n: int) -> list[Any]:
    """base + the first n entries of a table of int64."""
    places = [builder.add(table, constant(8 * i)) for i in range(n)]
    return [builder.add(base, builder.load(pointer(builder, place, INT))) for place in places]


def _panels(n: int, step: Any) -> list[Any]:
    """Where n panels begin that lie `step` apart (n is 1 or 2)."""
    return [constant(0), step][:n]


def _rows_tile(n_rows: int, n_panels: int) -> Any:
    """A tile of `multiply_rows`; the two tables of offsets start at the tile's first row."""

    @intrinsic
    def tile(
        typingctx,
        a,
        a_offsets,
        offsets,
        n_offsets,
        k,
        b,
        b_panel,
        c,
        c_offsets,
        c_panel,
        columns,
        accumulate,
    ):
        def codegen(context, builder, signature, args):
            a, a_offsets, offsets, n_offsets, k, b, b_panel = args[:7]
            c, c_offsets, c_panel, columns, accumulate = args[7:]
            byte_pointer = BYTE.as_pointer()
            c_panels = _panels(n_panels, c_panel)
            a_rows = _from_table(builder, a, a_offsets, n_rows)
            c_rows = _from_table(builder, c, c_offsets, n_rows)
            sums = emit_products(
                builder,
                emit_initial(builder, c_rows, accumulate, c_panels),
                lambda offset: [
                    builder.inttoptr(builder.add(row, offset), byte_pointer) for row in a_rows
                ],
                offsets,
                n_offsets,
                k,
                constant(4),
                builder.inttoptr(b, byte_pointer),
                constant(4 * PANEL),
                _panels(n_panels, b_panel),
            )
            c_rows = _from_table(builder, c, c_offsets, n_rows)
            emit_result(builder, sums, c_rows, columns, accumulate, c_panels)
            return context.get_dummy_value()

        return signature_of(words(12)), codegen

    return tile


def _columns_tile(n_rows: int, n_panels: int) -> Any:
    """A tile of `multiply_columns`."""

    @intrinsic
    def tile(
        typingctx,
        a,
        offsets,
        n_offsets,
        k,
        a_step,
        b,
        b_step,
        b_panel,
        c,
        c_step,
        c_panel,
        columns,
        accumulate,
    ):
        def codegen(context, builder, signature, args):
            a, offsets, n_offsets, k, a_step, b, b_step, b_panel = args[:8]
            c, c_step, c_panel, columns, accumulate = args[8:]
            byte_pointer = BYTE.as_pointer()
            c_panels = _panels(n_panels, c_panel)
            c_rows = [builder.add(c, builder.mul(c_step, constant(i))) for i in range(n_rows)]

            def rows_at(offset):
                first = builder.inttoptr(builder.add(a, offset), byte_pointer)
                return [builder.gep(first, [constant(4 * i)]) for i in range(n_rows)]

            sums = emit_products(
                builder,
                emit_initial(builder, c_rows, accumulate, c_panels),
                rows_at,
                offsets,
                n_offsets,
                k,
                a_step,
                builder.inttoptr(b, byte_pointer),
                b_step,
                _panels(n_panels, b_panel),
            )
            emit_result(builder, sums, c_rows, columns, accumulate, c_panels)
            return context.get_dummy_value()

        return signature_of(words(13)), codegen

    return tile


def _channels_tile(n_rows: int) -> Any:
    """A tile of `multiply_channels`; the tables of rows start at the tile's first row."""

    @intrinsic
    def tile(
        typingctx,
        a,
        a_offsets,
        offsets,
        n_offsets,
        k,
        a_step,
        b,
        c,
        c_offsets,
        lanes,
        accumulate,
    ):
        def codegen(context, builder, signature, args):
            a, a_offsets, offsets, n_offsets, k, a_step, b, c, c_offsets, lanes, accumulate = args
            byte_pointer = BYTE.as_pointer()
            a_rows = _from_table(builder, a, a_offsets, n_rows)
            c_rows = _from_table(builder, c, c_offsets, n_rows)
            sums = emit_products(
                builder,
                emit_initial(builder, c_rows, accumulate),
                lambda offset: [
                    builder.inttoptr(builder.add(row, offset), byte_pointer) for row in a_rows
                ],
                offsets,
                n_offsets,
                k,
                a_step,
                builder.inttoptr(b, byte_pointer),
                constant(4 * PANEL),
                channelwise=True,
            )
            c_rows = _from_table(builder, c, c_offsets, n_rows)
            emit_result(builder, sums, c_rows, lanes, accumulate)
            return context.get_dummy_value()

        return signature_of(words(11)), codegen

    return tile


_H0, _H1, _H2, _H3 = TILE_ROWS


def _rows_strip(n_panels: int) -> Any:
    """All rows of `multiply_rows`, `n_panels` panels wide."""
    tile0, tile1, tile2, tile3 = (_rows_tile(n_rows, n_panels) for n_rows in TILE_ROWS)

    @njit(nogil=True)
    def strip(rows, a, a_at, at, n_at, k, b, b_panel, c, c_at, c_panel, columns, add):
        i = 0
        while i + _H0 <= rows:
            tile0(a, a_at, at, n_at, k, b, b_panel, c, c_at, c_panel, columns, add)
            i, a_at, c_at = i + _H0, a_at + 8 * _H0, c_at + 8 * _H0
        if i + _H1 <= rows:
            tile1(a, a_at, at, n_at, k, b, b_panel, c, c_at, c_panel, columns, add)
            i, a_at, c_at = i + _H1, a_at + 8 * _H1, c_at + 8 * _H1
        if i + _H2 <= rows:
            tile2(a, a_at, at, n_at, k, b, b_panel, c, c_at, c_panel, columns, add)
            i, a_at, c_at = i + _H2, a_at + 8 * _H2, c_at + 8 * _H2
        while i < rows:
            tile3(a, a_at, at, n_at, k, b, b_panel, c, c_at, c_panel, columns, add)
            i, a_at, c_at = i + _H3, a_at + 8 * _H3, c_at + 8 * _H3

    return strip


def _columns_strip(n_panels: int) -> Any:
    """All rows of `multiply_columns`, `n_panels` panels wide."""
    tile0, tile1, tile2, tile3 = (_columns_tile(n_rows, n_panels) for n_rows in TILE_ROWS)

    @njit(nogil=True)
    def strip(rows, a, at, n_at, k, a_step, b, b_step, b_panel, c, c_step, c_panel, columns, add):
        i = 0
        while i + _H0 <= rows:
            tile0(a, at, n_at, k, a_step, b, b_step, b_panel, c, c_step, c_panel, columns, add)
            i, a, c = i + _H0, a + 4 * _H0, c + _H0 * c_step
        if i + _H1 <= rows:
            tile1(a, at, n_at, k, a_step, b, b_step, b_panel, c, c_step, c_panel, columns, add)
            i, a, c = i + _H1, a + 4 * _H1, c + _H1 * c_step
        if i + _H2 <= rows:
            tile2(a, at, n_at, k, a_step, b, b_step, b_panel, c, c_step, c_panel, columns, add)
            i, a, c = i + _H2, a + 4 * _H2, c + _H2 * c_step
        while i < rows:
            tile3(a, at, n_at, k, a_step, b, b_step, b_panel, c, c_step, c_panel, columns, add)
            i, a, c = i + _H3, a + 4 * _H3, c + _H3 * c_step

    return strip


_rows_wide, _rows_narrow = _rows_strip(2), _rows_strip(1)
_columns_wide, _columns_narrow = _columns_strip(2), _columns_strip(1)
_channels0, _channels1, _channels2, _channels3 = map(_channels_tile, TILE_ROWS)


@kernel(words(13))
def multiply_rows(rows, a, a_at, at, n_at, k, b, b_panel, c, c_at, c_panel, columns, accumulate):
    """C[i, j] (+)= sum over r, k of A[i, r, k] * B[r, k, j], for i in 0 .. rows-1 and j in 0 ..
    columns-1.

    a, a_at      row i of A starts at a + a_at[i] bytes (int64 table)
    at           the r-th part of a row starts at[r] bytes further (int64 table of n_at)
    k            floats in each part, contiguous
    b, b_panel   the first panel of B, B[r, k, 0:16], contiguous, and the bytes from panel to panel
                 (columns beyond `columns` are read and not used)
    c, c_at      row i of C starts at c + c_at[i] bytes
    c_panel      bytes from one panel of C to the next: 64 if the columns are contiguous
    accumulate   0: C is overwritten; 1: added to
    """
    if TOGETHER == 2:
        while columns > PANEL:
            _rows_wide(
                rows, a, a_at, at, n_at, k, b, b_panel, c, c_at, c_panel, columns, accumulate
            )
            b, c, columns = b + 2 * b_panel, c + 2 * c_panel, columns - 2 * PANEL
    while columns > 0:
        _rows_narrow(rows, a, a_at, at, n_at, k, b, b_panel, c, c_at, c_panel, columns, accumulate)
        b, c, columns = b + b_panel, c + c_panel, columns - PANEL


@kernel(words(14))
def multiply_columns(
    rows, a, at, n_at, k, a_step, b, b_step, b_panel, c, c_step, c_panel, columns, accumulate
):
    """C[i, j] (+)= sum over r, k of A[r, k, i] * B[r, k, j], for i in 0 .. rows-1 and j in 0 ..
    columns-1.

    a, at         A[r, 0, 0] lies at a + at[r] bytes (int64 table of n_at)
    a_step        bytes from A[r, k] to A[r, k+1]; rows i are contiguous floats
    b, b_step     B[0, 0] of the first panel, and the bytes from one B[r, k] to the next, in the
                  order of r, k
    c, c_step     C[0] and the bytes from row to row
    b_panel, c_panel, columns, accumulate   as in `multiply_rows`
    """
    if TOGETHER == 2:
        while columns > PANEL:
            _columns_wide(
                rows,
                a,
                at,
                n_at,
                k,
                a_step,
                b,
                b_step,
                b_panel,
                c,
                c_step,
                c_panel,
                columns,
                accumulate,
            )
            b, c, columns = b + 2 * b_panel, c + 2 * c_panel, columns - 2 * PANEL
    while columns > 0:
        _columns_narrow(
            rows,
            a,
            at,
            n_at,
            k,
            a_step,
            b,
            b_step,
            b_panel,
            c,
            c_step,
            c_panel,
            columns,
            accumulate,
        )
        b, c, columns = b + b_panel, c + c_panel, columns - PANEL


@kernel(words(12))
def multiply_channels(rows, a, a_at, at, n_at, k, a_step, b, c, c_at, lanes, accumulate):
    """C[i, 0:lanes] (+)= sum over r, k of A[i, r, k, 0:lanes] * B[r, k, 0:lanes], lane by lane.

    a, a_at     row i of A starts at a + a_at[i] bytes (int64 table)
    at          the r-th part of a row starts at[r] bytes further (int64 table of n_at)
    k, a_step   panels in each part, and the bytes from one to the next; whole panels are read
    b           B[r, k, 0:16], contiguous
    lanes       columns of C to write, 1 .. 16
    c, c_at, accumulate   as in `multiply_rows`
    """
    i = 0
    while i + _H0 <= rows:
        _channels0(a, a_at, at, n_at, k, a_step, b, c, c_at, lanes, accumulate)
        i, a_at, c_at = i + _H0, a_at + 8 * _H0, c_at + 8 * _H0
    if i + _H1 <= rows:
        _channels1(a, a_at, at, n_at, k, a_step, b, c, c_at, lanes, accumulate)
        i, a_at, c_at = i + _H1, a_at + 8 * _H1, c_at + 8 * _H1
    if i + _H2 <= rows:
        _channels2(a, a_at, at, n_at, k, a_step, b, c, c_at, lanes, accumulate)
        i, a_at, c_at = i + _H2, a_at + 8 * _H2, c_at + 8 * _H2
    while i < rows:
        _channels3(a, a_at, at, n_at, k, a_step, b, c, c_at, lanes, accumulate)
        i, a_at, c_at = i + _H3, a_at + 8 * _H3, c_at + 8 * _H3
