"""The innermost loops of every matrix product and convolution.

Both kernels compute a strip of a matrix product that is one panel (16 columns) wide,

    C[i, 0:16] (+)= sum over r, k of  A[i, r, k] * B[r, k, 0:16]

and keep a tile of C in vector registers while they walk along k: for each k they load one panel of B
(VECTORS registers), and for each row of the tile broadcast one float of A and multiply-add. With 16 lanes
a tile is 8 rows of 1 vector, with 8 lanes 6 rows of 2, with 4 lanes 3 rows of 4: as many accumulators as
it takes to hide the latency of a multiply-add, and no more than the registers hold.

The sum over r goes through a table of byte offsets into A, so that A may be a window of an image (r runs
over the kernel's rows, or over rows of pixels); B is read without gaps.

    multiply_rows      A's k is contiguous, its rows may lie anywhere (a table of offsets): pixels x channels
    multiply_columns   A's rows are contiguous, its k has any distance: the transposed product of a
                       weight gradient

Measured on Zen 4 (AVX-512, 117 GFLOP/s peak of one core; A and B in cache), GFLOP/s by tile height:

    rows of the tile        8     12     16     24        8 lanes: 4 rows 106, 5: 109, 6: 113
    k = 16                101    103     78     85        4 lanes: 2 rows  54, 3:  58, 4:  57
    k = 384               116    115    116    116
    k = 2048, 8 KiB rows  116     87     54      -

Sixteen rows at a distance of 8 KiB do not fit an 8-way cache, which is why 8 rows beat all others here.
Unrolling k by 2 or 8 instead of 4 changes nothing.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from kernels.cache import kernel
from kernels.simd import (
    BYTE,
    FLOAT,
    INT,
    LANES,
    PANEL,
    VECTOR,
    VECTORS,
    emit_first_lanes,
    emit_fma,
    emit_load_first,
    emit_splat,
    emit_store,
    emit_store_first,
    pointer,
)

TILE_ROWS = {16: (8, 4, 2, 1), 8: (6, 4, 2, 1), 4: (3, 2, 1, 1)}[LANES]
"""Heights of the tiles: the first does the work, the others what remains of the rows."""
_UNROLL = 4


def _constant(n: int) -> Any:
    return ir.Constant(INT, n)


class _Loop:
    """A counted loop with values carried from turn to turn, as LLVM wants it (phi nodes).

    `values` inside the loop are the values of this turn; `close(new)` ends the body and returns the values
    after the loop, which are the initial ones if `count` was not positive."""

    def __init__(self, builder: Any, count: Any, initial: list[Any]) -> None:
        self.builder = builder
        self.initial = initial
        self.before = builder.block
        self.body = builder.append_basic_block("loop")
        self.after = builder.append_basic_block("loop.end")
        builder.cbranch(
            builder.icmp_signed(">", count, _constant(0)), self.body, self.after
        )
        builder.position_at_end(self.body)
        self.left = builder.phi(INT)
        self.left.add_incoming(count, self.before)
        self.values = []
        for value in initial:
            phi = builder.phi(value.type)
            phi.add_incoming(value, self.before)
            self.values.append(phi)

    def close(self, new: list[Any]) -> list[Any]:
        builder = self.builder
        end = builder.block
        left = builder.sub(self.left, _constant(1))
        self.left.add_incoming(left, end)
        for phi, value in zip(self.values, new, strict=True):
            phi.add_incoming(value, end)
        builder.cbranch(builder.icmp_signed(">", left, _constant(0)), self.body, self.after)
        builder.position_at_end(self.after)
        results = []
        for first, value in zip(self.initial, new, strict=True):
            phi = builder.phi(value.type)
            phi.add_incoming(first, self.before)
            phi.add_incoming(value, end)
            results.append(phi)
        return results


def _emit_products(
    builder: Any,
    sums: list[Any],
    rows_at: Any,
    offsets: Any,
    n_offsets: Any,
    k: Any,
    a_step: Any,
    b_at: Any,
    b_step: Any,
) -> list[Any]:
    """The loops over r and k. `rows_at(offset)` gives a pointer to the first float of each row of A."""

    def step(sums: list[Any], rows: list[Any], a_offset: Any, b_at: Any) -> list[Any]:
        b_vectors = []
        for j in range(VECTORS):
            place = builder.gep(b_at, [_constant(4 * LANES * j)])
            value = builder.load(builder.bitcast(place, VECTOR.as_pointer()))
            value.align = 4
            b_vectors.append(value)
        new = []
        for i, row in enumerate(rows):
            place = builder.gep(row, [a_offset])
            scalar = builder.load(builder.bitcast(place, FLOAT.as_pointer()))
            a_vector = emit_splat(builder, scalar)
            for j in range(VECTORS):
                new.append(emit_fma(builder, a_vector, b_vectors[j], sums[i * VECTORS + j]))
        return new

    outer = _Loop(builder, n_offsets, [*sums, offsets, b_at])
    *sums, offset_at, b_at = outer.values
    rows = rows_at(builder.load(pointer(builder, offset_at, INT)))
    a_offset = _constant(0)
    unrolled = builder.lshr(k, _constant(_UNROLL.bit_length() - 1))
    remaining = builder.and_(k, _constant(_UNROLL - 1))
    for count, repeat in ((unrolled, _UNROLL), (remaining, 1)):
        inner = _Loop(builder, count, [*sums, a_offset, b_at])
        *sums, a_offset, b_at = inner.values
        for _ in range(repeat):
            sums = step(sums, rows, a_offset, b_at)
            a_offset = builder.add(a_offset, a_step)
            b_at = builder.gep(b_at, [b_step])
        *sums, a_offset, b_at = inner.close([*sums, a_offset, b_at])
    *sums, _, _ = outer.close([*sums, builder.add(offset_at, _constant(8)), b_at])
    return sums


def _emit_initial(
    builder: Any, n_rows: int, c_rows: list[Any], lanes: Any, accumulate: Any
) -> list[Any]:
    """The tile's first values: C itself when accumulating, else zero."""
    zero = ir.Constant(VECTOR, [0.0] * LANES)
    before = builder.block
    with builder.if_then(builder.icmp_signed("!=", accumulate, _constant(0))):
        loaded = []
        for j in range(VECTORS):
            mask = emit_first_lanes(builder, builder.sub(lanes, _constant(LANES * j)))
            for row in c_rows:
                place = builder.add(row, _constant(4 * LANES * j))
                loaded.append(emit_load_first(builder, place, mask))
        end = builder.block
    initial = []
    for i in range(n_rows):
        for j in range(VECTORS):
            phi = builder.phi(VECTOR)
            phi.add_incoming(zero, before)
            phi.add_incoming(loaded[j * n_rows + i], end)
            initial.append(phi)
    return initial


def _emit_result(builder: Any, sums: list[Any], c_rows: list[Any], lanes: Any) -> None:
    """Write the tile; only the first `lanes` columns."""
    whole = builder.icmp_signed(">=", lanes, _constant(PANEL))
    with builder.if_else(whole) as (then, otherwise):
        with then:
            for i, row in enumerate(c_rows):
                for j in range(VECTORS):
                    place = builder.add(row, _constant(4 * LANES * j))
                    emit_store(builder, place, sums[i * VECTORS + j])
        with otherwise:
            for j in range(VECTORS):
                mask = emit_first_lanes(builder, builder.sub(lanes, _constant(LANES * j)))
                for i, row in enumerate(c_rows):
                    place = builder.add(row, _constant(4 * LANES * j))
                    emit_store_first(builder, place, sums[i * VECTORS + j], mask)


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

            def from_table(base, table):
                places = [builder.add(table, _constant(8 * i)) for i in range(n_rows)]
                return [builder.add(base, builder.load(pointer(builder, p, INT))) for p in places]

            a_rows = from_table(a, a_offsets)
            sums = _emit_products(
                builder,
                _emit_initial(builder, n_rows, from_table(c, c_offsets), lanes, accumulate),
                lambda offset: [
                    builder.inttoptr(builder.add(row, offset), byte_pointer) for row in a_rows
                ],
                offsets,
                n_offsets,
                k,
                _constant(4),
                builder.inttoptr(b, byte_pointer),
                _constant(4 * PANEL),
            )
            _emit_result(builder, sums, from_table(c, c_offsets), lanes)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 10), codegen

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
            c_rows = [builder.add(c, builder.mul(c_step, _constant(i))) for i in range(n_rows)]

            def rows_at(offset):
                first = builder.inttoptr(builder.add(a, offset), byte_pointer)
                return [builder.gep(first, [_constant(4 * i)]) for i in range(n_rows)]

            sums = _emit_products(
                builder,
                _emit_initial(builder, n_rows, c_rows, lanes, accumulate),
                rows_at,
                offsets,
                n_offsets,
                k,
                a_step,
                builder.inttoptr(b, byte_pointer),
                b_step,
            )
            _emit_result(builder, sums, c_rows, lanes)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 11), codegen

    return tile


_H0, _H1, _H2, _H3 = TILE_ROWS
_rows0, _rows1, _rows2, _rows3 = map(_rows_tile, TILE_ROWS)
_columns0, _columns1, _columns2, _columns3 = map(_columns_tile, TILE_ROWS)


@kernel(types.void(*[types.int64] * 11))
def multiply_rows(
    rows, a, a_offsets, offsets, n_offsets, k, b, c, c_offsets, lanes, accumulate
):
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


@kernel(types.void(*[types.int64] * 12))
def multiply_columns(
    rows, a, offsets, n_offsets, k, a_step, b, b_step, c, c_step, lanes, accumulate
):
    """C[i, 0:lanes] (+)= sum over r, k of A[r, k, i] * B[r, k, 0:lanes], for i in 0 .. rows-1.

    a, offsets      A[r, 0, 0] lies at a + offsets[r] bytes (int64 table of n_offsets)
    a_step          bytes from A[r, k] to A[r, k+1]; rows i are contiguous floats
    b, b_step       B[0, 0] and the bytes from one B[r, k] to the next, without a gap between r and r+1
    c, c_step       C[0] and the bytes from row to row
    lanes, accumulate   as in `multiply_rows`
    """
    i = 0
    while i + _H0 <= rows:
        _columns0(
            a + 4 * i, offsets, n_offsets, k, a_step, b, b_step, c + i * c_step, c_step, lanes, accumulate
        )
        i += _H0
    if i + _H1 <= rows:
        _columns1(
            a + 4 * i, offsets, n_offsets, k, a_step, b, b_step, c + i * c_step, c_step, lanes, accumulate
        )
        i += _H1
    if i + _H2 <= rows:
        _columns2(
            a + 4 * i, offsets, n_offsets, k, a_step, b, b_step, c + i * c_step, c_step, lanes, accumulate
        )
        i += _H2
    while i < rows:
        _columns3(
            a + 4 * i, offsets, n_offsets, k, a_step, b, b_step, c + i * c_step, c_step, lanes, accumulate
        )
        i += _H3
