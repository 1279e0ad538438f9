import pytest

from kernels import get_num_threads, set_num_threads


@pytest.fixture
def restore_threads():
    """The number of threads is afterwards what it was."""
    before = get_num_threads()
    yield
    set_num_threads(before)
