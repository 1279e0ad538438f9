"""The process that processes.py watches.

    python -m benchmarks.trainee WHO MODEL BATCH THREADS STEPS

prints a line when its first training step is done, and at the end {"peak_bytes": ...}. It imports
nothing but what the training needs."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.networks import NETWORKS, Network


def peak_bytes() -> int | None:
    """The largest resident memory of this process so far; None where it is not known how to ask."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would not do: on Linux it begins with what the parent had when it forked
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def _step(who: str, network: Network, threads: int) -> Callable[[], float]:
    if who == "ours":
        from benchmarks import our_network
        from kernels import set_num_threads

        set_num_threads(threads)
        return our_network.training_step(our_network.build(network), network, network.batch)
    import torch

    from benchmarks import torch_network
    from benchmarks.torch_modes import Mode

    torch.set_num_threads(threads)
    return torch_network.training_step(network, network.batch, Mode(who.removeprefix("torch:")))


def main(who: str, model: str, batch: int, threads: int, steps: int) -> None:
    step = _step(who, replace(NETWORKS[model], batch=batch), threads)
    for done in range(steps):
        step()
        if done == 0:
            print("first step done", flush=True)
    print(json.dumps({"peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
