"""The loop of winograd_backward.py: both gradients of a convolution from those behind its batch
norm, unit by unit."""

from kernels.atomic import atomic_add
from kernels.cache import kernel
from kernels.language import njit
from kernels.microkernel import multiply_columns, multiply_rows
from kernels.norm_gradient_loops import (
    add_gradient_sums,
    add_gradients,
    begin_gradient_sums,
    end_gradient_sums,
    gradient_of_pixels,
    merge_gradient_sums,
)
from kernels.norm_loops import prepare
from kernels.packing import copy_block, stage_rows
from kernels.parallel import share
from kernels.simd import PANEL, int64_at
from kernels.square import add_square, multiply_square
from kernels.winograd_loops import (
    CHANNELS,
    FIRST_COLUMN,
    FIRST_ROW,
    HEIGHT,
    OWN,
    STAGE_IMAGE,
    STAGE_PIXEL,
    STAGE_ROW,
    STAGE_ROWS,
    UNITS,
    WIDTH,
    add_unit,
    multiply_unit,
    stage_windows,
    transform_gradients,
    transform_inputs,
    unit_of,
    write_tiles,
)
from kernels.winograd_transforms import (
    transform_gradient,
    transform_input,
    transform_output,
    transform_weight,
    transform_weight_gradient,
)
from kernels.winograd_weight_loops import read_kernels, transform_items, write_items

_prepare = prepare.symbol


@njit(nogil=True)
def _norm_gradient(ints, y, vectors, relu, n, here, top, buffer):
    """What is staged of grad_out becomes the gradient of the batch norm's input y, in place; the
    zeros around the image stay."""
    channels = ints[CHANNELS]
    y_pixel = 4 * channels
    y_row = ints[WIDTH] * y_pixel
    first = 4 * top + ints[FIRST_ROW]
    for i in range(here):
        image = y + (n + i) * ints[HEIGHT] * y_row
        for row in range(max(0, -first), min(ints[STAGE_ROWS], ints[HEIGHT] - first)):
            at = buffer + i * ints[STAGE_IMAGE] + row * ints[STAGE_ROW]
            gradient_of_pixels(
                at - ints[FIRST_COLUMN] * ints[STAGE_PIXEL],
                image + (first + row) * y_row,
                ints[WIDTH],
                ints[STAGE_PIXEL],
                y_pixel,
                channels,
                vectors,
                relu,
            )


@kernel(
    needs=[
        multiply_rows,
        multiply_columns,
        multiply_square,
        add_square,
        stage_rows,
        transform_input,
        transform_gradient,
        transform_output,
        copy_block,
        read_kernels,
        transform_weight,
        transform_weight_gradient,
        prepare,
        add_gradients,
        merge_gradient_sums,
    ]
)
def fused_backward(ints, floats, task, tasks):
    """grad_out and y -> stage -> V -> M -> grad_x;  x -> stage -> V, with D of the first stage ->
    dU of this task; where weights are not many, also their U, where they are few, grad_w of all
    tasks' dU; and with each unit, a batch norm's `gradient_sums` of grad_x."""
    result = int64_at(ints[OWN])
    y, factors, relu, x = ints[OWN + 1], ints[OWN + 2], ints[OWN + 3], ints[OWN + 4]
    buffer = ints[OWN + 5] + task * ints[OWN + 6]
    x_buffer, x_pixel = buffer + ints[OWN + 7], ints[OWN + 8]
    m = x_buffer + ints[OWN + 9]
    step, panel_step = ints[OWN + 10], ints[OWN + 14]
    v = m + step  # so M[xi] lies where V[xi - 1] was
    xv, xv_step = m, ints[OWN + 11]
    d, d_step = xv + ints[OWN + 12], ints[OWN + 13]
    scratch = m + ints[OWN + 15]
    unit_tiles = ints[OWN + 16]
    du, du_position = ints[OWN + 17] + task * ints[OWN + 19], ints[OWN + 18]
    own, u, u_position = ints[OWN + 20], ints[OWN + 22], ints[OWN + 21]
    if own:
        u = buffer + own
        transform_items(int64_at(ints[OWN + 22]), u, u_position, u + 36 * u_position, 0, 1)
    offsets = scratch + 1024  # 64 bytes of zeros, the rows of V, the rows of M, the norm's vectors
    v_rows = offsets + 64
    m_rows = v_rows + 8 * unit_tiles
    vectors = offsets + 64 * (1 + (16 * unit_tiles + 63) // 64)
    outer, inner = ints[CHANNELS], result[7]
    outer_panels, inner_panels = (outer + PANEL - 1) // PANEL, (inner + PANEL - 1) // PANEL
    patch = -ints[FIRST_ROW] * ints[STAGE_ROW] - ints[FIRST_COLUMN] * ints[STAGE_PIXEL]
    _prepare(factors, floats[0], vectors, outer, 1, 1)
    int64_at(offsets)[0] = 0
    for t in range(unit_tiles):
        int64_at(v_rows)[t] = t * outer_panels * 64
        int64_at(m_rows)[t] = t * 64
    after, after_rows = int64_at(ints[OWN + 25]), ints[OWN + 26]
    if after_rows:
        begin_gradient_sums(after, floats[1], task)
    begin = share(ints[UNITS], task, tasks)
    for unit in range(begin, share(ints[UNITS], task + 1, tasks)):
        n, here, top, tiles = unit_of(ints, unit)
        stage_windows(ints, ints, n, here, top, buffer, ints[STAGE_PIXEL])
        _norm_gradient(ints, y, vectors, relu, n, here, top, buffer)
        pixel, row = ints[STAGE_PIXEL], outer_panels * 64
        transform_inputs(ints, buffer, pixel, tiles, outer, v, step, 64, row)
        multiply_unit(
            tiles,
            v,
            step,
            v_rows,
            offsets,
            outer,
            u,
            u_position,
            inner_panels,
            m,
            step,
            panel_step,
            m_rows,
        )
        write_tiles(ints, result, n, here, top, tiles, m, step, panel_step, scratch)
        if after_rows:
            row = n * after_rows
            add_gradient_sums(after, task, row, (n + here) * after_rows, after[5])
        # in the same geometry as grad_out
        stage_windows(ints, int64_at(x), n, here, top, x_buffer, x_pixel)
        transform_inputs(ints, x_buffer, x_pixel, tiles, inner, xv, xv_step, panel_step, 64)
        at, row = buffer + patch, ints[STAGE_ROW]
        transform_gradients(ints, at, 0, row, pixel, tiles, outer, d, d_step, panel_step)
        add_unit(
            tiles,
            xv,
            xv_step,
            d,
            d_step,
            panel_step,
            offsets,
            inner,
            outer_panels,
            du,
            du_position,
            1 if unit > begin else 0,
        )
    if after_rows:
        end_gradient_sums(after, floats[1], tasks)
    if ints[OWN + 23] != 0 and atomic_add(ints[OWN + 24], 1) == tasks - 1:
        write_items(int64_at(ints[OWN + 23]), scratch, 0, 1)
