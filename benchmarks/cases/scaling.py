"""How a training step of ResNet-20 grows with threads and with the batch. Ours against itself.

One case trains on all threads and on one. The others train on the same number of images cut into
batches of different sizes, with `compile()` and without, so that every call is the same amount of
work; the results differ by nature (other batches make other updates)."""

from collections.abc import Callable, Iterator

from benchmarks.case import OURS, Case
from benchmarks.networks import RESNET20
from benchmarks.our_network import build, training_step
from benchmarks.settings import Settings
from kernels import set_num_threads

BATCHES = (32, 64, 128, 256)
IMAGES = 512


def cases(settings: Settings) -> Iterator[Case]:
    batch = RESNET20.batch
    if settings.threads > 1:
        yield Case(
            name=f"{RESNET20.title} b{batch}, {settings.threads} threads",
            group="threads",
            ours=training_step(build(RESNET20), RESNET20, batch),
            peers={f"{OURS} on 1 thread": _on_one_thread(batch, settings.threads)},
            items=batch,
            tolerance=RESNET20.tolerance,
            calls_compared=RESNET20.steps_compared,
        )
    for compiled, note in ((True, ""), (False, " without compile()")):
        yield Case(
            name=f"{RESNET20.title}, {IMAGES} images, b{IMAGES}{note}",
            group=f"batch sizes{note}",
            ours=_in_batches_of(IMAGES, compiled),
            peers={f"{OURS} in b{size}": _in_batches_of(size, compiled) for size in BATCHES},
            items=IMAGES,
            tolerance=None,
        )


def _on_one_thread(batch: int, threads: int) -> Callable[[], float]:
    step = training_step(build(RESNET20), RESNET20, batch)

    def run() -> float:
        set_num_threads(1)
        try:
            return step()
        finally:
            set_num_threads(threads)

    return run


def _in_batches_of(size: int, compiled: bool) -> Callable[[], float]:
    model = build(RESNET20)
    return training_step(model, RESNET20, size, steps=IMAGES // size, compiled=compiled)
