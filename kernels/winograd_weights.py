"""Winograd's transforms of weights, and of their gradient: launches of their own, or a part of
others.

U is [xi][panel of outputs][input][16] for the 36 positions xi, and so is dU. Turned kernels (by 180
degrees, inputs and outputs exchanged) are those of an input gradient.
"""

from functools import lru_cache
from typing import Any

from numpy.typing import NDArray

from kernels import buffers
from kernels.conv_direct import one_step_positions
from kernels.launch_plan import HERE, LaunchPlan, Work
from kernels.parallel import get_num_threads
from kernels.winograd_plan import panels
from kernels.winograd_weight_loops import (
    KERNEL,
    TOGETHER,
    transform_weights,
    write_weight_gradient,
)

Array = NDArray[Any]
PANEL = 16

FEW_WEIGHTS = 1024
"""The gradient of so many weights or fewer is written by one thread: the task that is done last."""
OWN_WEIGHTS = 4096
"""So many weights or fewer are transformed by each task for itself. That takes twice the work, but
no launch, and neither core reads what the other wrote."""


def few(inner: int, outer: int) -> bool:
    """Whether one thread does what there is to do with the weights."""
    return inner * outer <= FEW_WEIGHTS


def own_transforms(inner: int, outer: int) -> bool:
    """Whether tasks transform the weights for themselves."""
    return inner * outer <= OWN_WEIGHTS


def weight_ints(strides: tuple[int, ...], inner: int, outer: int, turned: bool) -> list[Any]:
    """What the transforms of weights (O, I, 3, 3, to be given) of these strides need to know."""
    o_step, i_step, _, position_step = strides
    lane_step, k_step = (i_step, o_step) if turned else (o_step, i_step)
    return [HERE, lane_step, k_step, position_step, outer, inner, int(turned)]


OWN_SCRATCH = TOGETHER * KERNEL
"""Bytes of working memory of a task that transforms weights."""


def transformed(weight: Array, inner: int, outer: int, turned: bool) -> Array:
    """U: 36 matrices, u_distance(inner, outer) apart."""
    weight = one_step_positions(weight)
    plan, u_bytes = _transform_plan(weight.strides, inner, outer, turned, get_num_threads())
    u = buffers.aligned(u_bytes, later=True)
    plan.launch(weight, u, beside=True)
    return u


def u_distance(inner: int, outer: int) -> int:
    """Bytes from one of the 36 matrices of U (and of dU) to the next."""
    return buffers.spread(panels(outer) * inner * 64)


@lru_cache(maxsize=512)
def _transform_plan(
    strides: tuple[int, ...], inner: int, outer: int, turned: bool, threads: int
) -> tuple[LaunchPlan, int]:
    """How weights of these strides are transformed, and the bytes of U."""
    u_step = u_distance(inner, outer)
    tasks = 1 if few(inner, outer) else threads
    ints = [*weight_ints(strides, inner, outer, turned), HERE, u_step, Work()]
    plan = LaunchPlan(transform_weights, ints, tasks=tasks, work_bytes=tasks * OWN_SCRATCH)
    return plan, 36 * u_step


def finish_weight_gradient(
    du: Array, n_partials: int, result: Array, held_back: bool = False
) -> None:
    """result (O, C, 3, 3, C order) from the sum of the tasks' dU."""
    outer, inner = result.shape[:2]
    plan = _finish_plan(outer, inner, n_partials, get_num_threads())
    run = plan.go if held_back else plan.launch
    run(du, result)


@lru_cache(maxsize=512)
def _finish_plan(outer: int, inner: int, n_partials: int, threads: int) -> LaunchPlan:
    """How `finish_weight_gradient` works."""
    tasks = 1 if few(inner, outer) else threads
    ints = [*gradient_ints(inner, outer, n_partials), Work()]
    work_bytes = tasks * GRADIENT_SCRATCH
    return LaunchPlan(write_weight_gradient, ints, tasks=tasks, work_bytes=work_bytes)


def gradient_ints(inner: int, outer: int, n_partials: int) -> list[Any]:
    """What it takes to write the weight's gradient; to be given: dU, the result."""
    du_step = u_distance(inner, outer)
    return [HERE, du_step, n_partials, 36 * du_step, outer, inner, HERE]


GRADIENT_SCRATCH = PANEL * (36 * 64 + KERNEL)
"""Bytes of working memory of a task that writes a weight's gradient."""
