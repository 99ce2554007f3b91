"""Tasks that leak a memory which is not real, and what is logged of them."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from jobtastic_signals import events
from jobtastic_signals.memory import middleware as watch
from tests.support.memory import MB, Memory
from tests.support.unit_apps import real


@pytest.fixture
def memory_of(monkeypatch) -> Memory:
    made = Memory()
    monkeypatch.setattr(watch, "resident", made.measure)
    monkeypatch.setattr(watch, "tidied", made.tidy)
    return made


@pytest.fixture
def leaky(new_app, memory_of):
    """Return a function that makes a task whose every run adds so many megabytes."""

    def make(*, conf: dict[str, Any] | None = None, **options: Any) -> Any:
        app = new_app(**(conf or {}))

        def leak(megabytes=2, fails=False, **more):
            memory_of.resident += int(megabytes * MB)
            if fails:
                raise ValueError("as asked")
            return megabytes

        return real(app.task(leak, name="proj.leak", shared=False, **({"memleak_threshold": 1, **options})))

    return make


@pytest.fixture
def heard():
    """Collect the events."""
    found: list[tuple[Any, dict[str, Any]]] = []

    def hear(task, **info):
        found.append((task, info))

    with events.memory_leak_detected.connected_to(hear):
        yield found


@pytest.fixture
def log(caplog):
    """Return a function that returns the lines of the log with their levels."""
    caplog.set_level(logging.INFO)

    def lines() -> list[tuple[str, str]]:
        return [
            (record.levelname, record.getMessage())
            for record in caplog.records
            if "Jobtastic:memleak" in record.getMessage()
        ]

    return lines
