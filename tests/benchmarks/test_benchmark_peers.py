"""Peers that are missing, unknown or not wanted; suites that a user adds."""

import sys

import pytest

import benchmarks.cases
import kernels
from benchmarks.discovery import load_suite, suite_names
from benchmarks.settings import Settings

MINE = '''
"""Sums of a vector."""

import numpy as np

from benchmarks.case import Case


def cases(settings):
    x = np.ones(1000, np.float32)
    peers = {}
    if settings.wants("numpy"):
        peers["numpy"] = x.sum
    if settings.wants("no_such_library"):
        import no_such_library

        peers["no_such_library"] = no_such_library.sum
    yield Case("1000 ones", "sum", lambda: 1000.0, peers, flops=1000, bytes=4000)
'''


@pytest.fixture
def settings():
    return Settings(threads=kernels.get_num_threads())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder whose files are suites, as if they lay in benchmarks/cases."""
    monkeypatch.setattr(benchmarks.cases, "__path__", [*benchmarks.cases.__path__, str(tmp_path)])
    yield tmp_path
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(f"benchmarks.cases.{path.stem}", None)


def test_missing_peer_is_skipped_by_name(settings):
    assert not settings.wants("no_such_library")
    assert settings.skipped == {"no_such_library": "not installed"}


def test_only_chosen_peers_take_part():
    settings = Settings(kernels.get_num_threads(), chosen=frozenset({"scipy", "no_such_library"}))
    assert not settings.wants("numpy")
    assert settings.skipped == {}
    assert settings.unused == ["no_such_library", "scipy"]
    assert not settings.wants("no_such_library")
    assert settings.unused == ["scipy"]


def test_peer_whose_threads_cannot_be_set_is_skipped(settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert not settings.wants("numpy")
    assert "threadpoolctl" in settings.skipped["numpy"]


def test_threads_are_the_same_for_all():
    before = kernels.get_num_threads()
    limits = pytest.importorskip("threadpoolctl")
    restore = limits.threadpool_limits()  # remembers the present limits
    try:
        settings = Settings(threads=1)
        assert kernels.get_num_threads() == 1
        assert settings.wants("numpy")
        blas = [x for x in limits.threadpool_info() if x["user_api"] == "blas"]
        assert {x["num_threads"] for x in blas} == {1}
    finally:
        kernels.set_num_threads(before)
        restore.restore_original_limits()


def test_suites_of_the_project_are_found():
    expected = {"matmul", "conv", "step", "small", "infer", "cold-start", "scaling", "memory"}
    assert expected <= set(suite_names())
    assert not any(name.startswith(("_", "-")) for name in suite_names())


def test_one_file_is_a_benchmark(folder, settings):
    (folder / "vector_sum.py").write_text(MINE, encoding="utf-8")
    (folder / "_helper.py").write_text("", encoding="utf-8")
    assert "vector-sum" in suite_names()
    assert "-helper" not in suite_names()
    (case,) = load_suite("vector-sum")(settings)
    assert case.ours() == case.peers["numpy"]()
    assert set(case.peers) == {"numpy"}
    assert set(settings.skipped) == {"no_such_library"}


def test_file_without_cases_is_refused(folder):
    (folder / "empty.py").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=r"empty\.py.*cases\(settings\)"):
        load_suite("empty")
