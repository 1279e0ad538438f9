"""Facts about the machine, the libraries and the source, for the record."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from kernels import get_num_threads
from kernels.host import LANES, cpu_features, cpu_name

ROOT = Path(__file__).parent.parent
LIBRARIES = ("numpy", "numba", "llvmlite", "torch", "threadpoolctl")
SHOWN_FEATURES = ("avx512f", "avx2", "fma", "avx", "sse4.2", "neon", "sve")


def machine_facts() -> dict[str, Any]:
    """The keys of pytest-benchmark's machine_info, with the vector width, the threads and the
    versions of the libraries added to "cpu" and beside it."""
    features = {f[1:] for f in cpu_features().split(",") if f.startswith("+")}
    return {
        "node": platform.node(),
        "processor": platform.processor(),
        "machine": platform.machine(),
        "python_compiler": platform.python_compiler(),
        "python_implementation": platform.python_implementation(),
        "python_implementation_version": platform.python_version(),
        "python_version": platform.python_version(),
        "python_build": list(platform.python_build()),
        "release": platform.release(),
        "system": platform.system(),
        "cpu": {
            "brand_raw": _brand(),
            "llvm_name": cpu_name(),
            "count": os.cpu_count(),
            "flags": [f for f in SHOWN_FEATURES if f in features],
            "float32_lanes": LANES,
        },
        "threads": get_num_threads(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _brand() -> str:
    """The processor's name as its maker writes it, where the system tells."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor()
    return platform.processor()


def commit_facts() -> dict[str, Any]:
    """The keys of pytest-benchmark's commit_info."""
    commit = _output("git", "-C", str(ROOT), "rev-parse", "HEAD")
    # without locks: asking for the status must not write into the repository
    changes = _output("git", "--no-optional-locks", "-C", str(ROOT), "status", "--porcelain")
    return {
        "id": commit or "unversioned",
        "time": _output("git", "-C", str(ROOT), "show", "-s", "--format=%cI") or None,
        "author_time": _output("git", "-C", str(ROOT), "show", "-s", "--format=%aI") or None,
        "dirty": bool(changes),
        "project": "tinygrad_ft",
        "branch": _output("git", "-C", str(ROOT), "rev-parse", "--abbrev-ref", "HEAD"),
    }


def _output(*command: str) -> str:
    """What a command prints; empty if it fails or does not exist."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
