"""Which of a file's weights fit which of a model's, and whether that is enough to go on with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinygrad_ft.io.errors import WeightsError, shown

Shape = tuple[int, ...]

# What torchvision, timm and the CIFAR ResNets call their last layer.
HEADS = ("fc", "linear", "classifier", "head", "head.fc", "last_linear")
_COUNTER = "num_batches_tracked"  # absent before PyTorch 0.4.1; nothing here depends on it


@dataclass(frozen=True)
class MatchReport:
    """What became of every name, in the model's order.

    matched: {model's name: file's name}; the two differ only for a renamed head.
    replaced: {name: (file's shape, model's shape)} of a head with another number of classes.
    missing: in the model only. unexpected: in the file only.
    mismatched: {name: (file's shape, model's shape)} of every other difference in shape.
    Of those three, the model keeps what it has.
    numbers: how many numbers the matched tensors have.
    share: matched part of the model's numbers outside its head, 0 to 1.
    head: the model's last layer by name, None if it is not clear which one that is.
    """

    source: str
    matched: dict[str, str]
    replaced: dict[str, tuple[Shape, Shape]]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: dict[str, tuple[Shape, Shape]]
    numbers: int
    share: float
    head: str | None

    def select(self, loaded: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The matched arrays of `loaded` under the model's names."""
        return {name: loaded[file_name] for name, file_name in self.matched.items()}

    def summary(self) -> str:
        """A few lines: what was matched, replaced, missing, left over."""
        lines = [
            f"{self.source}: matched {len(self.matched)} tensors, {self.numbers:,} numbers "
            f"({self.share:.1%} of the model without its head)"
        ]
        lines += [f"  renamed     {shown(f)} -> {n}" for n, f in self.matched.items() if n != f]
        lines += [_shapes_line("replaced", name, pair) for name, pair in self.replaced.items()]
        lines += [_shapes_line("mismatched", name, pair) for name, pair in self.mismatched.items()]
        if self.missing:
            lines.append(f"  missing     {_examples(self.missing)}")
        if self.unexpected:
            lines.append(f"  left over   {_examples(self.unexpected)}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()


def match_weights(
    expected: Mapping[str, Shape],
    loaded: Mapping[str, np.ndarray],
    *,
    source: str = "the file",
    min_share: float = 0.5,
) -> MatchReport:
    """Compare a model's {name: shape} with loaded weights.

    A head of another name (`fc`, `linear`, `classifier`, ...) is matched when both sides have
    exactly one; a head with another number of classes is reported as replaced.
    source: what messages call the file.
    min_share: the least part of the model's numbers, head apart, that must match.
    Raises WeightsError, with names of both sides, when less matches.
    """
    shapes = {name: tuple(array.shape) for name, array in loaded.items()}
    head, file_head = find_head(expected), find_head(shapes)
    matched: dict[str, str] = {}
    replaced: dict[str, tuple[Shape, Shape]] = {}
    mismatched: dict[str, tuple[Shape, Shape]] = {}
    missing = []
    used = set()
    for name, shape in expected.items():
        in_head = head is not None and name.startswith(f"{head}.")
        file_name = name
        if in_head and file_head is not None and name not in shapes:
            file_name = f"{file_head}.{name.removeprefix(f'{head}.')}"
        if file_name not in shapes:
            if not name.endswith(_COUNTER):
                missing.append(name)
            continue
        used.add(file_name)
        if shapes[file_name] == tuple(shape):
            matched[name] = file_name
        elif in_head and shapes[file_name][1:] == tuple(shape)[1:]:
            replaced[name] = (shapes[file_name], tuple(shape))
        else:
            mismatched[name] = (shapes[file_name], tuple(shape))
    unexpected = tuple(n for n in shapes if n not in used and not n.endswith(_COUNTER))
    body = {
        name: math.prod(shape)
        for name, shape in expected.items()
        if not (head and name.startswith(f"{head}.")) and not name.endswith(_COUNTER)
    }
    total = sum(body.values())
    share = sum(body.get(name, 0) for name in matched) / total if total else 1.0
    numbers = sum(math.prod(expected[name]) for name in matched)
    report = MatchReport(
        source, matched, replaced, tuple(missing), unexpected, mismatched, numbers, share, head
    )
    if share < min_share:
        raise WeightsError(_refusal(report, expected, shapes))
    return report


def find_head(shapes: Mapping[str, Shape]) -> str | None:
    """The name of the last layer, if exactly one layer with a matrix bears a name of HEADS."""
    heads = [name for name in HEADS if len(shapes.get(f"{name}.weight", ())) == 2]
    return heads[0] if len(heads) == 1 else None


def _refusal(
    report: MatchReport, expected: Mapping[str, Shape], shapes: Mapping[str, Shape]
) -> str:
    text = (
        f"{report.source} does not fit this model: {report.share:.0%} of the model's numbers, head "
        f"apart, match"
    )
    if report.mismatched:
        name, (theirs, ours) = next(iter(report.mismatched.items()))
        text += f"; {shown(name)} is {theirs} in the file and {ours} in the model"
    file_only = [name for name in shapes if name not in expected]
    model_only = [name for name in report.missing if name not in shapes]
    if model_only:
        text += f"; only the model has {_examples(model_only)}"
    if file_only:
        text += f"; only the file has {_examples(file_only)}"
    return text + " (was the file made for another architecture?)"


def _shapes_line(label: str, name: str, pair: tuple[Shape, Shape]) -> str:
    return f"  {label:<11} {shown(name)}: {pair[0]} in the file, {pair[1]} in the model"


def _examples(names: Sequence[str], count: int = 4) -> str:
    listed = ", ".join(shown(name) for name in names[:count])
    return f"{listed} and {len(names) - count} more" if len(names) > count else listed
