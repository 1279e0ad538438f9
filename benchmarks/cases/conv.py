"""Convolution, its input gradient and its weight gradient, float32.

Ours works on channels-last arrays, as the engine does. PyTorch gets the layout of its mode, and is
called below its autograd."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.case import Case
from benchmarks.cases._convolutions import GROUPS, Convolution
from benchmarks.settings import Settings
from kernels import conv2d_forward, conv2d_grad_input, conv2d_grad_weight

Array = NDArray[np.float32]
PASSES = ("forward", "input gradient", "weight gradient")


def cases(settings: Settings) -> Iterator[Case]:
    for group, convolutions in GROUPS.items():
        for which in PASSES:
            for shape in convolutions:
                yield _case(settings, f"{group}: {which}", shape, which)


def _case(settings: Settings, group: str, shape: Convolution, which: str) -> Case:
    random = np.random.default_rng(0)
    x = random.standard_normal(shape.x_shape, np.float32)
    weight = random.standard_normal(shape.weight_shape, np.float32)
    grad = random.standard_normal(shape.out_shape, np.float32)
    peers = _torch_calls(shape, which, x, weight, grad) if settings.wants("torch") else {}
    products = shape.out_size**2 * shape.batch * weight.size
    return Case(
        name=shape.name,
        group=group,
        ours=_our_call(shape, which, _channels_last(x), weight, _channels_last(grad)),
        peers=peers,
        flops=2 * products,
        bytes=4 * (x.size + weight.size + grad.size),
    )


def _channels_last(x: Array) -> Array:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def _our_call(
    shape: Convolution, which: str, x: Array, weight: Array, grad: Array
) -> Callable[[], Any]:
    options = (shape.stride, shape.padding, shape.dilation, shape.groups)
    if which == "forward":
        return lambda: conv2d_forward(x, weight, *options)
    if which == "input gradient":
        return lambda: conv2d_grad_input(grad, weight, x.shape, *options)
    return lambda: conv2d_grad_weight(grad, x, weight.shape, *options)


def _torch_calls(
    shape: Convolution, which: str, x: Array, weight: Array, grad: Array
) -> dict[str, Callable[[], Any]]:
    import torch

    from benchmarks.torch_modes import Mode, modes

    def call(mode: Mode) -> Callable[[], Any]:
        tx, tw, tg = (mode.place(torch.from_numpy(array)) for array in (x, weight, grad))
        if which == "forward":
            stride, padding, dilation = shape.stride, shape.padding, shape.dilation

            def forward() -> Any:
                with torch.inference_mode():
                    return torch.conv2d(tx, tw, None, stride, padding, dilation, shape.groups)

            return forward
        sizes = [[value] * 2 for value in (shape.stride, shape.padding, shape.dilation)]
        wanted = [which == "input gradient", which == "weight gradient", False]

        def backward() -> Any:
            with torch.inference_mode():
                found = torch.ops.aten.convolution_backward(
                    tg, tx, tw, None, *sizes, False, [0, 0], shape.groups, wanted
                )
            return found[wanted.index(True)]

        return backward

    return {mode.label: call(mode) for mode in modes(compiled=False)}
