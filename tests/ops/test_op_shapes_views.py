"""Shape and indexing ops on generated shapes and arguments, as in NumPy."""

from collections.abc import Callable

import numpy as np
import op_reference as ref
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from op_property import check, shapes, values

import tinygrad_ft as tg
from tinygrad_ft.nn import functional as F

few, some = settings(max_examples=15), settings(max_examples=40)
Shape = tuple[int, ...]
Pair = tuple[Callable, Callable]


def a_dim(draw: Callable, shape: Shape) -> int:
    return draw(st.integers(-len(shape), len(shape) - 1))


def some_dims(draw: Callable, shape: Shape) -> Shape:
    found = draw(st.sets(st.integers(0, len(shape) - 1)))
    return tuple(d - len(shape) if draw(st.booleans()) else d for d in found)


def length(draw: Callable, size: int) -> tuple[int, int]:
    start = draw(st.integers(0, size))
    return start, draw(st.integers(0, size - start))


# each gives what to call on a tensor and what to call on an array


def flip(draw: Callable, shape: Shape) -> Pair:
    dims = some_dims(draw, shape)
    return lambda x: tg.flip(x, dims), lambda a: np.flip(a, dims)


def roll(draw: Callable, shape: Shape) -> Pair:
    if draw(st.booleans()):
        shift = draw(st.integers(-5, 5))
        return lambda x: tg.roll(x, shift), lambda a: np.roll(a, shift)
    dims = some_dims(draw, shape) or (0,)
    shifts = tuple(draw(st.integers(-5, 5)) for _ in dims)
    return lambda x: tg.roll(x, shifts, dims), lambda a: np.roll(a, shifts, dims)


def repeat(draw: Callable, shape: Shape) -> Pair:
    lead = draw(st.integers(0, 2))
    counts = tuple(draw(st.integers(0, 2)) for _ in range(lead + len(shape)))
    return lambda x: x.repeat(*counts), lambda a: np.tile(a, counts)


def tile(draw: Callable, shape: Shape) -> Pair:
    counts = tuple(draw(st.lists(st.integers(0, 2), min_size=1, max_size=4)))
    return lambda x: tg.tile(x, counts), lambda a: np.tile(a, counts)


def movedim(draw: Callable, shape: Shape) -> Pair:
    count = draw(st.integers(1, len(shape)))
    source = tuple(draw(st.permutations(range(len(shape))))[:count])
    target = tuple(draw(st.permutations(range(len(shape))))[:count])
    return lambda x: tg.movedim(x, source, target), lambda a: np.moveaxis(a, source, target)


def permute(draw: Callable, shape: Shape) -> Pair:
    order = draw(st.permutations(range(len(shape))))
    signed = [d - len(shape) if draw(st.booleans()) else d for d in order]
    return lambda x: x.permute(signed), lambda a: a.transpose(order)


def transpose(draw: Callable, shape: Shape) -> Pair:
    first, second = a_dim(draw, shape), a_dim(draw, shape)
    name = draw(st.sampled_from(["transpose", "swapaxes"]))
    return lambda x: getattr(tg, name)(x, first, second), lambda a: a.swapaxes(first, second)


def narrow(draw: Callable, shape: Shape) -> Pair:
    dim = a_dim(draw, shape)
    start, size = length(draw, shape[dim])
    return lambda x: tg.narrow(x, dim, start, size), lambda a: a.take(
        range(start, start + size), dim
    )


def select(draw: Callable, shape: Shape) -> Pair:
    dim = a_dim(draw, shape)
    index = draw(st.integers(-shape[dim], shape[dim] - 1))
    return lambda x: tg.select(x, dim, index), lambda a: a.take(index, dim)


def split(draw: Callable, shape: Shape) -> Pair:
    dim = a_dim(draw, shape)
    if draw(st.booleans()):
        size = draw(st.integers(1, shape[dim] + 1))
        ends = list(range(size, shape[dim], size))
        return lambda x: tg.split(x, size, dim), lambda a: np.split(a, ends, dim)
    cut = draw(st.integers(0, shape[dim]))
    return lambda x: tg.split(x, [cut, shape[dim] - cut], dim), lambda a: np.split(a, [cut], dim)


def chunk(draw: Callable, shape: Shape) -> Pair:
    dim, chunks = a_dim(draw, shape), draw(st.integers(1, 4))
    size = -(-shape[dim] // chunks)
    ends = list(range(size, shape[dim], size))
    return lambda x: tg.chunk(x, chunks, dim), lambda a: np.split(a, ends, dim)


def unbind(draw: Callable, shape: Shape) -> Pair:
    dim = a_dim(draw, shape)
    return lambda x: tg.unbind(x, dim), lambda a: list(np.moveaxis(a, dim, 0))


def squeeze(draw: Callable, shape: Shape) -> Pair:
    dims = some_dims(draw, shape)
    ones = tuple(d for d in dims if shape[d] == 1)
    return lambda x: x.squeeze(dims), lambda a: np.squeeze(a, ones) if ones else a


def unsqueeze(draw: Callable, shape: Shape) -> Pair:
    dim = draw(st.integers(-len(shape) - 1, len(shape)))
    return lambda x: x.unsqueeze(dim), lambda a: np.expand_dims(a, dim)


def flatten(draw: Callable, shape: Shape) -> Pair:
    first = draw(st.integers(0, len(shape) - 1))
    last = draw(st.integers(first, len(shape) - 1))
    full = (*shape[:first], int(np.prod(shape[first : last + 1])), *shape[last + 1 :])
    return lambda x: x.flatten(first, last), lambda a: a.reshape(full)


def unflatten(draw: Callable, shape: Shape) -> Pair:
    dim = a_dim(draw, shape)
    factor = draw(st.sampled_from([f for f in range(1, 5) if shape[dim] % f == 0]))
    sizes = (factor, -1 if draw(st.booleans()) else shape[dim] // factor)
    at = dim % len(shape)
    full = (*shape[:at], factor, shape[dim] // factor, *shape[at + 1 :])
    return lambda x: tg.unflatten(x, dim, sizes), lambda a: a.reshape(full)


def expand(draw: Callable, shape: Shape) -> Pair:
    full = tuple(draw(st.integers(0, 3)) if n == 1 else n for n in shape)
    full = tuple(draw(st.lists(st.integers(0, 2), max_size=2))) + full
    return lambda x: x.expand(*full), lambda a: np.broadcast_to(a, full)


def diagonal(draw: Callable, shape: Shape) -> Pair:
    if len(shape) < 2:
        shape = (*shape, 2)
        return lambda x: tg.diagonal(x.unsqueeze(-1).expand(*shape)), lambda a: np.diagonal(
            np.broadcast_to(a[:, None], shape)
        )
    first, second = draw(st.permutations(range(len(shape))))[:2]
    offset = draw(st.integers(-2, 2))
    return lambda x: tg.diagonal(x, offset, first, second), lambda a: np.diagonal(
        a, offset, first, second
    )


def triangle(draw: Callable, shape: Shape) -> Pair:
    name, offset = draw(st.sampled_from(["tril", "triu"])), draw(st.integers(-3, 3))
    two = (1, *shape) if len(shape) < 2 else shape
    return lambda x: getattr(tg, name)(x.reshape(two), offset), lambda a: getattr(np, name)(
        a.reshape(two), offset
    )


def index_select(draw: Callable, shape: Shape) -> Pair:
    dim = a_dim(draw, shape)
    index = np.array(draw(st.lists(st.integers(0, shape[dim] - 1), max_size=4)), np.int64)
    return lambda x: tg.index_select(x, dim, tg.tensor(index)), lambda a: a.take(index, dim)


def masked_select(draw: Callable, shape: Shape) -> Pair:
    mask = draw(hnp.arrays(np.bool_, shape))
    return lambda x: tg.masked_select(x, tg.tensor(mask)), lambda a: a[mask]


def masked_fill(draw: Callable, shape: Shape) -> Pair:
    mask = draw(hnp.arrays(np.bool_, shape[-1:]))
    return lambda x: x.masked_fill(tg.tensor(mask), 2.5), lambda a: np.where(mask, 2.5, a)


def take_along_dim(draw: Callable, shape: Shape) -> Pair:
    dim = a_dim(draw, shape)
    index = draw(hnp.arrays(np.int64, shape, elements=st.integers(0, shape[dim] - 1)))
    name = draw(st.sampled_from(["take_along_dim", "gather"]))
    if name == "gather":
        return lambda x: tg.gather(x, dim, tg.tensor(index)), lambda a: np.take_along_axis(
            a, index, dim
        )
    return lambda x: tg.take_along_dim(x, tg.tensor(index), dim), lambda a: np.take_along_axis(
        a, index, dim
    )


def stack(draw: Callable, shape: Shape) -> Pair:
    dim = draw(st.integers(-len(shape) - 1, len(shape)))
    return lambda x: tg.stack([x, x * 2], dim), lambda a: np.stack([a, a * 2], dim)


def padding(draw: Callable, shape: Shape) -> Pair:
    count = draw(st.integers(1, len(shape)))
    widths: list[int] = []
    for size in shape[::-1][:count]:
        before = draw(st.integers(-1 if size > 1 else 0, 2))
        widths += [before, draw(st.integers(0, 2))]
    return lambda x: F.pad(x, widths, value=1.5), lambda a: ref.pad(a, widths, 1.5)


VIEWS = [
    flip, roll, repeat, tile, movedim, permute, transpose, narrow, select, split, chunk, unbind,
    squeeze, unsqueeze, flatten, unflatten, expand, diagonal, triangle, index_select,
    masked_select, masked_fill, take_along_dim, stack, padding,
]  # fmt: skip


@pytest.mark.parametrize("build", VIEWS, ids=[b.__name__ for b in VIEWS])
@given(st.data(), hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=3))
@few
def test_shape_ops(build: Callable, data: st.DataObject, shape: Shape) -> None:
    call, reference = build(data.draw, shape)
    check(call, reference, [values(shape)])


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@given(st.data(), hnp.array_shapes(min_dims=2, max_dims=5, min_side=2, max_side=3))
@few
def test_padding_modes(mode: str, data: st.DataObject, shape: Shape) -> None:
    spatial = max(len(shape) - 2, 1)
    limit = 1 if mode == "reflect" else 2
    pairs = [
        (data.draw(st.integers(0, limit)), data.draw(st.integers(0, limit))) for _ in range(spatial)
    ]
    widths = [w for pair in pairs[::-1] for w in pair]
    full = [(0, 0)] * (len(shape) - spatial) + pairs
    numpys = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    check(lambda x: F.pad(x, widths, mode), lambda a: np.pad(a, full, mode=numpys), [values(shape)])


@pytest.mark.parametrize("name", ["scatter", "scatter_add"])
@given(st.data(), hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
@few
def test_scatter(name: str, data: st.DataObject, shape: Shape) -> None:
    """scatter writes each place once: what a second write does is not defined."""
    dim = a_dim(data.draw, shape)
    if name == "scatter":
        columns = np.random.default_rng(data.draw(st.integers(0, 9))).random(shape)
        index = np.argsort(columns, dim)
    else:
        index = data.draw(hnp.arrays(np.int64, shape, elements=st.integers(0, shape[dim] - 1)))

    def reference(a: np.ndarray, source: np.ndarray) -> np.ndarray:
        out = a.copy()
        for place in np.ndindex(shape):
            target = list(place)
            target[dim] = index[place]
            if name == "scatter":
                out[tuple(target)] = source[place]
            else:
                out[tuple(target)] += source[place]
        return out

    arrays = [values(shape), values(shape, 1)]
    check(lambda x, s: getattr(tg, name)(x, dim, tg.tensor(index), s), reference, arrays)


@given(st.data(), st.lists(st.sampled_from([1, 2, 3]), max_size=4))
@some
def test_reshape(data: st.DataObject, factors: list[int]) -> None:
    """Any regrouping of the factors, from a tensor whose memory is transposed."""
    shape = tuple(factors)
    target: list[int] = []
    for f in data.draw(st.permutations(factors)):
        if target and data.draw(st.booleans()):
            target[-1] *= f
        else:
            target.append(f)
    hidden = list(target)
    if target and data.draw(st.booleans()):
        hidden[data.draw(st.integers(0, len(target) - 1))] = -1
    check(
        lambda x: x.permute(*range(len(shape))[::-1]).reshape(hidden),
        lambda a: a.T.reshape(target),
        [values(shape[::-1])],
    )


indexed = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)


@given(st.data(), indexed)
@some
def test_basic_indexing(data: st.DataObject, shape: Shape) -> None:
    index = data.draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    check(lambda x: x[index], lambda a: a[index], [values(shape)])
    x = tg.Tensor(values(shape))
    assert x[index].numel() == 0 or np.shares_memory(x[index].numpy(), x.numpy())


@given(st.data(), indexed)
@some
def test_indexing_by_arrays(data: st.DataObject, shape: Shape) -> None:
    index = data.draw(hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2)))
    tensors = tuple(tg.from_numpy(i) for i in index)
    check(lambda x: x[tensors], lambda a: a[index], [values(shape)])


@given(st.data(), hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=3))
@some
def test_indexing_by_arrays_slices_and_new_dimensions(data: st.DataObject, shape: Shape) -> None:
    """One array at any place among slices, integers and None.

    PyTorch's rule, which differs from NumPy's where an integer is apart from the array: integers
    are taken out first, and the array's dimensions stand where the array stood.
    """
    place = data.draw(st.integers(0, len(shape) - 1))
    index: list = []
    axis = 0
    for d, size in enumerate(shape):
        before = d < place
        if data.draw(st.integers(0, 4)) == 0:
            index.append(None)
            axis += d <= place
        if d == place:
            result = data.draw(hnp.array_shapes(min_dims=0, max_dims=2, max_side=3))
            rows = data.draw(hnp.arrays(np.int64, result, elements=st.integers(0, size - 1)))
            index.append(tg.from_numpy(rows))
        elif data.draw(st.integers(0, 3)) == 0:
            index.append(data.draw(st.integers(-size, size - 1)))
        else:
            index.append(data.draw(st.slices(size)))
            axis += before
    view = tuple(slice(None) if isinstance(i, tg.Tensor) else i for i in index)
    check(lambda x: x[tuple(index)], lambda a: a[view].take(rows, axis), [values(shape)])


@given(st.data(), indexed)
@some
def test_indexing_by_masks(data: st.DataObject, shape: Shape) -> None:
    covered = data.draw(st.integers(1, len(shape)))
    mask = data.draw(hnp.arrays(np.bool_, shape[:covered]))
    check(lambda x: x[tg.tensor(mask)], lambda a: a[mask], [values(shape)])


@given(st.data(), indexed)
@some
def test_assignment_by_index(data: st.DataObject, shape: Shape) -> None:
    index = data.draw(hnp.basic_indices(shape))
    x, expected = tg.tensor(values(shape)), values(shape)
    expected[index] = 7.0
    x[index] = 7.0
    np.testing.assert_array_equal(x.numpy(), expected)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.integers(-2, 1))
@some
def test_cat(sizes: list[int], dim: int) -> None:
    arrays = [values((n, 2) if dim % 2 == 0 else (2, n), seed) for seed, n in enumerate(sizes)]
    check(lambda *x: tg.cat(x, dim), lambda *a: np.concatenate(a, dim), arrays)


def test_sizes_and_dims_by_name_as_in_torch() -> None:
    x = tg.tensor([[1, 2, 3], [4, 5, 6]])
    for name, argument, value in (
        ("reshape", "shape", (3, 2)),
        ("view", "size", (3, -1)),
        ("permute", "dims", (1, 0)),
        ("expand", "size", (2, 2, 3)),
        ("repeat", "repeats", (2, 1)),
        ("tile", "dims", (2,)),
        ("flip", "dims", [1]),
    ):
        found = getattr(x, name)(**{argument: value})
        assert found.tolist() == getattr(x, name)(*value).tolist()
        with pytest.raises(TypeError, match="give them once"):
            getattr(x, name)(*value, **{argument: value})


def test_cat_to_a_list_that_starts_with_nothing() -> None:
    rows = tg.tensor([[1, 2], [3, 4]])
    out = tg.cat([tg.tensor([]), rows, rows], dim=1)
    assert out.dtype == np.float32
    assert out.tolist() == [[1, 2, 1, 2], [3, 4, 3, 4]]


@given(shapes)
@few
def test_views_of_any_shape_of_nothing(shape: Shape) -> None:
    """Zero-size dimensions pass through what only moves dimensions."""
    check(
        lambda x: x.unsqueeze(0).flatten(0, 0).reshape(shape),
        lambda a: a,
        [values(shape)],
    )
