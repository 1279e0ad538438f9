"""Both gradients of a 3x3 convolution that a batch norm follows, without the array in between.

A batch norm's gradient is the grad_out of the convolution before it. As an array it is written
once and read twice, and where it is larger than the cache that is a third of what such a backward
pass moves. Here a unit of it is computed where it is needed, in the stage of Winograd's tiles, and
serves the input gradient and the weight gradient at once (a convolution's memory traffic in units
of one activation: 7 instead of 11, batch norm's sums and the write-allocate of a store included).

The bits are those of batch_norm_backward followed by conv2d_grad_input and conv2d_grad_weight: the
same units in the same order, and each value from the same instructions.

It serves what winograd.py does unit by unit (fused): 3x3, stride 1, padding 1, channels of grad_out
in whole panels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels import buffers, winograd, winograd_few
from kernels.finish import FinishTable
from kernels.norm import NormGradient
from kernels.parallel import get_num_threads, launch
from kernels.winograd_backward_loops import fused_backward
from kernels.winograd_plan import image_table, panels, tile_plan, unit_ints

Array = NDArray[Any]
PANEL = 16


def conv2d_backward_pays(
    grad_out: NormGradient,
    x: Array,
    weight: Array,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> bool:
    """Whether `conv2d_backward` takes these."""
    inner, outer = x.shape[1], weight.shape[0]
    return (
        padding == (1, 1)
        and outer % PANEL == 0
        and x.dtype == weight.dtype == np.float32
        and inner * outer < winograd.WEIGHTS_BY_STEP_FROM**2
        and not winograd_few.pays(x.shape[0], x.shape[2:], outer, inner)
        and winograd.pays(x.shape, weight.shape, grad_out.shape, stride, padding, dilation, groups)
    )


def conv2d_backward(
    grad_out: NormGradient, x: Array, weight: Array, grad_x: Array, accumulate: bool = False
) -> Array:
    """Write the gradient of conv2d(x, weight, padding=1)'s input to grad_x (or add it with
    `accumulate`), and return that of its weight.

    For arguments that `conv2d_backward_pays` takes; grad_x (N, C, H, W) with contiguous channels.
    """
    inner, outer = x.shape[1], weight.shape[0]
    n, _, height, width = x.shape
    u, u_step = winograd.transformed(weight, outer, inner, True)
    source = grad_out.grad.transpose(0, 3, 1, 2)
    tasks = get_num_threads()
    wanted = winograd.wanted_tiles(inner, outer)
    plan = tile_plan(n, outer, inner, (height, width), (1, 1), wanted, tasks)
    tasks = min(tasks, plan.count)
    # V and M of the input gradient, then V and D of the weight gradient in the same place
    panel_step = plan.unit_tiles * 64
    v_step, xv_step = (
        buffers.spread(panel_step * panels(outer)),
        buffers.spread(panel_step * panels(inner)),
    )
    area = 36 * (v_step + xv_step)
    x_pixel = 4 * PANEL * panels(inner)
    stage_bytes = plan.images * plan.stage_image
    x_stage_bytes = plan.images * plan.stage_rows * plan.stage_columns * x_pixel
    tables = 64 + buffers.spread(16 * plan.unit_tiles) + 20 * outer
    task_bytes = buffers.spread(stage_bytes + x_stage_bytes + area + 1024 + tables)
    du_step = buffers.spread(panels(outer) * inner * 64)
    du = buffers.aligned(tasks * 36 * du_step, later=True)
    nothing_more = FinishTable(None, inner)
    table, x_table = image_table(grad_x, nothing_more, accumulate), image_table(x)
    work = buffers.scratch(tasks * task_bytes)
    launch(
        fused_backward,
        [
            *unit_ints(source, plan),
            *(table, u, u_step, grad_out.x, grad_out.factors, grad_out.relu, x_table),
            *(work, task_bytes, stage_bytes, x_pixel, x_stage_bytes),
            *(v_step, xv_step, 36 * v_step, xv_step, panel_step, 36 * xv_step, v_step),
            *(area, plan.unit_tiles, du, du_step, 36 * du_step),
        ],
        (grad_out.eps,),
        tasks=tasks,
        later=True,
        keep=(grad_x, x, grad_out.of, nothing_more),
    )
    result = buffers.empty(weight.shape, later=True)
    winograd.finish_weight_gradient(du, du_step, tasks, result)
    return result
