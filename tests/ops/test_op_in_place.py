"""What an op keeps is changed in place before its backward: an error, or no effect."""

import re

import numpy as np
import pytest
from op_case import Case
from op_catalogue import CASES

import tinygrad_ft as tg
from tinygrad_ft import autograd

every_case = pytest.mark.parametrize("case", CASES, ids=[c.id for c in CASES])


def change(tensor: tg.Tensor) -> None:
    """Every element becomes another one, written through a view of the memory."""
    view = tensor.detach()[...]
    array = view.numpy()
    if array.dtype.kind == "f":
        view.copy_(array * 1.5 + 0.25)
    elif array.dtype.kind == "b":
        view.copy_(~array)
    else:
        # an index that existed: the change itself must be legal
        view.copy_(np.where(array == array.max(), array.min(), array.max()))


def gradients(case: Case, changed: int | None, outputs_too: bool) -> list[np.ndarray]:
    """The gradients of the inputs, with input or output number `changed` changed after forward."""
    tensors = case.tensors(case.arrays())
    result = case.run(*tensors)
    outputs = case.differentiable(result)
    if changed is not None:
        target = outputs[changed] if outputs_too else tensors[changed]
        # one element that is seen many times is not for writing
        if target.numel() and target.data.flags.writeable:
            change(target)
    inputs = [t for t in tensors if t.requires_grad]
    found = autograd.grad(outputs, inputs, [np.ones(o.shape) for o in outputs])
    return [f.numpy() for f in found]


@every_case
def test_a_change_raises_or_has_no_effect(case: Case) -> None:
    expected = gradients(case, None, False)
    outputs = case.differentiable(case.run(*case.tensors(case.arrays())))
    places = [(i, False) for i in range(len(case.inputs))]
    places += [(i, True) for i in range(len(outputs))]
    for place, outputs_too in places:
        refused = ""
        try:
            found = gradients(case, place, outputs_too)
        except RuntimeError as error:
            refused = str(error)
        if refused:
            what = r"\w+: its (input \d+|output), of shape \(.*\), .*changed in place"
            assert re.match(what, refused), refused
        else:
            for f, e in zip(found, expected, strict=True):
                np.testing.assert_array_equal(f, e)
