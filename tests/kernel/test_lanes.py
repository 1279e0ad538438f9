"""The kernels with narrower vectors than this machine's: fresh interpreters run other tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernels.host import LANES

HERE = Path(__file__).parent
CHOSEN = (
    "test_microkernel.py::test_products",
    "test_microkernel.py::test_lane_by_lane",
    "test_microkernel.py::test_copy_block",
    "test_conv.py::test_shapes_of_real_networks[channels_last-case0]",
    "test_conv.py::test_shapes_of_real_networks[rows-case5]",
    "test_conv.py::test_nonfinite_values_reach_exactly_the_pixels_that_read_them",
    "test_winograd.py::test_layers_of_real_networks[shape1-32]",
    "test_matmul.py::test_blocks_and_transposed_views[33-129-700-both]",
    "test_group_norm.py::test_no_digits_are_lost[a ramp-shape0]",
)


@pytest.mark.skipif("TINYGRAD_FT_LANES" in os.environ, reason="this is the inner run")
def test_other_vector_widths():
    runs = {
        lanes: subprocess.Popen(
            [sys.executable, "-m", "pytest", *(str(HERE / name) for name in CHOSEN)],
            env={**os.environ, "TINYGRAD_FT_LANES": str(lanes)},
            cwd=HERE.parent.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for lanes in (4, 8)
        if lanes != LANES
    }
    outputs = {lanes: process.communicate(timeout=300)[0] for lanes, process in runs.items()}
    for lanes, output in outputs.items():
        assert runs[lanes].returncode == 0, (lanes, output[-3000:])
        assert " passed" in output
        assert "skipped" not in output
