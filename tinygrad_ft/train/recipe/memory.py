"""How much memory a run takes, said before it starts.

Nothing is guessed from a table of layers: training steps of two, four and eight images are run and
their peaks traced; the difference is what an image costs. A trial that would not fit itself is not
made.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import kernels
from tinygrad_ft import random
from tinygrad_ft.grad_mode import inference_mode, no_grad
from tinygrad_ft.models.classifier import ImageClassifier
from tinygrad_ft.observe import Observer, observing
from tinygrad_ft.tensor import Tensor
from tinygrad_ft.train.evaluation_batch import evaluation_batch
from tinygrad_ft.train.frozen_features import forward_from, forward_to
from tinygrad_ft.train.preprocessing import Preprocessing
from tinygrad_ft.train.recipe.batches import update_size
from tinygrad_ft.train.recipe.freezing import FreezePlan, untouched_stages
from tinygrad_ft.train.settings import Settings

if TYPE_CHECKING:
    from tinygrad_ft.function import Function

LIBRARIES = 100 * 2**20  # measured: 70 to 110
_PREFETCHED = 4  # batches of a DataLoader that exist at once: two ahead, one on its way, one in use


class NotEnoughMemory(MemoryError):
    """A run would not fit; says what would make it smaller."""


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes that a run takes beyond what the program takes already.

    training     a step's activations, gradients and working memory
    evaluation   activations of a pass over validation or test images. Not at the same time, but
                 a compiled model keeps the memory of its training steps
    optimizer    its state, and the moving average of the weights
    saving       a checkpoint while it is written
    batches      images made ahead
    features     outputs of frozen stages that are kept
    libraries    what is loaded on the way: scikit-learn, matplotlib, compiled kernels
    """

    training: int
    evaluation: int
    optimizer: int
    saving: int
    batches: int
    features: int
    libraries: int = LIBRARIES

    @property
    def total(self) -> int:
        """All of it."""
        return int(sum(getattr(self, f.name) for f in fields(self)))

    def describe(self) -> str:
        """One line for the user."""
        parts = [f"{f.name} {size(getattr(self, f.name))}" for f in fields(self)]
        return f"memory: about {size(self.total)} more ({', '.join(parts)})"

    def check(self, available: int | None) -> None:
        """NotEnoughMemory if the run needs more than `available` bytes (None: unknown)."""
        if available is None or self.total <= available:
            return
        largest = max(("training", "evaluation", "features"), key=lambda n: getattr(self, n))
        advice = {
            "training": "a smaller --batch-size, with --accumulate for the same step, or more "
            "--freeze",
            "evaluation": "smaller images or a smaller model",
            "features": "a smaller --feature-cache-mb",
        }[largest]
        raise NotEnoughMemory(
            f"the run needs about {size(self.total)} of memory, {size(available)} are free, and "
            f"{largest} takes the most ({size(getattr(self, largest))}): choose {advice}, or close "
            "other programs"
        )


def estimate(
    model: ImageClassifier,
    plan: FreezePlan,
    preprocessing: Preprocessing,
    settings: Settings,
    *,
    features: int,
    trained: int,
    evaluated: int,
    available: int | None = None,
) -> MemoryNeed:
    """What training `model` by `settings` takes, when nothing is frozen any more that `plan`
    unfreezes; `features` bytes of outputs of frozen stages are kept, an epoch has `trained` images,
    and at most `evaluated` images are looked at without learning. Of `available` bytes (None: as
    many as it takes) no trial takes more.

    Leaves the model, its gradients and the random generator as they were.
    """
    values = {name: np.array(value.numpy()) for name, value in model.state_dict().items()}
    weights = sum(value.nbytes for value in values.values())
    rng, training = random.get_rng_state(), model.training
    plan.apply(model, settings.epochs - 1)
    learned = sum(p.numel() * p.dtype.itemsize for p in model.parameters() if p.requires_grad)
    first = untouched_stages(model) if features else 0
    shape = preprocessing.shape

    def learn(images: int) -> None:
        model.train()
        x = Tensor(np.zeros((images, *shape), np.float32))
        if first:
            with no_grad():
                x = forward_to(model, first, x)
        loss = forward_from(model, first, x).sum()
        if loss.requires_grad:
            loss.backward()
        model.zero_grad()

    def look(images: int) -> None:
        model.eval()
        with inference_mode():
            model(Tensor(np.zeros((images, *shape), np.float32)))

    try:
        kept = _kept_for_an_image(model, shape)
        step = _extrapolated(learn, min(settings.batch_size, trained), available, kept)
        most = min(evaluation_batch(model, shape), evaluated)
        evaluation = _extrapolated(look, most, available)
    finally:
        model.load_state_dict(values)
        model.train(training)
        random.set_rng_state(rng)
        plan.apply(model, 0)
    moments = learned * (2 if settings.optimizer == "adamw" else int(settings.momentum > 0))
    average = weights if settings.ema is not None else 0
    images = 5 * int(np.prod(shape)) * min(update_size(settings), trained)  # a byte, and as a float
    return MemoryNeed(
        training=step,
        evaluation=evaluation,
        # while the average stands in for the weights, those are kept aside
        optimizer=moments + 3 * average,
        # tensors as bytes, and the file they make up
        saving=2 * (weights + moments + average),
        batches=_PREFETCHED * images,
        features=features,
    )


class _Outputs(Observer):
    """The bytes of all that ops make of images."""

    def __init__(self) -> None:
        self.bytes = 0

    def ran(
        self,
        node: Function,
        inputs: Sequence[Tensor | None],
        params: dict[str, Any],
        outputs: Sequence[Tensor],
    ) -> None:
        self.bytes += sum(t.numel() * t.dtype.itemsize for t in outputs if t.ndim > 2)


def _kept_for_an_image(model: ImageClassifier, shape: tuple[int, ...]) -> int:
    """About the bytes that a training step of `model` keeps for the backward of an image, from a
    pass that keeps nothing."""
    stages = untouched_stages(model)
    model.eval()
    with no_grad():
        x = Tensor(np.zeros((1, *shape), np.float32))
        if stages:
            x = forward_to(model, stages, x)
        with observing(_Outputs()) as outputs:
            forward_from(model, stages, x)
    return outputs.bytes


def _extrapolated(
    work: Callable[[int], None], images: int, available: int | None = None, kept: int = 0
) -> int:
    """The peak of `work(images)`, from those of two, four and eight images, or of as many as fit
    into the `available` bytes; `kept` is what an image takes, within a factor of two. Where that
    leaves no doubt nothing is tried.

    Where more images go another way through the kernels (which then keep the weights in another
    form) the peak makes a jump that is not the cost of an image: the smaller of two slopes counts.
    """
    counts = sorted({max(1, min(images, n)) for n in (2, 4, 8)})
    peaks = {0: 0}
    for n in counts:
        last, peak = next(reversed(peaks.items()))
        if available is not None and (
            peak + kept * (n - last) > available or kept * images > 2 * available
        ):
            return peak + kept * (images - last)
        work(n)  # compiles kernels, makes what is kept for good
        peaks[n] = _peak(partial(work, n))
    slopes = [max(0, b - a) / (m - n) for (n, a), (m, b) in pairwise(peaks.items()) if n]
    exact = max(peaks.values()) + min(slopes, default=0.0) * (images - counts[-1])
    return int(exact * 9 / 8)  # the pool rounds its blocks up by as much


def _peak(work: Callable[[], None]) -> int:
    """Bytes allocated at most at a time by `work`, NumPy's included."""
    kernels.trim()
    ours = not tracemalloc.is_tracing()
    if ours:
        tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        work()
        return max(0, tracemalloc.get_traced_memory()[1] - before)
    finally:
        if ours:
            tracemalloc.stop()


def available_memory() -> int | None:
    """Bytes that a program can still take without swapping; None where that is not known.

    Linux: what the kernel calls available, and not more than the control groups' limits leave.
    Windows: free physical memory. Elsewhere: all physical memory.
    """
    if sys.platform == "win32":
        return _windows_available()
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        lines = dict(line.split(":", 1) for line in text.splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, ValueError, OSError):
            return None
    return max(0, int(min([free, *map(_left_in_group, _control_groups())])))


def _control_groups() -> list[Path]:
    """The folders of the control groups that limit this process: its own, and all around it."""
    root = Path("/sys/fs/cgroup")
    groups = {root, root / "memory"}
    try:
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                inside = root / controllers / path.lstrip("/")
                groups |= {inside, *(at for at in inside.parents if root in at.parents)}
    except (OSError, ValueError):
        pass
    return sorted(groups)


def _left_in_group(group: Path) -> float:
    """Bytes that a control group's limit leaves; infinity for none.

    Files in the page cache count as used there, but give way, as they do in what the kernel calls
    available: without that a group that has read a large data set would look full.
    """
    for limit, used, prefix in (
        ("memory.max", "memory.current", ""),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    ):
        try:
            left = int((group / limit).read_text()) - int((group / used).read_text())
        except (OSError, ValueError):  # no such group, or "max": no limit
            continue
        with suppress(OSError, ValueError):
            lines = (group / "memory.stat").read_text().splitlines()
            numbers = {name: int(n) for name, n in (line.split() for line in lines)}
            left += sum(numbers.get(f"{prefix}{kind}_file", 0) for kind in ("active", "inactive"))
        return left
    return math.inf


def _windows_available() -> int | None:
    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            ("total", ctypes.c_ulonglong),
            ("available", ctypes.c_ulonglong),
            *((name, ctypes.c_ulonglong) for name in ("a", "b", "c", "d", "e")),
        ]

    status = Status(length=ctypes.sizeof(Status))
    library = getattr(ctypes, "windll", None)
    if library is None or not library.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.available)


def size(nbytes: int) -> str:
    """350 MB, 1.2 GB."""
    if nbytes < 1000 * 2**20:
        return f"{nbytes / 2**20:,.0f} MB"
    return f"{nbytes / 2**30:,.1f} GB"
