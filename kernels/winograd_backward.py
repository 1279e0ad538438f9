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

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels import buffers, winograd, winograd_few
from kernels.conv_direct import one_step_positions
from kernels.finish import NO_FINISH
from kernels.joining import Pass, Waiting, hold
from kernels.launch_plan import HERE, LaunchPlan, Work
from kernels.norm import NormGradient
from kernels.norm_plan import GRADIENT_VECTORS, NOT_JOINED, sums_in_units
from kernels.parallel import get_num_threads
from kernels.winograd_backward_loops import fused_backward
from kernels.winograd_plan import image_ints, panels, tile_plan, unit_ints, wanted_tiles
from kernels.winograd_weights import (
    GRADIENT_SCRATCH,
    OWN_SCRATCH,
    few,
    finish_weight_gradient,
    gradient_ints,
    own_transforms,
    transformed,
    u_distance,
    weight_ints,
)

Array = NDArray[Any]
PANEL = 16


def conv2d_backward_pays(grad_out: NormGradient, x: Array, weight: Array, *geometry: Any) -> bool:
    """Whether `conv2d_backward` takes these; `geometry`: stride, padding, dilation, groups."""
    return (
        winograd.winograd_enabled()
        and x.dtype == weight.dtype == np.float32
        and _suits(x.shape, weight.shape, grad_out.shape, *geometry)
    )


@lru_cache(maxsize=512)
def _suits(
    x_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    grad_shape: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> bool:
    inner, outer = x_shape[1], weight_shape[0]
    return (
        padding == (1, 1)
        and outer % PANEL == 0
        and inner * outer < winograd.WEIGHTS_BY_STEP_FROM**2
        and not winograd_few.pays(x_shape[0], (x_shape[2], x_shape[3]), outer, inner)
        and winograd.suits(weight_shape, grad_shape, stride, dilation, groups)
    )


def conv2d_backward(
    grad_out: NormGradient, x: Array, weight: Array, grad_x: Array, accumulate: bool = False
) -> Array:
    """Write the gradient of conv2d(x, weight, padding=1)'s input to grad_x (or add it with
    `accumulate`), and return that of its weight.

    For arguments that `conv2d_backward_pays` takes; grad_x (N, C, H, W) with contiguous channels.
    """
    result = buffers.empty(weight.shape, later=True)
    gradients = _Gradients(grad_out, x, weight, grad_x, result, accumulate)
    if not hold(gradients):
        gradients.launch()
    return result


class _Gradients(Waiting):
    """Both gradients unit by unit, which the sums of the batch norm before them may join.

    `result` is grad_x. Where weights are not many they are transformed by each task for itself, and
    where they are few their gradient is written by the last one; else these are launches of their
    own."""

    def __init__(
        self,
        grad_out: NormGradient,
        x: Array,
        weight: Array,
        grad_x: Array,
        grad_w: Array,
        accumulate: bool,
    ) -> None:
        inner, outer = x.shape[1], weight.shape[0]
        self.grad_out, self.x, self.result, self.grad_w = grad_out, x, grad_x, grad_w
        self.own, self.few = own_transforms(inner, outer), few(inner, outer)
        if self.own:
            self.weight = one_step_positions(weight)
        else:
            self.weight = transformed(weight, outer, inner, True)
        self.facts = (
            *(grad_out.shape, x.shape, x.strides, grad_x.strides, accumulate),
            *(grad_out.relu, grad_out.eps, self.weight.strides if self.own else None),
        )

    def launch(self) -> None:
        self._start(held_back=False)

    def publish(self) -> None:
        self._start()

    def go_with(self, kind: str, after: Pass) -> bool:
        return kind == "gradient sums" and self._start(after)

    def _start(self, after: Pass | None = None, held_back: bool = True) -> bool:
        """Begin, with a pass over grad_x. False if that cannot join, and nothing was done."""
        way = _way(*self.facts, get_num_threads(), None if after is None else after.facts)
        if way is None:
            return False
        du = buffers.aligned(way.du_bytes, later=True)
        run = way.plan.go if held_back else way.plan.launch
        run(*self._arrays(du, after))
        if not self.few:
            finish_weight_gradient(du, way.plan.tasks, self.grad_w, held_back)
        return True

    def _arrays(self, du: Array, after: Pass | None) -> list[Array]:
        """What the plan wants."""
        grad_out = self.grad_out
        arrays = [grad_out.grad, self.result, grad_out.x, *grad_out.vectors, self.x, du]
        arrays += (self.weight, du, self.grad_w) if self.few else (self.weight,)
        if after is not None:
            arrays += after.arrays
        return arrays


class _Way(NamedTuple):
    """How it is done. To be given: grad, grad_x, y, the norm's vectors, x, dU, U or weights, where
    they are few dU and grad_w; then what the pass after it wants."""

    plan: LaunchPlan
    du_bytes: int


@lru_cache(maxsize=512)
def _way(
    shape: tuple[int, ...],
    x_shape: tuple[int, ...],
    x_strides: tuple[int, ...],
    grad_x_strides: tuple[int, ...],
    accumulate: bool,
    relu: int,
    eps: float,
    own: tuple[int, ...] | None,
    threads: int,
    after: tuple[Any, ...] | None,
) -> _Way | None:
    """The way, with a pass (its facts) after it; None if that cannot join."""
    (n, inner, height, width), outer = x_shape, shape[1]
    pixel = 4 * outer
    strides = (height * width * pixel, 4, width * pixel, pixel)
    wanted = wanted_tiles(inner, outer)
    plan = tile_plan(n, outer, inner, (height, width), (1, 1), wanted, threads)
    tasks = min(threads, plan.count)
    # M and V of the input gradient, then V and D of the weight gradient in the same place
    panel_step = plan.unit_tiles * 64
    d_step = buffers.spread(panel_step * panels(outer))
    xv_step = buffers.spread(panel_step * panels(inner))
    step = max(d_step, xv_step)
    area = max(37 * step, 36 * (d_step + xv_step))
    x_pixel = 4 * PANEL * panels(inner)
    stage_bytes = plan.images * plan.stage_image
    x_stage_bytes = plan.images * plan.stage_rows * plan.stage_columns * x_pixel
    tables = 64 + buffers.spread(16 * plan.unit_tiles) + 20 * outer
    # behind all that, perhaps, U
    u_at = buffers.spread(stage_bytes + x_stage_bytes + area + max(1024, GRADIENT_SCRATCH) + tables)
    u_step, du_step = u_distance(outer, inner), u_distance(inner, outer)
    task_bytes = buffers.spread(u_at + (36 * u_step + OWN_SCRATCH if own else 0))
    work_bytes, last = tasks * task_bytes, NOT_JOINED
    if after is not None:
        if (joined := sums_in_units(after, plan, tasks, work_bytes)) is None:
            return None
        last, work_bytes = joined, work_bytes + joined.work_bytes
    weights = [
        weight_ints(own, outer, inner, True) if own else HERE,
        gradient_ints(inner, outer, tasks) if few(inner, outer) else 0,
        [0],
    ]
    ints = [
        *unit_ints(HERE, shape, strides, plan),
        image_ints(HERE, x_shape, grad_x_strides, NO_FINISH, accumulate),
        *(HERE, [HERE] * GRADIENT_VECTORS, relu, image_ints(HERE, x_shape, x_strides)),
        *(Work(), task_bytes, stage_bytes, x_pixel, x_stage_bytes),
        *(step, xv_step, 36 * xv_step, d_step, panel_step),
        *(area, plan.unit_tiles, HERE, du_step, 36 * du_step),
        *(u_at if own else 0, u_step, *weights, *last.ints),
    ]
    numbers = (eps, after[1] if after else 0.0)
    plan_of_launch = LaunchPlan(fused_backward, ints, numbers, tasks, work_bytes=work_bytes)
    return _Way(plan_of_launch, tasks * 36 * du_step)
