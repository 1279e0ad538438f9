"""The suites: files in cases/, by name. `cold_start.py` is the suite "cold-start"."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator

import benchmarks.cases
from benchmarks.case import Case, Probe
from benchmarks.settings import Settings

Suite = Callable[[Settings], Iterator[Case | Probe]]


def suite_names() -> list[str]:
    """Names of all suites. A file whose name begins with an underscore is a helper."""
    found = [module.name for module in pkgutil.iter_modules(benchmarks.cases.__path__)]
    return sorted(name.replace("_", "-") for name in found if not name.startswith("_"))


def load_suite(name: str) -> Suite:
    """The `cases(settings)` function of a suite. Raises ValueError if its file has none."""
    module = importlib.import_module(f"benchmarks.cases.{name.replace('-', '_')}")
    cases = getattr(module, "cases", None)
    if not callable(cases):
        raise ValueError(
            f"{module.__file__}: a benchmark file needs a function cases(settings) that yields "
            "Case objects, see benchmarks/README.md"
        )
    suite: Suite = cases
    return suite
