"""What the machine offers: the vector width that every kernel is compiled for.

`LANES` is the number of float32 values in one vector register: 16 with AVX-512, 8 with AVX, else 4
(SSE, NEON, VSX). The environment variable TINYGRAD_FT_LANES (4, 8 or 16), read once at import,
forces a width; it is part of the kernel cache's key, so forced and native code never mix.
"""

import os

import llvmlite.binding as llvm

ENVIRONMENT_VARIABLE = "TINYGRAD_FT_LANES"


def cpu_name() -> str:
    """LLVM's name of the host processor, for example "znver4"."""
    return str(llvm.get_host_cpu_name())


def cpu_features() -> str:
    """The host's instruction set extensions in LLVM's notation, for example "+avx2,+fma"."""
    return str(llvm.get_host_cpu_features().flatten())


def _lanes() -> int:
    forced = os.environ.get(ENVIRONMENT_VARIABLE)
    if forced is not None:
        if forced not in ("4", "8", "16"):
            raise ValueError(f"{ENVIRONMENT_VARIABLE} must be 4, 8 or 16, not {forced!r}")
        return int(forced)
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 16
    if features.get("avx"):
        return 8
    return 4


LANES = _lanes()
