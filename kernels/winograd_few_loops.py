"""The loops of Winograd's convolution of few tiles (winograd_few.py says what they are for)."""

from kernels.cache import kernel
from kernels.microkernel import multiply_columns, multiply_rows
from kernels.packing import copy_block
from kernels.parallel import share
from kernels.simd import PANEL, int64_at
from kernels.winograd_transforms import (
    transform_output,
    transform_weight,
    transform_weight_gradient,
)
from kernels.winograd_weight_loops import read_kernels, transform_kernels, write_gradients

_multiply_rows = multiply_rows.symbol
_multiply_columns = multiply_columns.symbol
_transform_output = transform_output.symbol

CHUNK = 64
"""Inputs whose U (147 KiB) is made and multiplied before the next ones: it stays in the cache."""
U_STEP = CHUNK * 64 + 64
"""Between the 36 matrices of a chunk's U."""
DU_STEP = PANEL * 64 + 64
"""Between the 36 matrices of a pair of panels' dU."""


@kernel(needs=[multiply_rows, read_kernels, transform_weight, transform_output])
def few_forward(ints, floats, task, tasks):
    """U -> M -> result, one panel of outputs after the other; V is there.

    tile table   per tile: offset in the result, height and width of what is written"""
    weight, lane_step, k_step, position_step = ints[0], ints[1], ints[2], ints[3]
    outer, inner, turned = ints[4], ints[5], ints[6]
    v, v_position, v_chunk = ints[7], ints[8], ints[9]
    tiles, zero, v_rows, m_rows = ints[10], ints[11], ints[12], ints[13]
    result, row_step, pixel_step, table = ints[14], ints[15], ints[16], int64_at(ints[17])
    accumulate, m_step = ints[18], ints[19]
    u = ints[20] + task * ints[21]
    m = u + 36 * U_STEP
    scratch = m + 36 * m_step
    panels = (outer + PANEL - 1) // PANEL
    for p in range(share(panels, task, tasks), share(panels, task + 1, tasks)):
        lanes = min(PANEL, outer - p * PANEL)
        for k in range(0, inner, CHUNK):
            here = min(CHUNK, inner - k)
            transform_kernels(
                weight + p * PANEL * lane_step + k * k_step,
                lane_step,
                k_step,
                position_step,
                here,
                lanes,
                turned,
                u,
                U_STEP,
                0,
                scratch,
            )
            for xi in range(36):
                _multiply_rows(
                    tiles,
                    v + xi * v_position + k // CHUNK * v_chunk,
                    v_rows,
                    zero,
                    1,
                    here,
                    u + xi * U_STEP,
                    0,
                    m + xi * m_step,
                    m_rows,
                    0,
                    PANEL,
                    1 if k else 0,
                )
        for t in range(tiles):
            _transform_output(
                m + 64 * t,
                m_step,
                0,
                lanes,
                result + table[3 * t] + p * 64,
                row_step,
                pixel_step,
                table[3 * t + 1],
                table[3 * t + 2],
                scratch,
                accumulate,
            )


@kernel(needs=[multiply_columns, copy_block, transform_weight_gradient])
def few_weight_gradient(ints, floats, task, tasks):
    """V, D -> dU -> result, one pair of panels after the other."""
    v, v_position, d, d_position, panel_step = ints[0], ints[1], ints[2], ints[3], ints[4]
    outer, inner, tiles, zero, result = ints[5], ints[6], ints[7], ints[8], ints[9]
    du = ints[10] + task * ints[11]
    scratch = du + 36 * DU_STEP
    blocks = (inner + PANEL - 1) // PANEL
    total = (outer + PANEL - 1) // PANEL * blocks
    for item in range(share(total, task, tasks), share(total, task + 1, tasks)):
        p = item // blocks
        q = item - p * blocks
        inputs = min(PANEL, inner - q * PANEL)
        for xi in range(36):
            _multiply_columns(
                inputs,
                v + xi * v_position + q * panel_step,
                zero,
                1,
                tiles,
                64,
                d + xi * d_position + p * panel_step,
                64,
                0,
                du + xi * DU_STEP,
                64,
                0,
                PANEL,
                0,
            )
        to = result + (p * inner + q) * PANEL * 36
        lanes = min(PANEL, outer - p * PANEL)
        write_gradients(du, DU_STEP, inputs, lanes, to, inner * 36, scratch)
