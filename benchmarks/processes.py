"""Training in a process of its own, watched from outside."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.networks import Network

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Observed:
    """What was seen of a process.

    first_step_seconds   from the call that started the process to the end of its first step
    peak_bytes           its largest resident memory; None where it cannot be read
    """

    first_step_seconds: float
    peak_bytes: int | None


def train_in_process(
    who: str, network: Network, threads: int, steps: int, variables: Mapping[str, str] | None = None
) -> Observed:
    """Train in a new interpreter (see trainee.py). `who` is "ours", "torch:NCHW" or
    "torch:channels_last"; `variables` are set in its environment.

    Raises RuntimeError with the last line of its errors if it fails."""
    command = [sys.executable, "-m", "benchmarks.trainee", who, network.model]
    numbers = [str(network.batch), str(threads), str(steps)]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, **(variables or {}), "PYTHONPATH": path}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        begin = time.perf_counter()
        with subprocess.Popen(
            [*command, *numbers],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            first = time.perf_counter() - begin
            rest = process.stdout.read()
        if process.returncode != 0:
            errors.seek(0)
            last = errors.read().strip().splitlines()[-1:] or ["no message"]
            raise RuntimeError(f"{' '.join(command[2:])} failed: {last[0]}")
    return Observed(first, json.loads(rest)["peak_bytes"])
