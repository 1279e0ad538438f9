"""Products with 16 rows or columns of a matrix that fit the registers: convolutions of 16 channels.

A micro-kernel's tile (microkernel.py) costs some 50 cycles besides its products: tables, first
values, tests, the start of its loops. With k = 16 its products take 64, so the walk of Winograd's
36 matrices of 16 x 16 would spend a third of its time on that. Here all of B stays in 16 of the 32
vector registers (or, in the weight gradient, all of C), rows follow each other in memory, and
nothing is tested. Both give the bits of microkernel.py: the same sums in the same order.

Measured on Zen 5 (16 lanes), 64 tiles, cycles for a tile's 36 products of 16 x 16, which are 288
cycles of its multipliers:

                 multiply_rows / columns    square
    V U                      497              317
    V^T D                    390              322

With 8 lanes or 4 there are 16 registers of half or a quarter of the size, and these do not pay.
"""

from typing import Any

from llvmlite import ir

from kernels.cache import kernel
from kernels.language import intrinsic, signature_of, words
from kernels.microkernel_code import Loop, constant
from kernels.simd import (
    FLOAT,
    LANES,
    PANEL,
    VECTOR,
    emit_fma,
    emit_load,
    emit_splat,
    emit_store,
    pointer,
)

SQUARE_PAYS = LANES == PANEL
"""Whether to use these at all."""
_ROWS = 8
"""Rows of A that are multiplied at a time: as many sums as hide the latency of a multiply-add."""
_ZERO = ir.Constant(VECTOR, [0.0] * LANES)
_PARTS = range(0, 4 * PANEL, 4 * LANES)
"""Where the vectors of a panel begin, in bytes."""


def _load_panel(builder: Any, at: Any) -> list[Any]:
    return [emit_load(builder, builder.add(at, constant(part))) for part in _PARTS]


def _multiply_add(builder: Any, at: Any, panel: list[Any], sums: list[Any]) -> list[Any]:
    """sums + the float at `at` * panel"""
    factor = emit_splat(builder, builder.load(pointer(builder, at, FLOAT)))
    return [emit_fma(builder, factor, b, c) for b, c in zip(panel, sums, strict=True)]


def _square_rows(n_rows: int) -> Any:
    """An intrinsic: `blocks` times n_rows rows of A, times B."""

    @intrinsic
    def rows(typingctx, blocks, a, b, c):
        def codegen(context, builder, signature, args):
            blocks, a, b, c = args
            panels = [_load_panel(builder, builder.add(b, constant(64 * k))) for k in range(PANEL)]
            loop = Loop(builder, blocks, [a, c])
            a, c = loop.values
            for i in range(n_rows):
                sums = [_ZERO] * len(_PARTS)
                for k in range(PANEL):
                    at = builder.add(a, constant(64 * i + 4 * k))
                    sums = _multiply_add(builder, at, panels[k], sums)
                for part, value in zip(_PARTS, sums, strict=True):
                    emit_store(builder, builder.add(c, constant(64 * i + part)), value)
            step = constant(64 * n_rows)
            loop.close([builder.add(a, step), builder.add(c, step)])
            return context.get_dummy_value()

        return signature_of(words(4)), codegen

    return rows


@intrinsic
def _square_columns(typingctx, k, a, b, c, accumulate):
    def codegen(context, builder, signature, args):
        k, a, b, c, accumulate = args
        n = len(_PARTS)
        loop = Loop(builder, k, [_ZERO] * (PANEL * n) + [a, b])
        *sums, a, b = loop.values
        panel = _load_panel(builder, b)
        new = []
        for i in range(PANEL):
            at = builder.add(a, constant(4 * i))
            new += _multiply_add(builder, at, panel, sums[i * n : (i + 1) * n])
        *sums, _, _ = loop.close([*new, builder.add(a, constant(64)), builder.add(b, constant(64))])
        places = [builder.add(c, constant(64 * i + part)) for i in range(PANEL) for part in _PARTS]
        more = builder.icmp_signed("!=", accumulate, constant(0))
        with builder.if_else(more) as (add, overwrite):
            with add:
                for place, value in zip(places, sums, strict=True):
                    emit_store(builder, place, builder.fadd(emit_load(builder, place), value))
            with overwrite:
                for place, value in zip(places, sums, strict=True):
                    emit_store(builder, place, value)
        return context.get_dummy_value()

    return signature_of(words(5)), codegen


_eight_rows, _one_row = _square_rows(_ROWS), _square_rows(1)


@kernel(words(4))
def multiply_square(rows, a, b, c):
    """C[i, 0:16] = sum over k of A[i, k] * B[k, 0:16], for i in 0 .. rows-1, k in 0 .. 15; rows of
    all three follow each other, 64 bytes each."""
    blocks = rows // _ROWS
    if blocks:
        _eight_rows(blocks, a, b, c)
    done = blocks * _ROWS
    if done < rows:
        _one_row(rows - done, a + 64 * done, b, c + 64 * done)


@kernel(words(5))
def add_square(k, a, b, c, accumulate):
    """C[i, 0:16] (+)= sum over k of A[k, i] * B[k, 0:16], for i in 0 .. 15; rows of all three
    follow each other, 64 bytes each. accumulate: 0 overwrites C, 1 adds to it."""
    _square_columns(k, a, b, c, accumulate)
