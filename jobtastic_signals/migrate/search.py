"""Reading a project: which of the other libraries it uses, and where."""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .base import Finding, Library, Use, uses_of
from .libraries import LIBRARIES

__all__ = ["Found", "search"]

#: Folders with other people's code.
_FOREIGN = frozenset({"site-packages", "node_modules", "venv", "build", "dist", "__pycache__"})

#: Files that are read as text: templates, scripts and lists of requirements.
_TEXTS = frozenset({".html", ".js", ".jinja", ".j2", ".ts", ".txt", ".toml", ".cfg"})

_REQUIREMENTS = frozenset({".txt", ".toml", ".cfg"})


@dataclass
class Found:
    """What a search has found.

    :ivar findings: in the order of the files and their lines.
    :ivar unreadable: files that cannot be read, each with the reason.
    """

    findings: list[Finding] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)


def search(paths: Iterable[Path]) -> Found:
    """Return what the files at *paths* use of the other libraries.

    The names of a library count everywhere, if one of the files imports it.
    """
    found, modules, texts = Found(), {}, {}
    for path in _files(paths):
        try:
            if path.suffix == ".py":
                with tokenize.open(path) as source:
                    modules[path] = ast.parse(source.read())
            else:
                texts[path] = path.read_text(errors="replace")
        except (OSError, SyntaxError, ValueError) as error:
            found.unreadable.append((path, str(error)))
    used = [each for each in LIBRARIES if any(_imports(tree, each) for tree in modules.values())]
    for path, tree in modules.items():
        for library in used:
            found.findings += (
                Finding(path, line, library.name, *use) for line, *use in _in_module(tree, library)
            )
    for path, text in texts.items():
        found.findings += (Finding(path, *where) for where in _in_text(path, text))
    found.findings.sort()
    return found


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_file():
            yield path
            continue
        for each in sorted(path.rglob("*")):
            parts = each.relative_to(path).parts
            is_foreign = any(part.startswith(".") or part in _FOREIGN for part in parts)
            if not is_foreign and each.is_file() and each.suffix in {".py", *_TEXTS}:
                yield each


def _belongs(module: str | None, library: Library) -> bool:
    return (module or "").partition(".")[0] == library.module


def _imports(tree: ast.Module, library: Library) -> bool:
    """Return whether a module imports *library*, or names it in a text, as Django's settings do."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and _belongs(node.module, library):
            return True
        if isinstance(node, ast.Import) and any(_belongs(each.name, library) for each in node.names):
            return True
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _belongs(node.value, library):
            return True
    return False


def _in_module(tree: ast.Module, library: Library) -> Iterator[Use]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from _in_import(node, library)
        elif isinstance(node, ast.ClassDef):
            yield from _in_class(node, library)
        elif isinstance(node, ast.Call):
            yield from _in_call(node, library)
        elif isinstance(node, ast.Constant):
            yield from _in_constant(node, library)
        else:
            for name, value in _named(node):
                yield from _of_setting(name, value, library)


def _in_import(node: ast.Import | ast.ImportFrom, library: Library) -> Iterator[Use]:
    if isinstance(node, ast.Import):
        names = [each.name for each in node.names if _belongs(each.name, library)]
        yield from ((node.lineno, f"import {name}", "remove it") for name in names)
    elif not node.level and _belongs(node.module, library):
        for each in node.names:
            instead = library.imports.get(each.name, "remove it")
            yield node.lineno, f"from {node.module} import {each.name}", instead


def _in_class(node: ast.ClassDef, library: Library) -> Iterator[Use]:
    for base in node.bases:
        if _last(base) in library.bases:
            yield node.lineno, f"class {node.name}({ast.unparse(base)})", library.bases[_last(base)]
    for each in node.body:
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)) and each.name in library.methods:
            yield each.lineno, f"def {each.name}", library.methods[each.name]
        for name, value in _named(each):
            if isinstance(name, ast.Name) and name.id in library.options:
                yield from uses_of(name.id, value, library.options[name.id])


def _in_call(node: ast.Call, library: Library) -> Iterator[Use]:
    name = _last(node.func)
    if name in library.methods:
        yield node.lineno, f"{ast.unparse(node.func)}(...)", library.methods[name]
    for each in node.keywords:
        if each.arg == "base" and _last(each.value) in library.bases:
            yield each.lineno, f"base={ast.unparse(each.value)}", library.bases[_last(each.value)]
        elif each.arg in library.options:
            yield from uses_of(str(each.arg), each.value, library.options[str(each.arg)])
        elif each.arg is not None:
            yield from _of_setting(ast.Name(each.arg), each.value, library)


def _in_constant(node: ast.Constant, library: Library) -> Iterator[Use]:
    value = node.value if isinstance(node.value, str) else ""
    word = next((word for word in library.texts if value.startswith(word)), None)
    if word is not None:
        yield node.lineno, repr(value), library.texts[word]


def _named(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield what *node* gives a value, and the value: targets of an assignment, or keys of a dict."""
    if isinstance(node, ast.Assign):
        yield from ((target, node.value) for target in node.targets)
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        yield node.target, node.value
    elif isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        yield from ((key, value) for key, value in pairs if key is not None)


def _of_setting(node: ast.expr, value: ast.expr, library: Library) -> Iterator[Use]:
    """Yield what to write instead of a setting: a variable, an attribute, a key or an item."""
    if isinstance(node, ast.Subscript):
        node = node.slice
    name = node.value if isinstance(node, ast.Constant) else _last(node)
    for known, advice in library.settings.items():
        if name in (known, known.upper(), f"CELERY_{known.upper()}"):
            yield from uses_of(str(name), value, advice)


def _last(node: ast.expr) -> str:
    """Return the last part of a dotted name, or an empty text."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _in_text(path: Path, text: str) -> Iterator[tuple[int, str, str, str]]:
    is_requirements = path.suffix in _REQUIREMENTS
    for number, line in enumerate(text.splitlines(), 1):
        # pip takes both spellings, and ours begins with the name of another library.
        searched = line.replace("_", "-").replace("jobtastic-signals", "") if is_requirements else line
        for library in LIBRARIES:
            words = {library.name: "jobtastic-signals"} if is_requirements else library.texts
            word = next((word for word in words if word in searched), None)
            if word is not None:
                yield number, library.name, line.strip(), words[word]
