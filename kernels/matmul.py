"""Matrix product: out = a @ b for float32 matrices (M, K) @ (K, N), and stacks of them.

Blocking, after the BLIS papers (Van Zee and van de Geijn 2015), with what this micro-kernel makes
superfluous left out:

    B is packed once, by all threads, into panels [N/16][K][16]
    for each block of K_BLOCK along k:         a panel's part (32 KiB) stays in first-level cache
        for each block of M_BLOCK rows of A:   the block (320 KiB) stays in second-level cache
            for each panel of B:  multiply_rows or multiply_columns

Rows of A that are contiguous are read in place; a transposed A (columns contiguous) is packed block
by block; any other A is first made contiguous. Threads share the rows of C, or its panels if there
are more of these.

Stacks with at least as many matrices as threads are shared by matrix; smaller stacks run one matrix
after the other. Everything but float32 goes to `numpy.matmul`.

Rounding: each element is a sum of K products in the order of k, rounded at every step, cut into
partial sums of K_BLOCK: |error| <= K * 2**-24 * (|a| @ |b|) to first order.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels import buffers
from kernels.addresses import address
from kernels.cache import kernel
from kernels.finish import Finish, FinishTable, finish_pixels, finish_rows
from kernels.language import njit
from kernels.microkernel import TOGETHER, multiply_columns, multiply_rows
from kernels.packing import copy_block
from kernels.parallel import get_num_threads, launch, share
from kernels.prepared import Prepared
from kernels.simd import int64_at
from kernels.workers import catch_up

K_BLOCK = 512
M_BLOCK = 160
PANEL = 16
SMALL = 400_000
"""Products of fewer multiplications than this run on one thread."""
QUICK = 40_000_000
"""Products of fewer multiplications than this save a launch where they can."""

_multiply_rows = multiply_rows.symbol
_multiply_columns = multiply_columns.symbol
_copy_block = copy_block.symbol

_TABLE_BYTES = 8 * (2 * M_BLOCK + 8)  # a multiple of 64
_WORK_BYTES = _TABLE_BYTES + 4 * M_BLOCK * K_BLOCK
"""Working memory of a task: a zero offset, the tables of row offsets, the packed block of A."""


@njit(nogil=True)
def _pack_b(b, row_step, column_step, k, n, panels, begin, end):
    """Panels begin .. end-1 of B."""
    for p in range(begin, end):
        lanes = min(PANEL, n - PANEL * p)
        _copy_block(
            b + p * PANEL * column_step,
            row_step,
            column_step,
            k,
            lanes,
            panels + p * k * 64,
            64,
            PANEL,
        )


@njit(nogil=True)
def _multiply(
    a, a_row, a_column, panels, c, c_row, m, n, k, p_begin, p_end, work, finish, finish_offset, add
):
    """Rows 0 .. m-1 and panels p_begin .. p_end-1 of C = A B.

    `finish` (0: nothing) is for whole rows of a dense C, and these begin at `finish_offset`. With
    `add` C is added to."""
    zero_offset = int64_at(work)
    zero_offset[0] = 0
    a_offsets = int64_at(work + 64)
    c_offsets = int64_at(work + 64 + 8 * M_BLOCK)
    packed = work + _TABLE_BYTES
    for i in range(min(m, M_BLOCK)):
        a_offsets[i] = i * a_row
        c_offsets[i] = i * c_row
    for k0 in range(0, k, K_BLOCK):
        kc = min(K_BLOCK, k - k0)
        for i0 in range(0, m, M_BLOCK):
            mc = min(M_BLOCK, m - i0)
            block = a + i0 * a_row + k0 * a_column
            if a_column != 4:
                for i in range(0, mc, PANEL):
                    _copy_block(
                        block + 4 * i,
                        a_column,
                        4,
                        kc,
                        min(PANEL, mc - i),
                        packed + i * kc * 4,
                        64,
                        PANEL,
                    )
            accumulate = 1 if k0 or add else 0
            if a_column == 4:
                _multiply_rows(
                    mc,
                    block,
                    work + 64,
                    work,
                    1,
                    kc,
                    panels + (p_begin * k + k0) * 64,
                    k * 64,
                    c + i0 * c_row + p_begin * 64,
                    work + 64 + 8 * M_BLOCK,
                    64,
                    min(n, p_end * PANEL) - p_begin * PANEL,
                    accumulate,
                )
            else:
                for p in range(p_begin, p_end, TOGETHER):
                    for i in range(0, mc, PANEL):
                        _multiply_columns(
                            min(PANEL, mc - i),
                            packed + i * kc * 4,
                            work,
                            1,
                            kc,
                            64,
                            panels + (p * k + k0) * 64,
                            64,
                            k * 64,
                            c + (i0 + i) * c_row + p * 64,
                            c_row,
                            64,
                            min(n, min(p_end, p + TOGETHER) * PANEL) - p * PANEL,
                            accumulate,
                        )
            if finish != 0 and k0 + kc == k:
                offset = i0 * c_row
                finish_pixels(mc, c + offset, n, int64_at(finish), finish_offset + offset)


@kernel(needs=[copy_block])
def pack_b(ints, floats, task, tasks):
    """B (address, row step, column step, k, n) into panels (address)."""
    n = ints[4]
    count = (n + PANEL - 1) // PANEL
    begin, end = share(count, task, tasks), share(count, task + 1, tasks)
    _pack_b(ints[0], ints[1], ints[2], ints[3], n, ints[5], begin, end)


@kernel(needs=[multiply_rows, multiply_columns, copy_block])
def multiply(ints, floats, task, tasks):
    """One task's rows of C, with B packed before, or its panels of C, which it packs itself."""
    a, a_row, a_column = ints[0], ints[1], ints[2]
    panels, c, c_row = ints[3], ints[4], ints[5]
    m, n, k = ints[6], ints[7], ints[8]
    by_rows = ints[9]
    work = ints[10] + task * ints[11]
    i_begin, i_end = 0, m
    p_begin, p_end = 0, (n + PANEL - 1) // PANEL
    if by_rows:
        tiles = (m + 7) // 8
        i_begin = min(m, 8 * share(tiles, task, tasks))
        i_end = min(m, 8 * share(tiles, task + 1, tasks))
    else:
        p_begin, p_end = share(p_end, task, tasks), share(p_end, task + 1, tasks)
        _pack_b(ints[12], ints[13], ints[14], k, n, panels, p_begin, p_end)
    a += i_begin * a_row
    c += i_begin * c_row
    rows, offset = i_end - i_begin, i_begin * c_row
    _multiply(
        a,
        a_row,
        a_column,
        panels,
        c,
        c_row,
        rows,
        n,
        k,
        p_begin,
        p_end,
        work,
        ints[15],
        offset,
        ints[16],
    )


@kernel(needs=[multiply_rows, multiply_columns, copy_block])
def multiply_stack(ints, floats, task, tasks):
    """One task's share of a stack of products; the addresses of the matrices come in tables."""
    a, b, c = int64_at(ints[0]), int64_at(ints[1]), int64_at(ints[2])
    count, m, n, k = ints[3], ints[4], ints[5], ints[6]
    a_row, a_column, b_row, b_column, c_row = ints[7], ints[8], ints[9], ints[10], ints[11]
    work = ints[12] + task * ints[13]
    panels = work + _WORK_BYTES
    n_panels = (n + PANEL - 1) // PANEL
    for i in range(share(count, task, tasks), share(count, task + 1, tasks)):
        _pack_b(b[i], b_row, b_column, k, n, panels, 0, n_panels)
        _multiply(a[i], a_row, a_column, panels, c[i], c_row, m, n, k, 0, n_panels, work, 0, 0, 0)


def matmul(a: NDArray[Any], b: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
    """out[..., i, j] = sum over k of a[..., i, k] * b[..., k, j].

    a    (M, K), or (..., M, K)
    b    (K, N), or (..., K, N) with the same leading axes
    out  (..., M, N) to write to, of the product's dtype; must not overlap a or b

    Any strides. Float32 runs on this file's kernels, everything else on `numpy.matmul`.
    Raises ValueError if shapes do not fit, TypeError if `out` has another dtype.
    """
    if a.ndim < 2 or a.ndim != b.ndim or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        raise ValueError(
            f"matmul: shapes {a.shape} and {b.shape} do not fit; "
            "needed are (..., M, K) and (..., K, N) with equal leading axes"
        )
    shape = (*a.shape[:-1], b.shape[-1])
    dtype = np.result_type(a, b)
    if out is not None and out.shape != shape:
        raise ValueError(f"matmul: out has shape {out.shape}, the product has {shape}")
    if out is not None and out.dtype != dtype:
        raise TypeError(f"matmul: out has dtype {out.dtype}, the product has {dtype}")
    if a.dtype != np.float32 or b.dtype != np.float32:
        catch_up()
        return np.matmul(a, b, out=out)
    if math.prod(shape) == 0:
        return buffers.empty(shape) if out is None else out
    if a.shape[-1] == 0:
        out = buffers.empty(shape) if out is None else out
        catch_up()
        out[...] = 0
        return out
    direct = out is not None and (out.strides[-1] == 4 or shape[-1] == 1)
    result = out if out is not None and direct else buffers.empty(shape, later=True)
    a = _readable(a)
    if a.ndim == 2:
        _multiply_pair(a, b, result)
    else:
        count = math.prod(shape[:-2])
        if count >= get_num_threads():
            _multiply_stack(a, b, result, count)
        else:
            for index in np.ndindex(shape[:-2]):
                _multiply_pair(a[index], b[index], result[index])
    if out is not None and not direct:
        catch_up()
        out[...] = result
        return out
    return result


def linear(x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any] | None = None) -> NDArray[Any]:
    """x @ weight.T + bias, (N, in), (out, in), (out,) -> (N, out); not for empty arrays.

    Float32 with many rows is one product that is finished with the bias; else the bias is added
    after `matmul`. Raises ValueError if shapes do not fit."""
    if x.shape[1:] != weight.shape[1:] or (bias is not None and bias.shape != weight.shape[:1]):
        given = "none" if bias is None else bias.shape
        raise ValueError(f"linear: x {x.shape}, weight {weight.shape} and bias {given} do not fit")
    float32 = all(a is None or a.dtype == np.float32 for a in (x, weight, bias))
    many_rows = -(-x.shape[0] // 8) >= -(-weight.shape[0] // PANEL)
    if float32 and many_rows and x.flags.c_contiguous:
        out = buffers.empty((x.shape[0], weight.shape[0]), later=True)
        multiply_finished(x, weight.T, out, None if bias is None else Finish(shift=bias))
        return out
    out = matmul(x, weight.T)
    if bias is None:
        return out
    if float32:
        finish_rows(out, Finish(shift=bias))
        return out
    catch_up()
    return np.add(out, bias, out=out if out.dtype == bias.dtype else None)


def _readable(a: NDArray[Any]) -> NDArray[Any]:
    """`a`, or a copy if neither its rows nor its columns are contiguous."""
    if a.strides[-1] == 4 or a.strides[-2] == 4 or a.shape[-1] == 1:
        return a
    catch_up()
    return np.ascontiguousarray(a)


def _steps(a: NDArray[Any]) -> tuple[int, int]:
    """Bytes from row to row and from column to column of A, as the kernels want them: one of them
    4."""
    row, column = a.strides[-2:]
    if a.shape[-1] == 1:
        column = 4
    return row, column


def multiply_finished(
    a: NDArray[Any],
    b: NDArray[Any],
    out: NDArray[Any],
    finish: Finish | None = None,
    prepared: Prepared | None = None,
    accumulate: bool = False,
) -> None:
    """out = a @ b for float32 matrices, A's rows and out contiguous; then what `finish` says.

    prepared     keeps the packed B
    accumulate   out += a @ b"""
    if finish is None and prepared is None:
        _multiply_pair(a, b, out, accumulate)
        return
    (m, k), n = a.shape, b.shape[1]
    if prepared is None:
        panels = _packed(b)
    else:
        panels = prepared.get("matrix")
        if panels is None:
            panels = prepared.keep("matrix", _packed(b))
    tasks = get_num_threads() if m * n * k >= SMALL else 1
    # whole rows, so that they can be finished
    tasks = min(tasks, -(-m // 8))
    table = FinishTable(finish, n)
    work = buffers.scratch(tasks * _TABLE_BYTES)
    launch(
        multiply,
        (
            *(a, *_steps(a), panels, out, out.strides[0]),
            *(m, n, k, 1, work, _TABLE_BYTES, 0, 0, 0),
            *(table.numbers, int(accumulate)),
        ),
        tasks=tasks,
        later=True,
        keep=(table,),
    )


def _packed(b: NDArray[Any]) -> NDArray[Any]:
    k, n = b.shape
    count = -(-n // PANEL)
    panels = buffers.aligned(count * k * 64, later=True)
    tasks = get_num_threads() if k * n >= SMALL // 16 else 1
    launch(pack_b, (b, *b.strides, k, n, panels), tasks=min(tasks, count), later=True)
    return panels


def _multiply_pair(
    a: NDArray[Any], b: NDArray[Any], out: NDArray[Any], accumulate: bool = False
) -> None:
    (m, k), n = a.shape, b.shape[1]
    tasks = get_num_threads() if m * n * k >= SMALL else 1
    count = -(-n // PANEL)
    panels = buffers.aligned(count * k * 64, later=True)
    a_row, a_column = _steps(a)
    work_bytes = _TABLE_BYTES if a_column == 4 else _WORK_BYTES
    by_rows = -(-m // 8) >= count and not _quick_by_panels(m, n, k, count, tasks)
    if by_rows:
        launch(pack_b, (b, *b.strides, k, n, panels), tasks=min(tasks, count), later=True)
    else:
        tasks = min(tasks, count)
    work = buffers.scratch(tasks * work_bytes)
    shape = (m, n, k, int(by_rows), work, work_bytes)
    launch(
        multiply,
        (
            *(a, a_row, a_column, panels, out, out.strides[0]),
            *(*shape, b, *b.strides, 0, int(accumulate)),
        ),
        tasks=tasks,
        later=True,
    )


def _quick_by_panels(m: int, n: int, k: int, count: int, tasks: int) -> bool:
    """Whether sharing the panels, which takes one launch and not two, is worth reading A twice: in
    small products whose panels can be shared evenly."""
    return m * n * k < QUICK and count % tasks == 0


def _multiply_stack(a: NDArray[Any], b: NDArray[Any], out: NDArray[Any], count: int) -> None:
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    tasks = get_num_threads() if count * m * n * k >= SMALL else 1
    each = _WORK_BYTES + -(-n // PANEL) * k * 64
    work = buffers.scratch(tasks * each)
    tables = [_addresses(x) for x in (a, b, out)]
    steps = (*_steps(a), *b.strides[-2:], out.strides[-2])
    launch(multiply_stack, (*tables, count, m, n, k, *steps, work, each), tasks=tasks)


def _addresses(stack: NDArray[Any]) -> NDArray[np.int64]:
    """Where each matrix of a stack begins."""
    offsets = _offsets(stack.shape[:-2], stack.strides[:-2])
    return offsets + address(stack)


@lru_cache(maxsize=64)
def _offsets(shape: tuple[int, ...], strides: tuple[int, ...]) -> NDArray[np.int64]:
    total = np.zeros(shape, np.int64)
    for axis, (length, stride) in enumerate(zip(shape, strides, strict=True)):
        steps = np.arange(length, dtype=np.int64) * stride
        total += steps.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return total.ravel()
