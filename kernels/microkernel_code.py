"""LLVM code of a micro-kernel's tile: its loops, first values and result (see microkernel.py)."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from kernels.simd import (
    FLOAT,
    INT,
    LANES,
    PANEL,
    VECTOR,
    VECTORS,
    emit_first_lanes,
    emit_fma,
    emit_load,
    emit_load_first,
    emit_prefetch,
    emit_splat,
    emit_store,
    emit_store_first,
    pointer,
)

_UNROLL = 4


def constant(n: int) -> Any:
    return ir.Constant(INT, n)


class Loop:
    """A counted loop with values carried from turn to turn, as LLVM wants it (phi nodes).

    `values` inside the loop are the values of this turn; `close(new)` ends the body and returns the
    values after the loop, which are the initial ones if `count` was not positive."""

    def __init__(self, builder: Any, count: Any, initial: list[Any]) -> None:
        self.builder = builder
        self.initial = initial
        self.before = builder.block
        self.body = builder.append_basic_block("loop")
        self.after = builder.append_basic_block("loop.end")
        builder.cbranch(builder.icmp_signed(">", count, constant(0)), self.body, self.after)
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
        left = builder.sub(self.left, constant(1))
        self.left.add_incoming(left, end)
        for phi, value in zip(self.values, new, strict=True):
            phi.add_incoming(value, end)
        builder.cbranch(builder.icmp_signed(">", left, constant(0)), self.body, self.after)
        builder.position_at_end(self.after)
        results = []
        for first, value in zip(self.initial, new, strict=True):
            phi = builder.phi(value.type)
            phi.add_incoming(first, self.before)
            phi.add_incoming(value, end)
            results.append(phi)
        return results


def emit_products(
    builder: Any,
    sums: list[Any],
    rows_at: Any,
    offsets: Any,
    n_offsets: Any,
    k: Any,
    a_step: Any,
    b_at: Any,
    b_step: Any,
    b_panels: Sequence[Any] = (constant(0),),
    channelwise: bool = False,
) -> list[Any]:
    """The loops over r and k.

    rows_at       gives, for an offset, a pointer to the first float of each row of A
    b_panels      where the tile's panels of B begin, in bytes from the first one
    channelwise   A has a panel for each k, multiplied lane by lane, instead of one float
    """
    vectors_in_row = VECTORS * len(b_panels)

    def load_panel(at: Any) -> list[Any]:
        vectors = []
        for j in range(VECTORS):
            place = builder.gep(at, [constant(4 * LANES * j)])
            value = builder.load(builder.bitcast(place, VECTOR.as_pointer()))
            value.align = 4
            vectors.append(value)
        return vectors

    def step(sums: list[Any], rows: list[Any], a_offset: Any, b_at: Any) -> list[Any]:
        b_vectors = [v for panel in b_panels for v in load_panel(builder.gep(b_at, [panel]))]
        new = []
        for i, row in enumerate(rows):
            place = builder.gep(row, [a_offset])
            if channelwise:
                a_vectors = load_panel(place)
            else:
                scalar = builder.load(builder.bitcast(place, FLOAT.as_pointer()))
                a_vectors = [emit_splat(builder, scalar)] * vectors_in_row
            for j in range(vectors_in_row):
                so_far = sums[i * vectors_in_row + j]
                new.append(emit_fma(builder, a_vectors[j], b_vectors[j], so_far))
        return new

    outer = Loop(builder, n_offsets, [*sums, offsets, b_at])
    *sums, offset_at, b_at = outer.values
    rows = rows_at(builder.load(pointer(builder, offset_at, INT)))
    a_offset = constant(0)
    unrolled = builder.lshr(k, constant(_UNROLL.bit_length() - 1))
    remaining = builder.and_(k, constant(_UNROLL - 1))
    for count, repeat in ((unrolled, _UNROLL), (remaining, 1)):
        inner = Loop(builder, count, [*sums, a_offset, b_at])
        *sums, a_offset, b_at = inner.values
        for _ in range(repeat):
            sums = step(sums, rows, a_offset, b_at)
            a_offset = builder.add(a_offset, a_step)
            b_at = builder.gep(b_at, [b_step])
        *sums, a_offset, b_at = inner.close([*sums, a_offset, b_at])
    *sums, _, _ = outer.close([*sums, builder.add(offset_at, constant(8)), b_at])
    return sums


def emit_initial(
    builder: Any, c_rows: Sequence[Any], accumulate: Any, c_panels: Sequence[Any] = (constant(0),)
) -> list[Any]:
    """The tile's first values, zeros. When accumulating, C is asked for now and added at the end:
    it may come from memory."""
    with builder.if_then(builder.icmp_signed("!=", accumulate, constant(0))):
        for row in c_rows:
            for panel in c_panels:
                emit_prefetch(builder, builder.add(row, panel), write=True)
    return [ir.Constant(VECTOR, [0.0] * LANES)] * (len(c_rows) * len(c_panels) * VECTORS)


def emit_result(
    builder: Any,
    sums: list[Any],
    c_rows: Sequence[Any],
    columns: Any,
    accumulate: Any,
    c_panels: Sequence[Any] = (constant(0),),
) -> None:
    """Write the tile, or add it; only the first `columns` columns.

    c_panels   where the tile's panels of C begin, in bytes from the first one"""
    whole = builder.icmp_signed(">=", columns, constant(PANEL * len(c_panels)))
    more = builder.icmp_signed("!=", accumulate, constant(0))
    # each vector of the tile: where it lies, and its number in the row
    places = [
        (builder.add(builder.add(row, panel), constant(4 * LANES * j)), p * VECTORS + j)
        for row in c_rows
        for p, panel in enumerate(c_panels)
        for j in range(VECTORS)
    ]
    with builder.if_else(whole) as (then, otherwise):
        with then, builder.if_else(more) as (add, overwrite):
            with add:
                for (place, _), value in zip(places, sums, strict=True):
                    emit_store(builder, place, builder.fadd(emit_load(builder, place), value))
            with overwrite:
                for (place, _), value in zip(places, sums, strict=True):
                    emit_store(builder, place, value)
        with otherwise:
            masks = [
                emit_first_lanes(builder, builder.sub(columns, constant(LANES * number)))
                for number in range(VECTORS * len(c_panels))
            ]
            for (place, number), value in zip(places, sums, strict=True):
                mask = masks[number]
                zeros = builder.select(more, mask, ir.Constant(mask.type, [0] * LANES))
                before = emit_load_first(builder, place, zeros)
                emit_store_first(builder, place, builder.fadd(before, value), mask)
