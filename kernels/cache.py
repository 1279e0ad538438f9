"""Compiled kernels: made on first use, kept on disk, never stale.

    @kernel("void(int64, int64)")
    def body(address, n): ...

declares a kernel: a function with one explicit signature that Numba compiles to a C function when
its `.address` is first needed. Importing the package compiles nothing.

Where the machine code lives: `<user cache directory>/tinygrad_ft/<module>-<key>/`, or below
TINYGRAD_FT_CACHE_DIR if that is set. The key is a hash of everything the code depends on: the
source of the kernel's module and of every module of this package that it imports (directly or not),
the versions of Python, Numba and llvmlite, the processor and its features, the vector width,
Numba's code generation settings. An edit or an upgrade therefore leads to another directory and old
code is never found. Numba itself would notice only edits of the file that holds the kernel.

The hash follows lines of the form `from kernels.x import y` (a test compares them with what kernels
really use); a module that imports the package as a whole depends on all of it. A kernel declared
outside the package works too, as long as its helpers are in its own file or in this package.

The directory is made private to the user (mode 0700), because
a cache file is code. Files are replaced atomically, so any number of processes may start at once; a
damaged file is recompiled. Without a writable directory kernels are compiled in memory, and
`cache_info()` says so.

One kernel may call another one as a plain C function, at the price of a few nanoseconds and none of
the compile time that inlining costs: see `Kernel.symbol`.
"""

import ctypes
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
import platformdirs
from numba import types
from numba.core import sigutils
from numba.core.ccallback import CFunc

from kernels.host import LANES, cpu_features, cpu_name

DIRECTORY_VARIABLE = "TINYGRAD_FT_CACHE_DIR"
PACKAGE = Path(__file__).parent
UNUSED_DAYS = 30
"""A cache directory of an older version that no process used for so long is deleted."""

registry: dict[str, "Compiled"] = {}
"""All kernels by name, "module.function"."""
_lock = threading.RLock()
_counts = {"compiled": 0, "loaded": 0}
_problem: str | None = None


# ----------------------------------------------------------------------------- keys and directories


def cache_directory() -> Path:
    """The directory that holds all compiled kernels of this user."""
    chosen = os.environ.get(DIRECTORY_VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("tinygrad_ft"))


_IMPORT = re.compile(r"^\s*from kernels\.([\w.]+) import", re.MULTILINE)
_IMPORT_WHOLE = re.compile(r"^\s*(from kernels import|import kernels)", re.MULTILINE)


@cache
def _source(name: str) -> str | None:
    """The text of kernels/<name>.py, or of a module elsewhere that declares kernels.

    As it was when the module was imported, see Compiled."""
    path = PACKAGE.joinpath(*name.split(".")).with_suffix(".py")
    if not path.exists():
        path = Path(getattr(sys.modules.get(name), "__file__", None) or "")
    return path.read_text(encoding="utf-8") if path.is_file() else None


@cache
def sources_of(module: str) -> dict[str, str]:
    """Names and texts of the modules of this package that a module depends on, with itself."""
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        text = _source(name)
        if name in found or text is None:
            continue
        found[name] = text
        waiting += _IMPORT.findall(text)
        if _IMPORT_WHOLE.search(text):  # could be anything: depend on everything
            waiting += [path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"]
    return dict(sorted(found.items()))


@cache
def _surroundings() -> str:
    """Everything but source code that compiled code depends on."""
    config: Any = numba.config
    return "\n".join(
        [
            platform.python_implementation(),
            sys.version,
            numba.__version__,
            llvmlite.__version__,
            cpu_name(),
            cpu_features(),
            str(LANES),
            repr([config.OPT, config.BOUNDSCHECK, config.CPU_NAME, config.CPU_FEATURES]),
        ]
    )


@cache
def _directory_name(module: str) -> str:
    digest = hashlib.sha256(_surroundings().encode())
    for name, text in sources_of(module).items():
        digest.update(f"\0{name}\0{text}".encode())
    return f"{module}-{digest.hexdigest()[:20]}"


def writable_directory(module: str) -> Path | None:
    """The kernel cache directory for a module, made if need be; None if it cannot be written."""
    global _problem
    path = cache_directory() / _directory_name(module)
    try:
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            _remove_unused(path, module)
        tempfile.TemporaryFile(dir=path).close()
        os.utime(path)
    except OSError as error:
        _problem = f"cannot write to {path}: {error.strerror or error}"
        return None
    return path


def _remove_unused(path: Path, module: str) -> None:
    """Delete directories that older versions of the same module left behind."""
    limit = time.time() - UNUSED_DAYS * 86400
    for other in path.parent.glob(f"{module}-{'?' * 20}"):
        if other != path and other.stat().st_mtime < limit:
            shutil.rmtree(other, ignore_errors=True)


# ------------------------------------------------------------------------------------------ kernels


class Compiled:
    """Something that is compiled once per process, or loaded from disk; listed in
    `registered()`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.module = function.__module__.removeprefix("kernels.")
        self.name = f"{self.module}.{function.__name__}"
        self.function = function
        self.ready = False
        registry[self.name] = self
        # Read the sources now: code that is in memory must never be filed under a later edit's key.
        sources_of(self.module)

    def load(self) -> None:
        """Compile, or load from disk. Safe to call from several threads, and cheap when done."""
        if self.ready:
            return
        with _lock:
            if self.ready:
                return
            directory = writable_directory(self.module)
            config: Any = numba.config
            before = config.CACHE_DIR
            # Numba reads this setting only while the cache is being attached, so the rest of the
            # process keeps its own.
            config.CACHE_DIR = str(directory or "")
            try:
                from_disk = self._build(cached=directory is not None)
            finally:
                config.CACHE_DIR = before
            _counts["loaded" if from_disk else "compiled"] += 1
            self.ready = True

    def on_disk(self) -> bool:
        """True if the compiled code is in the cache directory."""
        directory = cache_directory() / _directory_name(self.module)
        return any(directory.glob(f"*/{self.module}.{self.function.__name__}-*.nbc"))

    def _build(self, cached: bool) -> bool:
        """Make the code ready; returns True if it came from disk."""
        raise NotImplementedError


class Kernel(Compiled):
    """A compiled function without Python objects: integers, floats and addresses only.

    address  where the machine code starts (compiles on first use)
    symbol   the same function as other kernels call it; the caller declares it in `needs`
    """

    def __init__(
        self,
        function: Callable[..., Any],
        signature: Any,
        needs: Sequence["Kernel"],
        fastmath: Iterable[str],
    ) -> None:
        super().__init__(function)
        self.needs = tuple(needs)
        self._signature = signature
        self._fastmath = fastmath
        self._code: Any = None
        arguments, result = sigutils.normalize_signature(signature)
        self._symbol_name = "tinygrad_ft_" + self.name.replace(".", "_")
        self.symbol = types.ExternalFunction(self._symbol_name, result(*arguments))

    def _build(self, cached: bool) -> bool:
        for other in self.needs:
            other.load()
        code = self._make(cached)
        if cached and not _compiles(code):
            # A damaged cache file: forget it and write a good one. If that fails too (a full disk,
            # or an error in the kernel itself), do without the disk.
            code = self._make(cached)
            code._cache.flush()
            if not _compiles(code):
                code = self._make(False)
                code.compile()
        elif not cached:
            code.compile()
        self._code = code
        llvm.add_symbol(self._symbol_name, code.address)
        return bool(code.cache_hits)

    def _make(self, cached: bool) -> Any:
        options = {"nogil": True, "error_model": "numpy", "fastmath": set(self._fastmath)}
        code = CFunc(
            self.function, sigutils.normalize_signature(self._signature), locals={}, options=options
        )
        if cached:
            code.enable_caching()
        return code

    @cached_property
    def address(self) -> int:
        self.load()
        return int(self._code.address)

    @cached_property
    def call(self) -> Callable[..., Any]:
        """The kernel as a Python callable on integers (addresses too) and floats; releases the
        GIL."""
        arguments, result = sigutils.normalize_signature(self._signature)
        function_type = ctypes.CFUNCTYPE(_ctype(result), *map(_ctype, arguments))
        return function_type(self.address)

    def llvm_ir(self) -> str:
        """The optimised LLVM code, for reading."""
        self.load()
        return str(self._code.inspect_llvm())

    def __repr__(self) -> str:
        return f"<kernel {self.name}{'' if self.ready else ' (not compiled yet)'}>"


def _compiles(code: Any) -> bool:
    try:
        code.compile()
    except Exception:
        return False
    return True


def _ctype(type_: Any) -> Any:
    if type_ == types.void:
        return None
    return ctypes.c_double if type_ == types.float64 else ctypes.c_int64


BODY = types.void(
    types.CPointer(types.int64), types.CPointer(types.float64), types.int64, types.int64
)
"""The signature of a parallel body: (integers and addresses, numbers, task, number of tasks)."""


def kernel(
    signature: Any = BODY,
    *,
    needs: Iterable[Kernel] = (),
    fastmath: Iterable[str] = frozenset({"contract"}),
) -> Callable[[Callable[..., Any]], Kernel]:
    """Declare a kernel.

    signature  Numba signature, as text or types; by default that of a parallel body
    needs      kernels that this one calls through their `.symbol`
    fastmath   LLVM flags; the default allows a*b+c in one rounding and nothing that could lose a
               NaN or an infinity
    """

    def decorate(function: Callable[..., Any]) -> Kernel:
        return Kernel(function, signature, tuple(needs), fastmath)

    return decorate


# ------------------------------------------------------------------------------------- for the user


def registered() -> list[str]:
    """Names of all kernels, "module.function", in the order of their declaration."""
    return list(registry)


def cache_info() -> dict[str, Any]:
    """Facts about the kernel cache.

    directory  where it is
    writable   whether compiled code is kept there
    problem    why not, or None
    kernels    number of declared kernels
    on_disk    how many of them need no compilation
    compiled, loaded   how many this process has compiled itself, and loaded from disk
    bytes      size of the directory
    """
    directory = cache_directory()
    writable = writable_directory("workers") is not None
    files = [path for path in directory.rglob("*") if path.is_file()] if directory.is_dir() else []
    return {
        "directory": str(directory),
        "writable": writable,
        "problem": None if writable else _problem,
        "kernels": len(registry),
        "on_disk": sum(item.on_disk() for item in registry.values()),
        **_counts,
        "bytes": sum(path.stat().st_size for path in files),
    }
