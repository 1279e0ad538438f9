"""The structure that docs/design.md promises."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = {
    "deferred",
    "tensor",
    "tensor_elementwise",
    "tensor_dtype",
    "tensor_in_place",
    "tensor_methods",
    "tensor_shape",
    "hooks",
    "anomaly",
    "observe",
    "function",
    "engine",
    "formulas",
    "gradcheck",
    "mathml",
    "grad_mode",
    "random",
    "repeating",
    "creation",
    "autograd",
}
# who may import whom: the layers below, and itself
ALLOWED = {
    "kernels": {"kernels"},
    "core": {"kernels", "core", "ops"},
    "ops": {"kernels", "core", "ops"},
    "nn": {"kernels", "core", "ops", "nn"},
    "optim": {"kernels", "core", "ops", "nn", "optim"},
    "models": {"kernels", "core", "ops", "nn", "optim", "models"},
    "data": {"data", "tensor in a function"},
    "io": {"io"},
    "train": {"kernels", "core", "ops", "nn", "optim", "models", "data", "io", "train", "version"},
    "explain": {
        *("kernels", "core", "ops", "nn", "optim", "models", "data", "io"),
        *("formulas", "mathml", "explain", "version"),
    },
    "lessons": {"kernels", "core", "ops", "lessons"},
    "cli": {
        *("kernels", "core", "ops", "nn", "models", "data", "io", "train", "explain"),
        *("lessons", "cli", "version"),
    },
}


def layer(module: str) -> str | None:
    """The layer of a dotted module name; None for what is not ours."""
    parts = module.split(".")
    if parts[0] == "kernels":
        return "kernels"
    if parts[0] != "tinygrad_ft":
        return None
    if len(parts) == 1:
        return "core"
    return "core" if parts[1] in CORE else parts[1]


def imports(path: Path) -> set[str]:
    """The modules a file imports at its top level."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "tinygrad_ft":
                names = [a.name for a in node.names]
                submodules = [name for name in names if (ROOT / "tinygrad_ft" / name).is_dir()]
                rest = len(submodules) < len(names)
                found |= {f"tinygrad_ft.{name}" for name in submodules}
                found |= {"tinygrad_ft.tensor"} if rest else set()
            else:
                found.add(node.module)
    return found


def sources(layer_name: str) -> list[Path]:
    if layer_name == "kernels":
        return sorted((ROOT / "kernels").rglob("*.py"))
    if layer_name == "core":
        return [ROOT / "tinygrad_ft" / f"{name}.py" for name in sorted(CORE)]
    return sorted((ROOT / "tinygrad_ft" / layer_name).rglob("*.py"))


@pytest.mark.parametrize("name", ALLOWED)
def test_imports_point_one_way(name: str) -> None:
    files = sources(name)
    assert files
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files
        for module in sorted(imports(path))
        if (target := layer(module)) is not None and target not in ALLOWED[name]
    ]
    assert not wrong


def test_reference_kernels_share_nothing_with_the_kernels() -> None:
    for path in (ROOT / "kernels" / "reference").glob("*.py"):
        for module in imports(path):
            assert layer(module) is None or module.startswith("kernels.reference"), (path, module)


def test_no_big_framework_in_the_product() -> None:
    for folder in ("kernels", "tinygrad_ft"):
        for path in (ROOT / folder).rglob("*.py"):
            roots = {module.split(".")[0] for module in imports(path)}
            assert not roots & {"torch", "jax", "tensorflow", "keras", "torchvision"}, path


def test_core_is_readable_in_a_sitting() -> None:
    names = ("tensor", "function", "engine", "gradcheck")
    files = [ROOT / "tinygrad_ft" / f"{name}.py" for name in names]
    assert sum(len(f.read_text(encoding="utf-8").splitlines()) for f in files) <= 1500
