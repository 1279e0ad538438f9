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
code is never found. Numba is not imported while everything is found (object_code.py).

The hash follows lines of the form `from kernels.x import y` (a test compares them with what kernels
really use); a module that imports the package as a whole depends on all of it. A kernel declared
outside the package works too, as long as its helpers are in its own file or in this package.

The directory is made private to the user (mode 0700), because
a cache file is code. Files are replaced atomically, so any number of processes may start at once; a
damaged file is recompiled. Where nothing can be written, kernels that are not there are compiled in
memory, and `cache_info()` says so.

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
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import platformdirs

from kernels.host import LANES, cpu_features, cpu_name
from kernels.language import Symbol
from kernels.object_code import ObjectCode, compiled

DIRECTORY_VARIABLE = "TINYGRAD_FT_CACHE_DIR"
PACKAGE = Path(__file__).parent
UNUSED_DAYS = 30
"""A cache directory of an older version that no process used for so long is deleted."""

registry: dict[str, "Kernel"] = {}
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
def _imports_of(name: str) -> tuple[str, ...]:
    """The modules of this package that one of them imports."""
    text = _source(name) or ""
    if _IMPORT_WHOLE.search(text):  # could be anything: depend on everything
        return tuple(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")
    return tuple(_IMPORT.findall(text))


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
        waiting += _imports_of(name)
    return dict(sorted(found.items()))


SETTINGS = ("NUMBA_OPT", "NUMBA_BOUNDSCHECK", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")
"""Environment variables by which Numba generates other code; it also reads SETTINGS_FILE."""
SETTINGS_FILE = Path(".numba_config.yaml")


@cache
def _surroundings() -> str:
    """Everything but source code that compiled code depends on."""
    file = SETTINGS_FILE.read_text(encoding="utf-8") if SETTINGS_FILE.is_file() else ""
    return "\n".join(
        [
            platform.python_implementation(),
            sys.version,
            version("numba"),
            llvmlite.__version__,
            cpu_name(),
            cpu_features(),
            str(LANES),
            repr([os.environ.get(name) for name in SETTINGS]),
            file,
        ]
    )


@cache
def _directory_name(module: str) -> str:
    digest = hashlib.sha256(_surroundings().encode())
    for name, text in sources_of(module).items():
        digest.update(f"\0{name}\0{text}".encode())
    return f"{module}-{digest.hexdigest()[:20]}"


def directory_of(module: str) -> Path:
    """Where a module's kernels are kept, if they are."""
    return cache_directory() / _directory_name(module)


def writable_directory(module: str) -> Path | None:
    """The same, made if need be; None if it cannot be written."""
    global _problem
    path = directory_of(module)
    try:
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            _remove_unused(path, module)
        tempfile.TemporaryFile(dir=path).close()
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


class Kernel:
    """A compiled function without Python objects: integers, floats and addresses only.

    address  where the machine code starts (compiles on first use)
    symbol   the same function as other kernels call it; the caller declares it in `needs`
    """

    def __init__(
        self,
        function: Callable[..., Any],
        signature: str,
        needs: Sequence["Kernel"],
        fastmath: Iterable[str],
    ) -> None:
        self.module = function.__module__.removeprefix("kernels.")
        self.name = f"{self.module}.{function.__name__}"
        self.function = function
        self.needs = tuple(needs)
        self.ready = False
        self._signature = signature
        self._fastmath = fastmath
        self._loaded: tuple[int, Any] | None = None
        self._symbol_name = "tinygrad_ft_" + self.name.replace(".", "_")
        self.symbol = Symbol(self._symbol_name, signature)
        registry[self.name] = self
        # Read the sources now: code that is in memory must never be filed under a later edit's key.
        sources_of(self.module)

    @property
    def file(self) -> Path:
        """Where the compiled code is kept, if it is."""
        return directory_of(self.module) / f"{self.name}.kernel"

    def on_disk(self) -> bool:
        """True if the compiled code is in the cache directory."""
        return self.file.is_file()

    def load(self) -> None:
        """Compile, or load from disk. Safe to call from several threads, and cheap when done."""
        if self.ready:
            return
        with _lock:
            if self.ready:
                return
            for other in self.needs:
                other.load()
            code = self._from_disk()
            if code is not None:
                _counts["loaded"] += 1
            else:
                code, _ = self._compiled()
                self._to_disk(code)
                _counts["compiled"] += 1
            self._loaded = code.load()
            llvm.add_symbol(self._symbol_name, self._loaded[0])
            self.ready = True

    def _from_disk(self) -> ObjectCode | None:
        """The code, if it is there and whole."""
        try:
            code = ObjectCode.from_bytes(self.file.read_bytes())
            os.utime(self.file.parent)
        except OSError:
            return None
        return code if code is not None and code.fits() else None

    def _to_disk(self, code: ObjectCode) -> None:
        """Keep the code if there is room for it; a full disk is no reason not to work."""
        global _problem
        if writable_directory(self.module) is None:
            return
        part = self.file.with_suffix(f".{os.getpid()}-{threading.get_ident()}.part")
        try:
            part.write_bytes(code.to_bytes())
            part.replace(self.file)
        except OSError as error:
            _problem = f"cannot write {self.file}: {error.strerror or error}"
            part.unlink(missing_ok=True)

    @cached_property
    def address(self) -> int:
        self.load()
        assert self._loaded is not None
        return self._loaded[0]

    @cached_property
    def call(self) -> Callable[..., Any]:
        """The kernel as a Python callable on integers (addresses too) and floats; releases the
        GIL."""
        result, arguments = self._signature.removesuffix(")").split("(", 1)
        types = [_ctype(name) for name in (result, *_names(arguments))]
        return ctypes.CFUNCTYPE(*types)(self.address)

    def llvm_ir(self) -> str:
        """The optimised LLVM code, for reading. Compiles the kernel anew."""
        self.load()
        return self._compiled()[1]

    def _compiled(self) -> tuple[ObjectCode, str]:
        return compiled(self.function, self._symbol_name, self._signature, self._fastmath)

    def __repr__(self) -> str:
        return f"<kernel {self.name}{'' if self.ready else ' (not compiled yet)'}>"


def _names(arguments: str) -> list[str]:
    """The types in a signature's brackets."""
    return [name.strip() for name in arguments.split(",") if name.strip()]


def _ctype(name: str) -> Any:
    return {"void": None, "float64": ctypes.c_double}.get(name, ctypes.c_int64)


BODY = "void(CPointer(int64), CPointer(float64), int64, int64)"
"""The signature of a parallel body: (integers and addresses, numbers, task, number of tasks)."""


def kernel(
    signature: str = BODY,
    *,
    needs: Iterable[Kernel] = (),
    fastmath: Iterable[str] = frozenset({"contract"}),
) -> Callable[[Callable[..., Any]], Kernel]:
    """Declare a kernel.

    signature  Numba's, as text; by default that of a parallel body
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
