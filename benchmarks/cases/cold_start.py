"""From the start of a process to the end of its first training step, with an empty kernel cache and
with a full one. PyTorch has nothing to compile: it is the same in both."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.case import Probe
from benchmarks.networks import RESNET20
from benchmarks.processes import train_in_process
from benchmarks.settings import Settings
from kernels.cache import DIRECTORY_VARIABLE


def cases(settings: Settings) -> Iterator[Probe]:
    peers: dict[str, Callable[[], float]] = {}
    if settings.wants("torch"):
        peers["torch eager channels_last"] = lambda: _seconds(settings, "torch:channels_last")

    def with_empty_cache() -> float:
        with tempfile.TemporaryDirectory() as folder:
            return _seconds(settings, "ours", Path(folder))

    name = f"first step {RESNET20.title} b{RESNET20.batch}"
    yield Probe(f"{name}, empty cache", "cold start", "s", with_empty_cache, peers, rounds=3)
    with tempfile.TemporaryDirectory() as folder:
        _seconds(settings, "ours", Path(folder))  # fills the cache
        yield Probe(
            f"{name}, warm cache",
            "warm start",
            "s",
            lambda: _seconds(settings, "ours", Path(folder)),
            peers,
        )


def _seconds(settings: Settings, who: str, cache: Path | None = None) -> float:
    extra = {} if cache is None else {DIRECTORY_VARIABLE: str(cache)}
    return train_in_process(who, RESNET20, settings.threads, 1, extra).first_step_seconds
