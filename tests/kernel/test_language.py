"""The marks of kernels/language.py in functions that Numba itself compiles."""

import subprocess
import sys
from textwrap import dedent


def test_a_users_own_njit_knows_the_vector_vocabulary_before_any_kernel_was_compiled(tmp_path):
    """In a fresh interpreter, for what was compiled before could have taught Numba the marks."""
    program = tmp_path / "program.py"
    program.write_text(
        dedent("""
        import numpy as np
        from numba import njit

        from kernels.parallel import share
        from kernels.simd import LANES, load, splat, fma, store

        @njit
        def add_twice(x, y):  # an intrinsic and an inlined function
            store(y + 4 * share(0, 1, 2), fma(splat(np.float32(2)), load(x), load(y)))

        x = np.arange(LANES, dtype=np.float32)
        y = np.ones(LANES, np.float32)
        add_twice(x.ctypes.data, y.ctypes.data)
        assert (y == 2 * x + 1).all(), y
        """)
    )
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
