"""Winograd's transforms of weights and of their gradient, from and to (O, I, 3, 3)."""

from typing import Any

from kernels.cache import kernel
from kernels.language import njit, words
from kernels.packing import copy_block
from kernels.parallel import share
from kernels.simd import LANES, PANEL, add, load, prefetch, store
from kernels.winograd_transforms import KERNEL, transform_weight, transform_weight_gradient

_copy_block = copy_block.symbol
_transform_weight = transform_weight.symbol
_transform_weight_gradient = transform_weight_gradient.symbol

TOGETHER = 8
"""Inputs whose kernels are read together: 288 bytes that lie side by side."""


@njit(nogil=True)
def _ask_for(at, lane_step, k_step, lanes):
    """Prefetch the next kernels: 16 streams, each of a few hundred bytes, are too many and too
    short for the processor to see."""
    runs, step, nbytes = lanes, lane_step, TOGETHER * k_step
    if abs(k_step) > abs(lane_step):
        runs, step, nbytes = TOGETHER, k_step, lanes * lane_step
    for i in range(runs):
        for j in range(0, min(abs(nbytes), 1024), 64):
            prefetch(at + i * step + (j if nbytes > 0 else -j))


@kernel(words(8), needs=[copy_block])
def read_kernels(source, lane_step, k_step, position_step, inputs, lanes, target, more):
    """A panel's kernels of up to TOGETHER inputs: target[input][9][16]. If there are more, these
    are asked for."""
    if k_step == 36 and position_step == 4:
        _copy_block(source, 4, lane_step, 9 * inputs, lanes, target, 64, PANEL)
    else:
        for k in range(inputs):
            to = target + k * KERNEL
            _copy_block(source + k * k_step, position_step, lane_step, 9, lanes, to, 64, PANEL)
    if more:
        _ask_for(source + inputs * k_step, lane_step, k_step, lanes)


_read_kernels = read_kernels.symbol


def kernels_transform(transform: Any) -> Any:
    """A function that makes U of one panel of outputs and some inputs:
    target[xi][phase][input][16].

    transform   (a panel's kernels of some inputs, how many, turned, target, distances in bytes of
                the target's positions and of its phases)
    """

    @njit(nogil=True)
    def kernels(
        at,
        lane_step,
        k_step,
        position_step,
        inputs,
        lanes,
        turned,
        target,
        target_position,
        target_phase,
        scratch,
    ):
        """at        the first input's kernel of the panel's first output; `lanes` outputs
        turned    whether kernels are turned by 180 degrees
        scratch   TOGETHER * KERNEL bytes"""
        for first in range(0, inputs, TOGETHER):
            here = min(TOGETHER, inputs - first)
            source = at + first * k_step
            more = 1 if first + here < inputs else 0
            _read_kernels(source, lane_step, k_step, position_step, here, lanes, scratch, more)
            transform(scratch, here, turned, target + first * 64, target_position, target_phase)

    return kernels


@njit(nogil=True)
def _transform(kernels, inputs, turned, target, position_step, phase_step):
    if turned:
        _transform_weight(kernels + 8 * 64, -192, -64, inputs, target, position_step)
    else:
        _transform_weight(kernels, 192, 64, inputs, target, position_step)


transform_kernels = kernels_transform(_transform)


@njit(nogil=True)
def write_kernels(kernels, inputs, lanes, to, output_step):
    """A panel's kernels[input][9][16] into (O, I, 3, 3): `to` is the first input of the panel's
    first output, outputs are output_step bytes apart."""
    for i in range(0, 9 * inputs, PANEL):
        n = min(PANEL, 9 * inputs - i)
        _copy_block(kernels + 64 * i, 4, 64, lanes, n, to + 4 * i, output_step, n)


@njit(nogil=True)
def write_gradients(du, du_position, inputs, lanes, to, output_step, scratch):
    """dw[output][input][3, 3] of one panel of outputs and up to 16 inputs from du[xi][input][16].

    to, output_step   the first input of the panel's first output; bytes from output to output
    scratch           16 * KERNEL bytes"""
    for k in range(inputs):
        _transform_weight_gradient(du + k * 64, du_position, scratch + k * KERNEL)
    write_kernels(scratch, inputs, lanes, to, output_step)


def items_transform(kernels: Any) -> Any:
    """A function that makes a task's share of U from weights of any strides; `kernels` is the one
    for a panel and some inputs."""

    @njit(nogil=True)
    def items(ints, target, target_position, target_panel, target_phase, scratch, task, tasks):
        """ints      address, steps of lane, k and position, outputs, inputs, whether turned
        scratch   TOGETHER * KERNEL bytes"""
        weight, lane_step, k_step, position_step = ints[0], ints[1], ints[2], ints[3]
        outer, inner, turned = ints[4], ints[5], ints[6]
        blocks = (inner + TOGETHER - 1) // TOGETHER
        total = (outer + PANEL - 1) // PANEL * blocks
        for item in range(share(total, task, tasks), share(total, task + 1, tasks)):
            p = item // blocks
            k = (item - p * blocks) * TOGETHER
            kernels(
                weight + p * PANEL * lane_step + k * k_step,
                lane_step,
                k_step,
                position_step,
                min(TOGETHER, inner - k),
                min(PANEL, outer - p * PANEL),
                turned,
                target + p * target_panel + k * 64,
                target_position,
                target_phase,
                scratch,
            )

    return items


_transform_items = items_transform(transform_kernels)


@njit(nogil=True)
def transform_items(ints, target, target_position, scratch, task, tasks):
    """A task's share of U[xi][panel of outputs][input][16]; arguments as above."""
    _transform_items(ints, target, target_position, ints[5] * 64, 0, scratch, task, tasks)


@kernel(needs=[read_kernels, transform_weight])
def transform_weights(ints, floats, task, tasks):
    """U of weights, shared by the tasks."""
    transform_items(ints, ints[7], ints[8], ints[9] + task * TOGETHER * KERNEL, task, tasks)


@njit(nogil=True)
def write_items(ints, scratch, task, tasks):
    """A task's share of (O, I, 3, 3) from the sum of all dU[xi][panel of outputs][input][16].

    ints      dU, bytes between its matrices, how many there are and the bytes between them,
              outputs, inputs, result
    scratch   PANEL * (36 * 64 + KERNEL) bytes"""
    du, du_position, n_partials, du_task = ints[0], ints[1], ints[2], ints[3]
    outer, inner, result = ints[4], ints[5], ints[6]
    sums = scratch + PANEL * KERNEL
    blocks = (inner + PANEL - 1) // PANEL
    total = (outer + PANEL - 1) // PANEL * blocks
    for item in range(share(total, task, tasks), share(total, task + 1, tasks)):
        p = item // blocks
        k = (item - p * blocks) * PANEL
        inputs = min(PANEL, inner - k)
        source, step = du + (p * inner + k) * 64, du_position
        if n_partials > 1:
            for xi in range(36):
                for v in range(0, inputs * 64, 4 * LANES):
                    at = source + xi * du_position + v
                    value = load(at)
                    for i in range(1, n_partials):
                        value = add(value, load(at + i * du_task))
                    store(sums + xi * PANEL * 64 + v, value)
            source, step = sums, PANEL * 64
        to = result + (p * PANEL * inner + k) * 36
        lanes = min(PANEL, outer - p * PANEL)
        write_gradients(source, step, inputs, lanes, to, inner * 36, scratch)


@kernel(needs=[copy_block, transform_weight_gradient])
def write_weight_gradient(ints, floats, task, tasks):
    """A weight's gradient, shared by the tasks."""
    write_items(ints, ints[7] + task * PANEL * (36 * 64 + KERNEL), task, tasks)
