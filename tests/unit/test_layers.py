"""The layers of the package: a module imports only from lower ones, or from its own folder."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import jobtastic_signals

PACKAGE = Path(jobtastic_signals.__file__).parent

#: From low to high. A name stands for a module, or for a folder with all that is in it.
LAYERS = (
    ("errors", "support"),
    ("options", "events", "celery_internals"),
    ("keys", "stores", "results.payload"),
    ("settings", "calls", "results.backend", "results.beside", "results.index", "results.presentation"),
    ("middleware",),
    ("installation",),
    ("progress", "memory"),
    ("fallback",),
    ("sharing",),
    ("overrides", "control", "explanation", "results.status", "results.notes"),
    ("handlers",),
    ("plugin",),
    ("web", "cli", "metrics", "compat", "migrate"),
    ("", "testing", "typing", "demo", "django"),
)

LARGEST_MODULE, LARGEST_FUNCTION, FILES_AT_THE_ROOT = 320, 40, 14


def modules() -> list[tuple[str, Path]]:
    return [(_module_at(path), path) for path in sorted(PACKAGE.rglob("*.py"))]


def _module_at(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> int:
    """The layer that names *module*, or the nearest folder around it."""
    name = module
    while True:
        for number, layer in enumerate(LAYERS):
            if name in layer:
                return number
        if not name:
            raise AssertionError(f"{module} is in no layer")
        name = name.rpartition(".")[0]


def imports_of(module: str, path: Path, source: str | None = None) -> Iterator[str]:
    """The modules of this package that a module imports, wherever in it, also for types alone."""
    names = {name for name, _ in modules()}
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text() if source is None else source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = package.split(".") if package else []
            base = parts[: len(parts) - (node.level - 1)]
            origin = ".".join([*base, *(node.module.split(".") if node.module else [])])
            for alias in node.names:
                inner = f"{origin}.{alias.name}".lstrip(".")
                yield inner if inner in names else origin


def folder_of(module: str) -> str:
    return module.partition(".")[0]


def upward_imports(module: str, path: Path, source: str | None = None) -> list[str]:
    own = layer_of(module)
    return [
        f"{module} imports {imported}"
        for imported in imports_of(module, path, source)
        if imported != module
        and not (folder_of(imported) == folder_of(module) and layer_of(imported) == own)
        and layer_of(imported) >= own
    ]


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: str(value) or "package")
def test_a_module_imports_only_from_lower_layers(module: str, path: Path) -> None:
    assert upward_imports(module, path) == []


@pytest.mark.parametrize(
    "line",
    [
        "from ..plugin import Jobtastic",
        "from .. import handlers",
        "if TYPE_CHECKING:\n    from ..plugin import Jobtastic",
        "def f():\n    from ..web import flask",
    ],
)
def test_an_import_that_points_upwards_is_found(line: str) -> None:
    assert upward_imports("sharing.claims", PACKAGE / "sharing" / "claims.py", line)


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: set(imports_of(name, path)) - {name} for name, path in modules()}
    while leaves := {name for name, imported in graph.items() if not imported & graph.keys()}:
        graph = {name: imported for name, imported in graph.items() if name not in leaves}
    assert graph == {}


def test_few_files_lie_at_the_root() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= FILES_AT_THE_ROOT


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: str(value) or "package")
def test_modules_and_functions_are_short(module: str, path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= LARGEST_MODULE
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            start = node.lineno
            length = (node.end_lineno or start) - start + 1 - _docstring_lines(node)
            assert length <= LARGEST_FUNCTION, f"{module}.{node.name} has {length} lines"


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        return (first.end_lineno or first.lineno) - first.lineno + 1
    return 0
