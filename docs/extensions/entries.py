"""Warns about every public name that the reference leaves out. ``sphinx-build -W`` makes that an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from declared import options_of_tasks, settings
from public import MODULES
from sphinx.application import Sphinx
from sphinx.util import logging

import jobtastic_signals
from jobtastic_signals.cli import jobtastic

PACKAGE = Path(jobtastic_signals.__file__).parent
SCRIPT = PACKAGE / "web" / "static" / "jobtastic-progress.js"

logger = logging.getLogger(__name__)


def python_names() -> Iterator[tuple[str, str]]:
    """Yield each public name, and the name under which Python itself knows the object."""
    for module in map(import_module, MODULES):
        for name in module.__all__:
            found = getattr(module, name)
            if not isinstance(found, ModuleType):
                home = getattr(found, "__module__", module.__name__)
                yield f"{module.__name__}.{name}", f"{home}.{getattr(found, '__qualname__', name)}"


def words_of_the_element() -> Iterator[str]:
    """Yield the attributes, events and custom properties that the first comment of the script names."""
    comment = SCRIPT.read_text().partition("*/")[0]
    attributes = comment.partition("Attributes")[2].partition("Events")[0]
    yield from re.findall(r"^ \*   (\w+)  ", attributes, re.MULTILINE)
    yield from re.findall(r"^ \*   (jobtastic-\w+)  ", comment, re.MULTILINE)
    yield from re.findall(r"--jobtastic-\w+", comment)


def extras(root: Path) -> Iterator[str]:
    """Yield the names of the extras of the distribution."""
    declared = (root / "setup.py").read_text().partition("extras_require={")[2].partition("}")[0]
    yield from re.findall(r'"(\w+)":', declared)


def missing(app: Sphinx) -> Iterator[str]:
    """Yield what has no entry."""
    objects = app.env.domains["py"].data["objects"]
    yield from (name for name, home in python_names() if name not in objects and home not in objects)
    for page, names in (
        ("options", options_of_tasks()),
        ("settings", settings()),
        ("extras", extras(Path(app.srcdir).parent)),
        ("element", words_of_the_element()),
        ("cli", jobtastic.commands),
    ):
        text = Path(app.srcdir, "reference", f"{page}.md").read_text()
        yield from (f"{page}: {name}" for name in names if not re.search(rf"`{re.escape(name)}\b", text))


def warn_of_missing(app: Sphinx, env: Any) -> None:
    """Warn of each public name without an entry."""
    for name in missing(app):
        logger.warning("the reference has no entry for %s", name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("env-check-consistency", warn_of_missing)
    return {"parallel_read_safe": True}
