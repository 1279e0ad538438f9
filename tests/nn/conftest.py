import pytest

import kernels
from tinygrad_ft.ops.fusion import set_fusion


@pytest.fixture
def switches_as_before():
    """Number of threads, Winograd and fusion are afterwards what they were."""
    threads = kernels.get_num_threads()
    yield
    kernels.set_num_threads(threads)
    kernels.set_winograd(True)
    set_fusion(True)
