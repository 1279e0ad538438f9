"""Compile all kernels ahead of their first use, several at a time."""

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence

from kernels.cache import PACKAGE, registry, writable_directory
from kernels.parallel import cores_available


def warmup(
    progress: Callable[[int, int, str], object] | None = None,
    names: Iterable[str] | None = None,
    processes: int | None = None,
) -> None:
    """Compile every kernel that is not on disk yet, and load all.

    progress   called as progress(done, total, name) after each kernel
    names      only these (see `registered()`); default all
    processes  how many compile at once; default one per available core. With one, or when the cache
               directory cannot be written, this process compiles everything itself.
    """
    chosen = [registry[name] for name in names] if names is not None else list(registry.values())
    report = progress or (lambda done, total, name: None)
    missing = [item.name for item in chosen if not (item.ready or item.on_disk())]
    workers = min(processes or cores_available(), len(missing))
    done: set[str] = set()
    if workers > 1 and writable_directory("workers") is not None:
        for name in _compile_in_processes(missing, workers):
            done.add(name)
            report(len(done), len(chosen), name)
    for item in chosen:
        item.load()
        if item.name not in done:
            done.add(item.name)
            report(len(done), len(chosen), item.name)


def _compile_in_processes(names: Sequence[str], workers: int) -> Iterable[str]:
    """Start interpreters that compile one named kernel after another into the shared directory.

    Yields names as they are finished. A worker that dies ends quietly: what it left is compiled by
    the caller, in its own process, where an error is seen."""
    todo: queue.SimpleQueue[str] = queue.SimpleQueue()
    finished: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for name in names:
        todo.put(name)

    def drive() -> None:
        command = [sys.executable, "-c", "from kernels.compilation import serve; serve()"]
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(PACKAGE.parent), *filter(None, [environment.get("PYTHONPATH")])]
        )
        try:
            with subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
            ) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                while True:
                    try:
                        name = todo.get_nowait()
                    except queue.Empty:
                        break
                    process.stdin.write(name + "\n")
                    process.stdin.flush()
                    if process.stdout.readline().strip() != name:
                        break
                    finished.put(name)
                process.stdin.close()
        except OSError:
            pass
        finally:
            finished.put(None)

    for _ in range(workers):
        threading.Thread(target=drive, daemon=True).start()
    running = workers
    while running:
        item = finished.get()
        if item is None:
            running -= 1
        else:
            yield item


def serve() -> None:
    """The other side of `_compile_in_processes`: names in, the same names out when compiled."""
    import kernels  # noqa: F401  (declares all kernels)

    for line in sys.stdin:
        name = line.strip()
        registry[name].load()
        print(name, flush=True)
