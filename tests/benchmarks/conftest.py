"""Makes benchmarks/ importable (it is not installed), and gives every test its threads back."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# at the end: an installed tinygrad_ft comes first
sys.path.append(str(Path(__file__).parent.parent.parent))

import kernels


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = kernels.get_num_threads()
    yield
    kernels.set_num_threads(before)
