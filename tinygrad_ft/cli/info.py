"""`tinygrad-ft info`"""

from __future__ import annotations

import platform
from importlib.metadata import version

import click
from rich.table import Table

import kernels
from kernels.host import LANES, cpu_features, cpu_name
from tinygrad_ft.data import cache_dir
from tinygrad_ft.train.progress import Reporter
from tinygrad_ft.version import __version__

LIBRARIES = ("numpy", "numba", "llvmlite", "scikit-learn", "pillow", "safetensors", "matplotlib")
SHOWN_FEATURES = ("avx512f", "avx512vnni", "avx2", "fma", "avx", "sse4.2", "neon", "sve")


@click.command("info")
def command() -> None:
    """Show versions, processor, threads and the kernel cache: what belongs into a bug report."""
    features = {f[1:] for f in cpu_features().split(",") if f.startswith("+")}
    cache = kernels.cache_info()
    rows = [
        ("tinygrad_ft", __version__),
        ("Python", f"{platform.python_version()} on {platform.platform()}"),
        *((name, version(name)) for name in LIBRARIES),
        ("processor", f"{cpu_name()} ({', '.join(f for f in SHOWN_FEATURES if f in features)})"),
        ("vector width", f"{LANES} float32 lanes"),
        ("threads", str(kernels.get_num_threads())),
        ("kernel cache", cache["directory"] if cache["writable"] else f"none: {cache['problem']}"),
        ("kernels", f"{cache['on_disk']} of {cache['kernels']} compiled"),
        ("image cache", str(cache_dir())),
    ]
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(name, value)
    Reporter().console.print(table)
