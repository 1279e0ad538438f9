"""The kernel cache, seen from fresh interpreters that work on a copy of the package."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kernels
from kernels import cache
from kernels.object_code import ObjectCode

COPY_BLOCK = """
import json, sys, numpy as np
from kernels.packing import copy_block
from kernels import cache_info
{before}
source = np.arange(12, dtype=np.float32).reshape(3, 4)
target = np.zeros((3, 4), np.float32)
copy_block.call(source.ctypes.data, 16, 4, 3, 4, target.ctypes.data, 16, 4)
assert (source == target).all()
print(json.dumps(cache_info()))
"""
"""A program that compiles, or loads, one small kernel and shows that it works."""


class Sandbox:
    def __init__(self, path: Path) -> None:
        self.package = path / "install" / "kernels"
        self.directory = path / "cache"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(cache.PACKAGE, self.package, ignore=ignored)

    def start(self, program: str, directory: Path | None = None) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.package.parent),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TINYGRAD_FT_CACHE_DIR": str(directory or self.directory),
        }
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program],
            env=environment,
            cwd=self.package.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> dict[str, object]:
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert errors == ""
        return json.loads(out.splitlines()[-1])

    def run(self, program: str = COPY_BLOCK.format(before=""), **options) -> dict[str, object]:
        return self.finish(self.start(program, **options))

    def names(self) -> set[str]:
        return {path.name for path in self.directory.iterdir()}


@pytest.fixture
def sandbox(tmp_path):
    return Sandbox(tmp_path)


def test_an_edit_leads_to_new_code_and_the_rest_stays(sandbox):
    before = sorted(sandbox.package.rglob("*"))
    first = sandbox.run()
    assert (first["compiled"], first["loaded"], first["on_disk"]) == (1, 0, 1)
    assert first["writable"]
    assert sorted(sandbox.package.rglob("*")) == before  # nothing is written next to the sources
    old = sandbox.names()
    with (sandbox.package / "norm.py").open("a") as file:  # packing.py does not use this one
        file.write("# edited\n")
    path = sandbox.package / "simd.py"  # but this one
    edit = f"with open({str(path)!r}, 'a') as file: file.write('# edited')"
    # Edited after the import: the code in memory is the old one, and must be filed as such.
    meanwhile = sandbox.run(COPY_BLOCK.format(before=edit))
    assert (meanwhile["compiled"], meanwhile["loaded"]) == (0, 1)
    assert sandbox.names() == old
    edited = sandbox.run()
    assert (edited["compiled"], edited["loaded"]) == (1, 0)
    new = sandbox.names() - old
    assert len([name for name in new if name.startswith("packing-")]) == 1


def test_several_processes_at_once_and_a_damaged_file(sandbox):
    processes = [sandbox.start(COPY_BLOCK.format(before="")) for _ in range(2)]
    for process in processes:
        sandbox.finish(process)
    (code,) = sandbox.directory.rglob("packing.copy_block*.kernel")
    code.write_bytes(code.read_bytes()[:1000])
    assert sandbox.run()["compiled"] == 1
    assert sandbox.run()["loaded"] == 1


def test_object_code_is_recognised_or_refused():
    code = ObjectCode("name", ("strlen", "memcpy"), b"object\n\0file")
    whole = code.to_bytes()
    assert ObjectCode.from_bytes(whole) == code
    assert code.fits()
    assert not ObjectCode("name", ("strlen", "no_such_function"), b"").fits()
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    for damaged in (b"", b"\n", b"{}\n", b"[1]\nx", whole[:-1], whole[:20], whole + b"x", flipped):
        assert ObjectCode.from_bytes(bytes(damaged)) is None


def test_a_process_that_finds_its_kernels_does_not_import_numba(sandbox):
    calls_sqrt = "import kernels; kernels.cache.registry['elementwise._adam'].load()"
    assert sandbox.run(COPY_BLOCK.format(before=calls_sqrt))["compiled"] == 2
    without = f"sys.modules['numba'] = None  # importing it would raise\n{calls_sqrt}"
    assert sandbox.run(COPY_BLOCK.format(before=without))["loaded"] == 2


def test_an_unusable_directory_means_compiling_in_memory(sandbox, tmp_path):
    (tmp_path / "file").write_text("not a directory")
    info = sandbox.run(directory=tmp_path / "file" / "cache")
    assert not info["writable"]
    assert "cannot write" in info["problem"]
    assert info["compiled"] == 1
    assert info["on_disk"] == 0


def test_warmup_compiles_in_processes(sandbox):
    program = """
import json, kernels
names = ["packing.copy_block", "workers.serve"]
seen = []
kernels.warmup(lambda *now: seen.append(now), names=names, processes=2)
assert [now[:2] for now in seen] == [(1, 2), (2, 2)], seen
assert sorted(now[2] for now in seen) == names
assert all(kernels.cache.registry[n].ready for n in names)
print(json.dumps(kernels.cache_info()))
"""
    info = sandbox.run(program)
    assert (info["compiled"], info["loaded"]) == (0, 2)  # compiled by others, loaded here


def test_importing_compiles_nothing_and_old_code_goes(sandbox):
    old, recent, other = (
        sandbox.directory / f"packing-{'0' * 20}",
        sandbox.directory / f"packing-{'1' * 20}",
        sandbox.directory / f"simd-{'0' * 20}",
    )
    for path in (old, recent, other):
        path.mkdir(parents=True)
    os.utime(old, (0, 0))
    os.utime(other, (0, 0))
    program = """
import json, sys
import kernels
assert "numba" not in sys.modules
info = kernels.cache_info()
assert (info["compiled"], info["loaded"], info["on_disk"]) == (0, 0, 0)
kernels.cache.registry["packing.copy_block"].load()
print(json.dumps(kernels.cache_info()))
"""
    info = sandbox.run(program)
    assert info["compiled"] == 1
    # tests and benchmarks of this process may have registered kernels of their own
    folder = Path(kernels.__file__).parent
    ours = [n for n in kernels.registered() if (folder / f"{n.split('.')[0]}.py").exists()]
    assert info["kernels"] == len(ours)
    # What older versions of the module left behind goes when it has not been used for long.
    assert not old.exists()
    assert recent.exists()
    assert other.exists()  # no kernel of that module was asked for


def test_a_bad_vector_width_is_refused(sandbox, monkeypatch):
    monkeypatch.setenv("TINYGRAD_FT_LANES", "5")
    _, errors = sandbox.start("import kernels").communicate(timeout=120)
    assert "TINYGRAD_FT_LANES must be 4, 8 or 16, not '5'" in errors


def functions_used_by(function):
    """Python functions that a kernel's code refers to, directly and through others."""
    found, waiting = {}, [function]
    while waiting:
        code = waiting.pop()
        values = [
            code.__globals__[name] for name in code.__code__.co_names if name in code.__globals__
        ]
        values += [cell.cell_contents for cell in code.__closure__ or ()]
        for value in values:
            inner = getattr(value, "function", value)
            if hasattr(inner, "__code__") and inner not in found:
                found[inner] = inner.__module__
                waiting.append(inner)
    return found


def test_the_key_covers_every_module_a_kernel_uses():
    checked = 0
    for item in cache.registry.values():
        covered = {f"kernels.{name}" for name in cache.sources_of(item.module)}
        for function, module in functions_used_by(item.function).items():
            if module.startswith("kernels."):
                assert module in covered, (item.name, function)
                checked += 1
    assert checked > 100


def test_compile_errors_are_shown():
    @cache.kernel("void(int64)")
    def broken(n):
        return undefined_name + n  # noqa: F821

    try:
        with pytest.raises(Exception, match="undefined_name"):
            broken.load()
        assert not broken.ready
    finally:
        del cache.registry[broken.name]


def test_kernels_are_plain_functions():
    @cache.kernel("float64(float64, int64)")
    def power(x, n):
        result = 1.0
        for _ in range(n):
            result *= x
        return result

    try:
        assert "not compiled yet" in repr(power)
        assert power.call(2.0, 10) == 1024.0
        assert repr(power) == "<kernel test_cache.power>"
        assert np.iinfo(np.int64).max > power.address > 0
    finally:
        del cache.registry[power.name]
