"""`einsum`: sums of products of labelled dimensions.

Made of diagonal, sum, permute, reshape, elementwise and matrix products, two operands at a time;
these have derivatives of every order, and so has the whole.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ft.ops._operands import as_tensor
from tinygrad_ft.ops.elementwise import mul
from tinygrad_ft.ops.matmul import matmul
from tinygrad_ft.ops.reduce import sum
from tinygrad_ft.ops.shape import permute, reshape
from tinygrad_ft.ops.triangle import diagonal
from tinygrad_ft.tensor import Tensor

Labels = tuple[str, ...]


class Part(NamedTuple):
    """A tensor and a label for each of its dimensions, all different."""

    tensor: Tensor
    labels: Labels

    def sizes(self) -> dict[str, int]:
        return dict(zip(self.labels, self.tensor.shape, strict=True))


def einsum(equation: str, *operands: Any) -> Tensor:
    """The sum of products that `equation` describes: one term of labels for each operand.

    out[o] = sum_s a[i] * b[j]
    grad_a[i] = sum_t grad_out[o] * b[j], grad_b[j] = sum_u grad_out[o] * a[i]

    In "ij,jk->ik" the terms are i = ij and j = jk, the output o = ik; summed are the labels that
    are not in it, s = j. Without "->" the output is every label that occurs once, in alphabetical
    order (capitals first). A label twice in one term means the diagonal. `...` stands for the
    dimensions that are not named: they broadcast, come first in an output that is not given, and
    are summed if a given output leaves them out. A size of 1 broadcasts. Spaces mean nothing. The
    operands may be one list.

    Of three and more operands, the two whose product saves most memory come first. All need the
    same dtype, integers keep theirs. ValueError names the equation and the shapes, TypeError the
    dtypes.
    """
    if not isinstance(equation, str):
        raise TypeError(f"einsum: the equation must be a string, not {type(equation).__name__}")
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    tensors = [as_tensor(x) for x in operands]
    dtypes = {x.dtype for x in tensors}
    if len(dtypes) > 1 or np.dtype(np.bool_) in dtypes:
        shown = ", ".join(str(x.dtype) for x in tensors)
        raise TypeError(f"einsum {equation!r}: needs numbers of one dtype, got {shown}")
    try:
        terms, output = _parse(equation, tuple([x.ndim for x in tensors]))
        parts = [_diagonals(x, labels) for x, labels in zip(tensors, terms, strict=True)]
        sizes = _common_sizes(parts)
    except ValueError as error:
        shapes = ", ".join(str(x.shape) for x in tensors)
        raise ValueError(f"einsum {equation!r} of shapes {shapes or '()'}: {error}") from None
    while len(parts) > 1:
        i, j = _first_pair(parts, output, sizes)
        rest = [p for n, p in enumerate(parts) if n not in (i, j)]
        parts = [*rest, _multiply(parts[i], parts[j], _needed(rest, output))]
    return _arranged(_summed(parts[0], output), output)


# ---- the equation --------------------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def _parse(equation: str, ndims: tuple[int, ...]) -> tuple[tuple[Labels, ...], Labels]:
    """The labels of each operand and of the output; `...` becomes labels counted from the right."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims) or not ndims:
        raise ValueError(f"{len(terms)} terms for {len(ndims)} operands")
    hidden = []
    for term, ndim in zip(terms, ndims, strict=True):
        extra = ndim - _named(term)
        if extra < 0 or (extra and "..." not in term):
            raise ValueError(f"the term {term!r} does not fit {ndim} dimensions")
        hidden.append(extra)
    widest = max(hidden)
    spelled = tuple([_spell(t, h) for t, h in zip(terms, hidden, strict=True)])
    counts = Counter(itertools.chain(*spelled))
    if not arrow:
        once = [label for label in sorted(counts) if counts[label] == 1 and len(label) == 1]
        return spelled, (*_spell("...", widest), *once)
    _named(right)
    output = _spell(right, widest)
    for label in output:
        if label not in counts:
            raise ValueError(f"the output's label {label!r} is in no term")
        if output.count(label) > 1:
            raise ValueError(f"the output has the label {label!r} twice")
    return spelled, output


def _named(term: str) -> int:
    """How many labels a term names."""
    if not re.fullmatch(r"[A-Za-z]*(\.\.\.)?[A-Za-z]*", term):
        raise ValueError(f"{term!r} is no term of letters with at most one '...'")
    return len(term.replace("...", ""))


def _spell(term: str, hidden: int) -> Labels:
    before, dots, after = term.partition("...")
    names = [f"...{k}" for k in reversed(range(hidden))] if dots else []
    return (*before, *names, *after)


def _common_sizes(parts: Sequence[Part]) -> dict[str, int]:
    """The size of each label after broadcasting."""
    sizes: dict[str, int] = {}
    for label, size in itertools.chain(*(p.sizes().items() for p in parts)):
        known = sizes.setdefault(label, size)
        if known == 1:
            sizes[label] = size
        elif size not in (1, known):
            raise ValueError(f"the label {label!r} has the sizes {known} and {size}")
    return sizes


# ---- the products --------------------------------------------------------------------------------


def _diagonals(x: Tensor, labels: Labels) -> Part:
    """Every label once: of one that comes twice, the diagonal."""
    while len(set(labels)) < len(labels):
        label = next(k for k in labels if labels.count(k) > 1)
        i = labels.index(label)
        j = labels.index(label, i + 1)
        if x.shape[i] != x.shape[j]:
            raise ValueError(f"the label {label!r} has the sizes {x.shape[i]} and {x.shape[j]}")
        x = diagonal(x, 0, i, j)
        labels = (*[k for n, k in enumerate(labels) if n not in (i, j)], label)
    return Part(x, labels)


def _first_pair(parts: Sequence[Part], output: Labels, sizes: Mapping[str, int]) -> tuple[int, int]:
    """The two whose product is smallest compared with themselves; of equals the first."""

    def size(labels: Collection[str]) -> int:
        return math.prod(sizes[k] for k in labels)

    def growth(pair: tuple[int, int]) -> int:
        i, j = pair
        a, b = parts[i].labels, parts[j].labels
        needed = _needed([p for n, p in enumerate(parts) if n not in pair], output)
        return size({*a, *b} & needed) - size(a) - size(b)

    return min(itertools.combinations(range(len(parts)), 2), key=growth)


def _needed(rest: Sequence[Part], output: Labels) -> set[str]:
    return set(output).union(*(p.labels for p in rest))


def _multiply(a: Part, b: Part, needed: Collection[str]) -> Part:
    """The product of two, summed over the labels that nothing else needs."""
    a, b = _without_units(a, b), _without_units(b, a)
    a, b = _summed(a, {*needed, *b.labels}), _summed(b, {*needed, *a.labels})
    size = {**a.sizes(), **b.sizes()}
    batch = [k for k in a.labels if k in b.labels and k in needed]
    inner = [k for k in a.labels if k in b.labels and k not in needed]
    left = [k for k in a.labels if k not in b.labels]
    right = [k for k in b.labels if k not in a.labels]
    batch_shape, rows, columns = ([size[k] for k in ks] for ks in (batch, left, right))
    if not inner:
        x = reshape(_arranged(a, [*batch, *left]), (*batch_shape, *rows, *[1] * len(right)))
        y = reshape(_arranged(b, [*batch, *right]), (*batch_shape, *[1] * len(left), *columns))
        return Part(mul(x, y), (*batch, *left, *right))
    if not left and not right:
        # many short sums are no matrix product
        product = mul(_arranged(a, [*batch, *inner]), _arranged(b, [*batch, *inner]))
        return _summed(Part(product, (*batch, *inner)), batch)
    m, k, n = (math.prod(size[k] for k in ks) for ks in (left, inner, right))
    x = reshape(_arranged(a, [*batch, *left, *inner]), (*batch_shape, m, k))
    y = reshape(_arranged(b, [*batch, *inner, *right]), (*batch_shape, k, n))
    out = reshape(matmul(x, y), (*batch_shape, *rows, *columns))
    return Part(out, (*batch, *left, *right))


def _without_units(part: Part, other: Part) -> Part:
    """Without the dimensions of size 1 that broadcast against `other`: they change nothing."""
    theirs = other.sizes()
    kept = {k: n for k, n in part.sizes().items() if n != 1 or theirs.get(k, 1) == 1}
    return Part(reshape(part.tensor, tuple(kept.values())), tuple(kept))


def _summed(part: Part, kept: Collection[str]) -> Part:
    dims = [d for d, label in enumerate(part.labels) if label not in kept]
    if not dims:
        return part
    x = part.tensor
    return Part(sum(x, dims, dtype=x.dtype), tuple([k for k in part.labels if k in kept]))


def _arranged(part: Part, labels: Sequence[str]) -> Tensor:
    """The tensor with its dimensions in this order."""
    order = [part.labels.index(k) for k in labels]
    return part.tensor if order == sorted(order) else permute(part.tensor, order)
