"""Adds to pages of the reference what the package itself declares about options, settings and events.

The pages say what an option is for. Its default and what it accepts come from the same objects that check it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from celery import Celery
from sphinx.application import Sphinx

from jobtastic_signals import Jobtastic, events
from jobtastic_signals.installation import installation_on
from jobtastic_signals.settings import SETTINGS

_HEADING = re.compile(r"^### `(\w+)`\n", re.MULTILINE)
_EVENTS = re.compile("<!-- The site lists them here, .* -->")


def options_of_tasks() -> Mapping[str, Any]:
    """Return the options that a task can have, by name."""
    app = Celery("docs", broker="memory://", backend="cache+memory://", set_as_current=False)
    jobtastic = Jobtastic(app)
    try:
        installation = installation_on(app)
        assert installation is not None
        return {each.name: each for each in installation.known_options}
    finally:
        jobtastic.uninstall(app)


def settings() -> Mapping[str, Any]:
    """Return the settings, by name."""
    return {each.name: each for each in SETTINGS}


DECLARED = {"reference/options": options_of_tasks, "reference/settings": settings}


def add_declarations(app: Sphinx, page: str, source: list[str]) -> None:
    """Add default and accepted values below each heading of *page*, or the list of events."""
    if page == "reference/events":
        source[0] = _EVENTS.sub(lambda _: _list_of_events(), source[0])
    if page not in DECLARED:
        return
    declared = DECLARED[page]()

    def with_fields(heading: re.Match[str]) -> str:
        found = declared.get(heading[1])
        if found is None:
            return heading[0]
        return f"{heading[0]}\n:default: `{_shown(found.default)}`\n:accepts: {found.accepts}\n"

    source[0] = _HEADING.sub(with_fields, source[0])


def _list_of_events() -> str:
    entries = [
        f".. py:data:: jobtastic_signals.events.{name}\n\n   {getattr(events, name).__doc__}\n"
        for name in events.__all__
    ]
    return "\n".join(["```{eval-rst}", *entries, "```"])


def _shown(default: Any) -> str:
    return repr(list(default) if isinstance(default, tuple) else default)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", add_declarations)
    return {"parallel_read_safe": True}
