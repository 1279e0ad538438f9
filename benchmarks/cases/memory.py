"""Peak resident memory of a process that trains, from its start: libraries, weights and all."""

from collections.abc import Callable, Iterator

from benchmarks.case import Probe
from benchmarks.networks import RESNET18, RESNET20, Network
from benchmarks.processes import train_in_process
from benchmarks.settings import Settings

STEPS = 10


def cases(settings: Settings) -> Iterator[Probe]:
    for network in (RESNET20, RESNET18):
        peers: dict[str, Callable[[], float]] = {}
        if settings.wants("torch"):
            for layout in ("NCHW", "channels_last"):
                peers[f"torch eager {layout}"] = _peak(network, settings, f"torch:{layout}")
        yield Probe(
            name=f"training {network.title} b{network.batch}",
            group=f"memory {network.title}",
            unit="B",
            ours=_peak(network, settings, "ours"),
            peers=peers,
            rounds=3,
        )


def _peak(network: Network, settings: Settings, who: str) -> Callable[[], float]:
    steps = 2 if settings.quick else STEPS

    def peak() -> float:
        found = train_in_process(who, network, settings.threads, steps).peak_bytes
        if found is None:
            raise RuntimeError("peak memory can be read on Linux and macOS only")
        return found

    return peak
