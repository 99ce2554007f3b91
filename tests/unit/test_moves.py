"""How often a reader of the code has to move to another module to follow a call."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from celery import Celery

from benchmarks.modules import moves_of, prepared_app
from jobtastic_signals import Jobtastic


@pytest.fixture(scope="module")
def app() -> Iterator[Celery]:
    app = prepared_app()
    app.finalize()
    yield app
    Jobtastic().uninstall(app)


def moves_of_call(task: Any) -> list[str]:
    # The garbage collector may move as well, and what is counted is handed over from time to time.
    return min((moves_of(partial(task.delay, n)) for n in range(1, 4)), key=len)


def test_a_first_call_moves_between_modules_thirty_times_at_most(app: Celery) -> None:
    moves = moves_of_call(app.tasks["with_options"])
    assert len(moves) <= 30, " ".join(moves)
    assert "jobtastic_signals.handlers.calls" in moves  # It is published.


def test_a_call_of_a_task_without_options_moves_four_times_at_most(app: Celery) -> None:
    moves = moves_of_call(app.tasks["without_options"])
    assert 0 < len(moves) <= 4, " ".join(moves)
