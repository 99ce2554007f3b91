"""What all tests of progress look at."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Task

from jobtastic_signals import events


@pytest.fixture
def records():
    """Collect all records that are written while the test runs."""
    seen: list[dict[str, Any]] = []

    def remember(task: Task, **info: Any) -> None:
        seen.append(info)

    with events.progress_updated.connected_to(remember):
        yield seen
