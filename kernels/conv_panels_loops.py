"""The loops of the weight gradient of panels (conv_panels.py says what they are for)."""

from kernels.cache import kernel
from kernels.language import njit
from kernels.microkernel import TOGETHER, multiply_columns
from kernels.packing import fill_zero, split_channels
from kernels.parallel import share
from kernels.simd import PANEL, int64_at

_multiply_columns = multiply_columns.symbol
_split_channels = split_channels.symbol


@njit(nogil=True)
def _clear(target, panels, panel_step, pixels):
    for q in range(panels):
        fill_zero(target + q * panel_step, PANEL * pixels)


@njit(nogil=True)
def _stage(image, channels, row, column, rows, columns, target, row_step, panel_step):
    """A window of one image into panels, with zeros where it leaves the image.

    image   address; steps of row, pixel, channel; height, width"""
    panels = (channels + PANEL - 1) // PANEL
    height, width = image[4], image[5]
    left = min(max(0, -column), columns)
    inside = max(0, min(width, column + columns) - max(0, column))
    right = columns - left - inside
    for i in range(rows):
        y, to = row + i, target + i * row_step
        if y < 0 or y >= height or inside == 0:
            _clear(to, panels, panel_step, columns)
            continue
        _clear(to, panels, panel_step, left)
        _clear(to + 64 * (left + inside), panels, panel_step, right)
        _split_channels(
            image[0] + y * image[1] + max(0, column) * image[2],
            image[2],
            image[3],
            inside,
            channels,
            to + 64 * left,
            panel_step,
        )


@kernel(needs=[multiply_columns, split_channels])
def panels_weight_gradient(ints, floats, task, tasks):
    """Sum a task's units into its partial gradient [panel of outputs][position, channel][16].

    With `by_panels` all tasks share one result: a task walks over all units and does its panels of
    outputs only."""
    x, x_image, x_row, x_pixel, x_channel = ints[0], ints[1], ints[2], ints[3], ints[4]
    height, width, channels = ints[5], ints[6], ints[7]
    grad, grad_image, grad_row = ints[8], ints[9], ints[10]
    grad_pixel, grad_channel = ints[11], ints[12]
    out_rows, out_columns, outer = ints[13], ints[14], ints[15]
    images, units, unit_images, bands, band_rows = ints[16], ints[17], ints[18], ints[19], ints[20]
    first_row, first_column, row_stride = ints[21], ints[22], ints[23]
    stage_rows, stage_columns, stage_image, stage_panel = ints[24], ints[25], ints[26], ints[27]
    pixel_rows, pixel_step, flat, zero = ints[28], ints[29], ints[30], ints[31]
    n_positions, positions = ints[32], int64_at(ints[33])
    by_panels, partial, partial_bytes = ints[34], ints[35], ints[36]
    buffer, stage_bytes, gradient_panel = ints[37] + task * ints[38], ints[39], ints[40]
    gradients = buffer + stage_bytes
    panels, x_panels = (outer + PANEL - 1) // PANEL, (channels + PANEL - 1) // PANEL
    begin, end = 0, units
    p_begin, p_end = 0, panels
    if by_panels:
        p_begin, p_end = share(panels, task, tasks), share(panels, task + 1, tasks)
    else:
        begin, end = share(units, task, tasks), share(units, task + 1, tasks)
        partial += task * partial_bytes
    outputs = min(outer, p_end * PANEL) - p_begin * PANEL
    for unit in range(begin, end):
        n, top = unit * unit_images, 0
        if bands > 1:
            n = unit // bands
            top = (unit - n * bands) * band_rows
        here = min(unit_images, images - n)
        rows = min(band_rows, out_rows - top)
        for i in range(here):
            _stage(
                (x + (n + i) * x_image, x_row, x_pixel, x_channel, height, width),
                channels,
                top * row_stride + first_row,
                first_column,
                stage_rows,
                stage_columns,
                buffer + i * stage_image,
                64 * stage_columns,
                stage_panel,
            )
            for y in range(rows):
                at = grad + (n + i) * grad_image + (top + y) * grad_row
                _split_channels(
                    at + p_begin * PANEL * grad_channel,
                    grad_pixel,
                    grad_channel,
                    out_columns,
                    outputs,
                    gradients + (i * rows + y) * out_columns * 64,
                    gradient_panel,
                )
        table, runs, length = pixel_rows, here * rows, out_columns
        if flat:
            table, runs, length = zero, 1, here * rows * out_columns
        for q in range(x_panels):
            for p in range(p_begin, p_end, TOGETHER):
                for b in range(n_positions):
                    _multiply_columns(
                        min(PANEL, channels - q * PANEL),
                        buffer + q * stage_panel + positions[b],
                        table,
                        runs,
                        length,
                        pixel_step,
                        gradients + (p - p_begin) * gradient_panel,
                        64,
                        gradient_panel,
                        partial + ((p * n_positions + b) * channels + q * PANEL) * 64,
                        64,
                        n_positions * channels * 64,
                        min(TOGETHER, p_end - p) * PANEL,
                        1 if unit > begin else 0,
                    )
