"""The innermost loops of every matrix product and convolution.

Both kernels compute a strip of a matrix product that is one panel (16 columns) wide,

    C[i, 0:16] (+)= sum over r, k of  A[i, r, k] * B[r, k, 0:16]

and keep a tile of C in vector registers while they walk along k: for each k they load one panel of
B (VECTORS registers), and for each row of the tile broadcast one float of A and multiply-add. With
16 lanes a tile is 8 rows of 1 vector, with 8 lanes 6 rows of 2, with 4 lanes 3 rows of 4: as many
accumulators as it takes to hide the latency of a multiply-add, and no more than the registers hold.

The sum over r goes through a table of byte offsets into A, so that A may be a window of an image (r
runs over the kernel's rows, or over rows of pixels); B is read without gaps.

    multiply_rows      A's k is contiguous, its rows lie anywhere (a table of offsets): pixels
    multiply_columns   A's rows are contiguous, its k has any distance: the transposed product of a
                       weight gradient
    multiply_channels  lane by lane, A having panels as well: depthwise convolution

Measured on Zen 4 (AVX-512, 117 GFLOP/s peak of one core; A and B in cache), GFLOP/s by tile height:

    rows of the tile        8     12     16     24        8 lanes: 4 rows 106, 5: 109, 6: 113
    k = 16                101    103     78     85        4 lanes: 2 rows  54, 3:  58, 4:  57
    k = 384               116    115    116    116
    k = 2048, 8 KiB rows  116     87     54      -

Sixteen rows at a distance of 8 KiB do not fit an 8-way cache, which is why 8 rows beat all others
here. Unrolling k by 2 or 8 instead of 4 changes nothing.
"""

from typing import Any

from kernels.cache import kernel
from kernels.language import intrinsic, signature_of, words
from kernels.microkernel_code import constant, emit_initial, emit_products, emit_result
from kernels.simd import BYTE, INT, LANES, PANEL, pointer

TILE_ROWS = {16: (8, 4, 2, 1), 8: (6, 4, 2, 1), 4: (3, 2, 1, 1)}[LANES]
"""Heights of the tiles: the first does the work, the others what remains of the rows."""


def _from_table(builder: Any, base: Any, table: Any, n: int) -> list[Any]:
    """base + the first n entries of a table of int64."""
    places = [builder.add(table, constant(8 * i)) for i in range(n)]
    return [builder.add(base, builder.load(pointer(builder, place, INT))) for place in places]


def _rows_tile(n_rows: int) -> Any:
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
        c,
        c_offsets,
        lanes,
        accumulate,
    ):
        def codegen(context, builder, signature, args):
            a, a_offsets, offsets, n_offsets, k, b, c, c_offsets, lanes, accumulate = args
            byte_pointer = BYTE.as_pointer()

            a_rows = _from_table(builder, a, a_offsets, n_rows)
            c_rows = _from_table(builder, c, c_offsets, n_rows)
            sums = emit_products(
                builder,
                emit_initial(builder, n_rows, c_rows, accumulate),
                lambda offset: [
                    builder.inttoptr(builder.add(row, offset), byte_pointer) for row in a_rows
                ],
                offsets,
                n_offsets,
                k,
                constant(4),
                builder.inttoptr(b, byte_pointer),
                constant(4 * PANEL),
            )
            c_rows = _from_table(builder, c, c_offsets, n_rows)
            emit_result(builder, sums, c_rows, lanes, accumulate)
            return context.get_dummy_value()

        return signature_of(words(10)), codegen

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
                emit_initial(builder, n_rows, c_rows, accumulate),
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


def _columns_tile(n_rows: int) -> Any:
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
        c,
        c_step,
        lanes,
        accumulate,
    ):
        def codegen(context, builder, signature, args):
            a, offsets, n_offsets, k, a_step, b, b_step, c, c_step, lanes, accumulate = args
            byte_pointer = BYTE.as_pointer()
            c_rows = [builder.add(c, builder.mul(c_step, constant(i))) for i in range(n_rows)]

            def rows_at(offset):
                first = builder.inttoptr(builder.add(a, offset), byte_pointer)
                return [builder.gep(first, [constant(4 * i)]) for i in range(n_rows)]

            sums = emit_products(
                builder,
                emit_initial(builder, n_rows, c_rows, accumulate),
                rows_at,
                offsets,
                n_offsets,
                k,
                a_step,
                builder.inttoptr(b, byte_pointer),
                b_step,
            )
            emit_result(builder, sums, c_rows, lanes, accumulate)
            return context.get_dummy_value()

        return signature_of(words(11)), codegen

    return tile


_H0, _H1, _H2, _H3 = TILE_ROWS
_rows0, _rows1, _rows2, _rows3 = map(_rows_tile, TILE_ROWS)
_columns0, _columns1, _columns2, _columns3 = map(_columns_tile, TILE_ROWS)
_channels0, _channels1, _channels2, _channels3 = map(_channels_tile, TILE_ROWS)


@kernel(words(11))
def multiply_rows(rows, a, a_offsets, offsets, n_offsets, k, b, c, c_offsets, lanes, accumulate):
    """C[i, 0:lanes] (+)= sum over r, k of A[i, r, k] * B[r, k, 0:lanes], for i in 0 .. rows-1.

    a, a_offsets    row i of A starts at a + a_offsets[i] bytes (int64 table)
    offsets         r-th part of a row starts offsets[r] bytes further (int64 table of n_offsets)
    k               floats in each part, contiguous
    b               B[r, k, 0:16], contiguous (lanes beyond `lanes` are read and not used)
    c, c_offsets    row i of C starts at c + c_offsets[i] bytes
    lanes           columns of C to write, 1 .. 16
    accumulate      0: C is overwritten; 1: added to
    """
    i = 0
    while i + _H0 <= rows:
        _rows0(
            a, a_offsets + 8 * i, offsets, n_offsets, k, b, c, c_offsets + 8 * i, lanes, accumulate
        )
        i += _H0
    if i + _H1 <= rows:
        _rows1(
            a, a_offsets + 8 * i, offsets, n_offsets, k, b, c, c_offsets + 8 * i, lanes, accumulate
        )
        i += _H1
    if i + _H2 <= rows:
        _rows2(
            a, a_offsets + 8 * i, offsets, n_offsets, k, b, c, c_offsets + 8 * i, lanes, accumulate
        )
        i += _H2
    while i < rows:
        _rows3(
            a, a_offsets + 8 * i, offsets, n_offsets, k, b, c, c_offsets + 8 * i, lanes, accumulate
        )
        i += _H3


@kernel(words(12))
def multiply_columns(
    rows, a, offsets, n_offsets, k, a_step, b, b_step, c, c_step, lanes, accumulate
):
    """C[i, 0:lanes] (+)= sum over r, k of A[r, k, i] * B[r, k, 0:lanes], for i in 0 .. rows-1.

    a, offsets      A[r, 0, 0] lies at a + offsets[r] bytes (int64 table of n_offsets)
    a_step          bytes from A[r, k] to A[r, k+1]; rows i are contiguous floats
    b, b_step       B[0, 0], and the bytes from one B[r, k] to the next, in the order of r, k
    c, c_step       C[0] and the bytes from row to row
    lanes, accumulate   as in `multiply_rows`
    """
    i = 0
    while i + _H0 <= rows:
        _columns0(
            a + 4 * i,
            offsets,
            n_offsets,
            k,
            a_step,
            b,
            b_step,
            c + i * c_step,
            c_step,
            lanes,
            accumulate,
        )
        i += _H0
    if i + _H1 <= rows:
        _columns1(
            a + 4 * i,
            offsets,
            n_offsets,
            k,
            a_step,
            b,
            b_step,
            c + i * c_step,
            c_step,
            lanes,
            accumulate,
        )
        i += _H1
    if i + _H2 <= rows:
        _columns2(
            a + 4 * i,
            offsets,
            n_offsets,
            k,
            a_step,
            b,
            b_step,
            c + i * c_step,
            c_step,
            lanes,
            accumulate,
        )
        i += _H2
    while i < rows:
        _columns3(
            a + 4 * i,
            offsets,
            n_offsets,
            k,
            a_step,
            b,
            b_step,
            c + i * c_step,
            c_step,
            lanes,
            accumulate,
        )
        i += _H3


@kernel(words(12))
def multiply_channels(
    rows, a, a_offsets, offsets, n_offsets, k, a_step, b, c, c_offsets, lanes, accumulate
):
    """C[i, 0:lanes] (+)= sum over r, k of A[i, r, k, 0:lanes] * B[r, k, 0:lanes], lane by lane.

    a, a_offsets    row i of A starts at a + a_offsets[i] bytes (int64 table)
    offsets         r-th part of a row starts offsets[r] bytes further (int64 table of n_offsets)
    k, a_step       panels in each part, and the bytes from one to the next; whole panels are read
    b               B[r, k, 0:16], contiguous
    c, c_offsets, lanes, accumulate   as in `multiply_rows`
    """
    i = 0
    while i + _H0 <= rows:
        _channels0(
            a,
            a_offsets + 8 * i,
            offsets,
            n_offsets,
            k,
            a_step,
            b,
            c,
            c_offsets + 8 * i,
            lanes,
            accumulate,
        )
        i += _H0
    if i + _H1 <= rows:
        _channels1(
            a,
            a_offsets + 8 * i,
            offsets,
            n_offsets,
            k,
            a_step,
            b,
            c,
            c_offsets + 8 * i,
            lanes,
            accumulate,
        )
        i += _H1
    if i + _H2 <= rows:
        _channels2(
            a,
            a_offsets + 8 * i,
            offsets,
            n_offsets,
            k,
            a_step,
            b,
            c,
            c_offsets + 8 * i,
            lanes,
            accumulate,
        )
        i += _H2
    while i < rows:
        _channels3(
            a,
            a_offsets + 8 * i,
            offsets,
            n_offsets,
            k,
            a_step,
            b,
            c,
            c_offsets + 8 * i,
            lanes,
            accumulate,
        )
        i += _H3
