"""Elementwise work that is limited by memory: one pass, on all threads.

    relu_forward   out = x, or 0 where x < 0;  passes = not (x < 0)
    mask_scale     out = x * scale where mask, else 0
    add            out = a + b
    accumulate     target += value
    sgd_update     one optimizer step, in place; a gradient of another layout is copied first
    sgd_update_all the same for many parameters at once
    adam_update    likewise

Any shapes, any strides, and the arrays of one call have equal shapes. Nothing here depends on the
order of the axes, so arrays that are dense and have the same order of axes in memory (both
channels last, both row-major, ...) are treated as flat memory. That is the fast path: float32,
FLAT_MINIMUM elements or more. Everything else takes the NumPy lines beside it: other dtypes, small
arrays (NumPy is done before a kernel has started; while launches are recorded they take the kernel,
see recording.py), and arrays of different or gappy layouts. Both paths give the same bits, except
that the optimizer kernels round less often (a * b + c in one rounding where the processor can).

A result is laid out like the first array argument that is dense, else in the axis order of the
first.

LLVM vectorises the plain loops below (with one check that the arrays do not overlap), so they run
at the speed of the memory. `python -m benchmarks layers` compares. Share of PyTorch's time at (128,
16, 32, 32), one or two threads: add 1.1, accumulate 1.1, relu_forward 1.3 (PyTorch writes no mask),
mask_scale 0.65; relu_forward and the mask_scale of its backward together 0.87. sgd_update and
adam_update take 0.45 of the time of the same steps in NumPy at 12 million parameters.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kernels.addresses import CELL_HEAD, cells
from kernels.buffers import empty, is_reused
from kernels.cache import kernel
from kernels.parallel import launch, share
from kernels.placing import reordered
from kernels.simd import float32_at, int64_at, uint8_at
from kernels.workers import catch_up, is_recorded

Array = NDArray[Any]
FLOAT32 = np.dtype(np.float32)

FLAT_MINIMUM = 1 << 16
"""Elements from which a kernel beats NumPy."""


# ------------------------------------------------------------------------------------ memory layout


def _axis_order(array: Array) -> list[int]:
    """Axes by falling distance in memory."""
    if array.flags.c_contiguous:
        return list(range(array.ndim))
    distances = [-abs(stride) for stride in array.strides]
    return sorted(
        range(array.ndim), key=distances.__getitem__
    )  # stable: equal ones keep their order


def _dense(array: Array, order: Sequence[int]) -> bool:
    """True if the array, seen with its axes in this order, fills its memory row by row."""
    return array.transpose(order).flags.c_contiguous


def _result_order(*arrays: Array) -> list[int]:
    """Axis order for a result: that of the first dense array, else of the first."""
    for array in arrays:
        order = _axis_order(array)
        if _dense(array, order):
            return order
    return _axis_order(arrays[0])


def _empty(
    shape: Sequence[int], order: Sequence[int], dtype: DTypeLike, later: bool = False
) -> Array:
    memory = empty([shape[axis] for axis in order], dtype, later=later)
    inverse = [0] * len(order)
    for place, axis in enumerate(order):
        inverse[axis] = place
    return memory.transpose(inverse)


def _flat(order: Sequence[int], *arrays: Array) -> bool:
    """True if the arrays are flat memory of the same order of axes, and worth a kernel."""
    worth = arrays[0].size >= FLAT_MINIMUM or is_recorded()
    return worth and all(_dense(array, order) for array in arrays)


def _float32(*arrays: Array) -> bool:
    return all(array.dtype == FLOAT32 for array in arrays)


def _flat_in_place(op: str, targets: Sequence[Array], value: Array) -> bool:
    """True if a kernel may write to the targets. Arrays that overlap are left to NumPy, which
    computes as if the value had been copied before."""
    for target in targets:
        if not target.flags.writeable:
            raise ValueError(f"{op}: an array that would be written in place is read-only")
    arrays = (*targets, value)
    return (
        _float32(*arrays)
        and _flat(_axis_order(targets[0]), *arrays)
        and not any(np.may_share_memory(a, b) for a, b in combinations(arrays, 2))
    )


def _in_layout_of(target: Array, value: Array) -> Array:
    """value, or if that lets a kernel run, its copy in the memory layout of target."""
    order = _axis_order(target)
    if not _float32(target, value) or not _flat(order, target) or _dense(value, order):
        return value
    copy = _empty(value.shape, order, value.dtype)
    np.copyto(copy, value)
    return copy


def _check_shapes(op: str, **arrays: Array) -> None:
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"{op}: the arrays must have the same shape, got {found}")


# ------------------------------------------------------------------------------------------ kernels


@kernel()
def _relu(ints, floats, task, tasks):
    x, out, passes, n = float32_at(ints[0]), float32_at(ints[1]), uint8_at(ints[2]), ints[3]
    zero = np.float32(0)
    for i in range(share(n, task, tasks), share(n, task + 1, tasks)):
        keep = not (x[i] < zero)
        out[i] = x[i] if keep else zero
        passes[i] = keep


@kernel()
def _mask_scale(ints, floats, task, tasks):
    x, mask, out, n = float32_at(ints[0]), uint8_at(ints[1]), float32_at(ints[2]), ints[3]
    scale = np.float32(floats[0])
    zero = np.float32(0)
    for i in range(share(n, task, tasks), share(n, task + 1, tasks)):
        scaled = x[i] * scale
        out[i] = scaled if mask[i] != 0 else zero


@kernel()
def _add(ints, floats, task, tasks):
    a, b, out, n = float32_at(ints[0]), float32_at(ints[1]), float32_at(ints[2]), ints[3]
    for i in range(share(n, task, tasks), share(n, task + 1, tasks)):
        out[i] = a[i] + b[i]


@kernel()
def _accumulate(ints, floats, task, tasks):
    target, value, n = float32_at(ints[0]), float32_at(ints[1]), ints[2]
    for i in range(share(n, task, tasks), share(n, task + 1, tasks)):
        target[i] += value[i]


@kernel()
def _sgd(ints, floats, task, tasks):
    """For each row: the cells (addresses.py) of param, grad and velocity; their elements."""
    rows, sizes, count, nesterov = int64_at(ints[0]), int64_at(ints[1]), ints[2], ints[3] != 0
    head = ints[4]
    lr, momentum = np.float32(floats[0]), np.float32(floats[1])
    fresh, decay = np.float32(floats[2]), np.float32(floats[3])
    for row in range(count):
        param = float32_at(int64_at(rows[3 * row] + head)[0])
        grad = float32_at(int64_at(rows[3 * row + 1] + head)[0])
        velocity = float32_at(int64_at(rows[3 * row + 2] + head)[0])
        n = sizes[row]
        for i in range(share(n, task, tasks), share(n, task + 1, tasks)):
            g = grad[i] + decay * param[i]
            v = momentum * velocity[i] + fresh * g
            velocity[i] = v
            param[i] -= lr * (g + momentum * v if nesterov else v)


@kernel()
def _adam(ints, floats, task, tasks):
    param, grad = float32_at(ints[0]), float32_at(ints[1])
    first, second, n = float32_at(ints[2]), float32_at(ints[3]), ints[4]
    step_size, root, eps = np.float32(floats[0]), np.float32(floats[1]), np.float32(floats[2])
    b1, b2 = np.float32(floats[3]), np.float32(floats[4])
    rest1, rest2 = np.float32(1 - floats[3]), np.float32(1 - floats[4])
    shrink, decay = np.float32(floats[5]), np.float32(floats[6])
    for i in range(share(n, task, tasks), share(n, task + 1, tasks)):
        p = param[i] * shrink
        g = grad[i] + decay * p
        m = b1 * first[i] + rest1 * g
        v = b2 * second[i] + rest2 * (g * g)
        first[i] = m
        second[i] = v
        param[i] = p - step_size * (m / (np.sqrt(v) / root + eps))


# ---------------------------------------------------------------------------------------- functions


def relu_forward(x: Array) -> tuple[Array, Array]:
    """(out, passes): x where it is not negative, else 0, and the boolean array that says where.

    A NaN is not negative: it stays. passes is true at exactly 0: derivative 1 there (PyTorch: 0).
    """
    order = _result_order(x)
    out = _empty(x.shape, order, x.dtype, later=True)
    passes = _empty(x.shape, order, np.bool_, later=True)
    if _float32(x) and _flat(order, x):
        launch(_relu, (x, out, passes, x.size), later=True)
    else:
        catch_up()
        np.less(x, 0, out=passes)
        np.copyto(out, x)
        np.copyto(out, 0, where=passes)
        np.logical_not(passes, out=passes)
    return out, passes


def mask_scale(x: Array, mask: Array, scale: float = 1.0) -> Array:
    """x * scale where the boolean mask holds, else 0, in the dtype of x; of images in C order laid
    out like the mask.

    Masked elements of x do not matter, NaN and infinity included.
    Raises ValueError if the shapes differ, TypeError if mask is not boolean.
    """
    _check_shapes("mask_scale", x=x, mask=mask)
    if mask.dtype != np.bool_:
        raise TypeError(f"mask_scale: mask must be a boolean array, got {mask.dtype}")
    order = _result_order(x, mask)
    if x.ndim == 4 and x.flags.c_contiguous and _float32(x) and _dense(mask, _axis_order(mask)):
        # images in C order whose mask is not: a gradient that comes through a flattening
        order = _axis_order(mask)
        if _flat(order, mask) and not _dense(x, order):
            x = reordered(x, order)
    out = _empty(x.shape, order, x.dtype, later=True)
    if _float32(x) and _flat(order, x, mask):
        launch(_mask_scale, (x, mask, out, x.size), (float(scale),), later=True)
    else:
        catch_up()
        out.fill(0)
        np.multiply(x, x.dtype.type(scale), out=out, where=mask)
    return out


def add(a: Array, b: Array) -> Array:
    """a + b. Raises ValueError if the shapes differ."""
    _check_shapes("add", a=a, b=b)
    order = _result_order(a, b)
    out = _empty(a.shape, order, np.result_type(a, b), later=True)
    if _float32(a, b) and _flat(order, a, b):
        launch(_add, (a, b, out, a.size), later=True)
    else:
        catch_up()
        with np.errstate(all="ignore"):
            np.add(a, b, out=out)
    return out


def accumulate(target: Array, value: Array) -> None:
    """target += value, in place.

    Raises ValueError if the shapes differ or target is read-only, TypeError if the dtype of target
    cannot hold the sum.
    """
    _check_shapes("accumulate", target=target, value=value)
    if _flat_in_place("accumulate", (target,), value):
        launch(_accumulate, (target, value, target.size), later=True)
    else:
        catch_up()
        np.add(target, value, out=target, casting="same_kind")


def sgd_update(
    param: Array,
    grad: Array,
    momentum_buffer: Array | None,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """One step of SGD; param and momentum_buffer (v) are changed in place:

        g = grad + weight_decay * param
        v = momentum * v + (1 - dampening) * g
        param -= lr * (g + momentum * v if nesterov else v)     (lr * g without a buffer)

    PyTorch's formula. Its first step sets v = g: pass a buffer of zeros and dampening 0 then.
    Raises ValueError if the shapes differ or an array to be changed is read-only.
    """
    buffers = () if momentum_buffer is None else (momentum_buffer,)
    velocity = param if momentum_buffer is None else momentum_buffer
    _check_shapes("sgd_update", param=param, grad=grad, momentum_buffer=velocity)
    grad = _in_layout_of(param, grad)
    lr, momentum, decay = float(lr), float(momentum), float(weight_decay)
    fresh = 1 - float(dampening)
    if _flat_in_place("sgd_update", (param, *buffers), grad) and buffers:
        _launch_sgd([(param, grad, velocity)], lr, momentum, fresh, decay, nesterov)
        return
    g = grad + decay * param if decay else grad
    for v in buffers:
        v *= momentum
        v += fresh * g
        g = g + momentum * v if nesterov else v
    param -= lr * g


def sgd_update_all(
    params: Sequence[Array],
    grads: Sequence[Array],
    momentum_buffers: Sequence[Array],
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """`sgd_update` of many parameters in one launch; of those that are no plain float32 memory of
    their own, one by one."""
    rows = list(zip(params, grads, momentum_buffers, strict=True))
    if not _plain(params, grads, momentum_buffers):
        plain = []
        for row in rows:
            if _plain(*[[a] for a in row]):
                plain.append(row)
            else:
                sgd_update(*row, lr, momentum, dampening, weight_decay, nesterov)
        rows = plain
    if rows:
        fresh = 1 - float(dampening)
        _launch_sgd(rows, float(lr), float(momentum), fresh, float(weight_decay), nesterov)


def _plain(params: Sequence[Array], grads: Sequence[Array], velocities: Sequence[Array]) -> bool:
    """Whether these are float32 without gaps, those of one parameter of one shape, and params and
    velocities memory of their own, which may be written and is nobody else's: no other parameter's,
    and not grad's."""
    own = [*params, *velocities]
    return (
        [a.dtype for a in (*own, *grads)].count(FLOAT32) == 3 * len(params)
        and [p.shape for p in params] == [g.shape for g in grads] == [v.shape for v in velocities]
        and False not in [a.base is None and a.flags.carray for a in own]
        and False not in [grad.flags.c_contiguous for grad in grads]
        # what owns its memory shares it with nobody but itself
        and not any(
            grad is param or grad is velocity
            # the pool's memory is nobody's own
            if grad.base is None or is_reused(grad)
            else np.may_share_memory(grad, param) or np.may_share_memory(grad, velocity)
            for param, grad, velocity in zip(params, grads, velocities, strict=True)
        )
    )


def _launch_sgd(
    rows: Sequence[tuple[Array, Array, Array]],
    lr: float,
    momentum: float,
    fresh: float,
    decay: float,
    nesterov: bool,
) -> None:
    """For rows of param, grad, velocity."""
    places = cells([a for row in rows for a in row])
    sizes = [row[0].size for row in rows]
    tasks = None if sum(sizes) >= FLAT_MINIMUM else 1
    tables = (places.buffer_info()[0], np.array(sizes, np.int64))
    numbers = (lr, momentum, fresh, decay)
    launch(_sgd, (*tables, len(rows), int(nesterov), CELL_HEAD), numbers, tasks=tasks)


def adam_update(
    param: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Step 1, 2, ... of Adam, or of AdamW if decoupled; all arrays but grad are changed in place:

        g = grad + weight_decay * param         (AdamW: param *= 1 - lr * weight_decay and g = grad)
        exp_avg = b1 * exp_avg + (1 - b1) * g
        exp_avg_sq = b2 * exp_avg_sq + (1 - b2) * g^2
        param -= lr / (1 - b1^step) * exp_avg / (sqrt(exp_avg_sq / (1 - b2^step)) + eps)

    Kingma & Ba 2015, arXiv:1412.6980; Loshchilov & Hutter 2019, arXiv:1711.05101; as in PyTorch.
    Raises ValueError if the shapes differ or an array to be changed is read-only.
    """
    _check_shapes("adam_update", param=param, grad=grad, exp_avg=exp_avg, exp_avg_sq=exp_avg_sq)
    grad = _in_layout_of(param, grad)
    b1, b2, lr, eps = float(betas[0]), float(betas[1]), float(lr), float(eps)
    step_size, root = lr / (1 - b1**step), math.sqrt(1 - b2**step)
    shrink, decay = 1.0, float(weight_decay)
    if decoupled:
        shrink, decay = 1 - lr * decay, 0.0
    if _flat_in_place("adam_update", (param, exp_avg, exp_avg_sq), grad):
        numbers = (step_size, root, eps, b1, b2, shrink, decay)
        launch(_adam, (param, grad, exp_avg, exp_avg_sq, param.size), numbers)
        return
    param *= shrink
    g = grad + decay * param if decay else grad
    exp_avg *= b1
    exp_avg += (1 - b1) * g
    exp_avg_sq *= b2
    exp_avg_sq += (1 - b2) * (g * g)
    param -= step_size * (exp_avg / (np.sqrt(exp_avg_sq) / root + eps))
