"""The table of ``on_duplicate`` in the documentation is what happens, cell by cell.

The rows and their columns are read from ``docs/reference/sharing.md``, so neither side can go stale.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, Task, chain, chord, group, states
from celery.beat import ScheduleEntry, Scheduler, SchedulingError
from celery.result import AsyncResult

from jobtastic_signals import DuplicateCallError
from jobtastic_signals.options import ON_DUPLICATE
from jobtastic_signals.results import payload
from jobtastic_signals.testing import Clock
from tests.support.calls import HERD
from tests.support.unit_apps import execute, installed_on, key_of, published, real, receive, store_of

SHARING = Path(__file__).parents[3] / "docs" / "reference" / "sharing.md"

#: What the run that is in flight returns.
ITS_VALUE = "of the other run"


def cells() -> Iterator[tuple[str, str, str]]:
    """The row, the column and the text of each cell of the table."""
    lines = iter(SHARING.read_text().splitlines())
    header = next(line for line in lines if line.startswith("| the call |"))
    columns = [re.sub(r'[`"]', "", each) for each in _split(header)[1:]]
    assert tuple(columns) == ON_DUPLICATE
    assert set(next(lines)) <= set("|-")
    for line in lines:
        if not line.startswith("|"):
            return
        row, *texts = _split(line)
        yield from ((row, column, text) for column, text in zip(columns, texts, strict=True))


def _split(line: str) -> list[str]:
    return [each.strip() for each in line.strip().strip("|").split("|")]


class Scene:
    """A task whose calls are made while an identical one, ``owner``, is in flight, or not."""

    def __init__(self, app: Celery, clock: Clock, on_duplicate: str, *, of_the_call: bool) -> None:
        self.app, self.clock, self.store = app, clock, store_of(app)
        self.runs: list[str] = []
        self.asked = {"on_duplicate": on_duplicate} if of_the_call else {}
        options = {} if of_the_call else {"on_duplicate": on_duplicate}
        self.task = self._add_task({**HERD, **options})
        self.key = key_of(self.task, 1)

    def _add_task(self, options: dict[str, Any]) -> Task:
        scene = self

        @self.app.task(bind=True, name="proj.task", shared=False, max_retries=None, **options)
        def body(self, n):
            scene.runs.append(self.request.id)
            return ["own", n]

        @self.app.task(name="proj.other", shared=False)
        def other(n):
            return n

        self.other = real(other)
        return real(body)

    # What is in flight.

    def other_is_queued(self) -> None:
        self.store.lookup_or_claim(self.key, "owner", 30)

    def other_runs(self) -> None:
        self.clock.advance(1)
        self.store.claim(self.key, "owner", "owner/1", 6000)
        self.clock.advance(1)

    def other_ends(self) -> None:
        self.clock.advance(1)
        data = payload.dumps(self.app, ITS_VALUE)
        self.store.complete(self.key, "owner", "owner/1", data, ttl=0.0, kept_for=3600.0)

    def result_is_stored(self) -> None:
        data = payload.dumps(self.app, ITS_VALUE)
        self.store.complete(self.key, "owner", None, data, ttl=60.0)

    # How it is found out what happened.

    def calls(self, call: Callable[[], AsyncResult[Any]]) -> str:
        """What a plain call does."""
        try:
            result = call()
        except DuplicateCallError as error:
            return "raises" if not published(self.app) and error.owner == "owner" else repr(error)
        messages = published(self.app)
        if result.id != "owner":
            assert (result.state, result.get(), messages) == (states.IGNORED, None, [])
            return "is dropped"
        if result.state == states.SUCCESS:
            assert (result.get(timeout=1), messages) == (ITS_VALUE, [])
            return "is answered"
        if not messages:
            return "joins"
        return f"joins; then one more run {self._follows(messages)}"

    def _follows(self, messages: list[Any]) -> str:
        (message,) = messages
        assert self.delivers(message) == "waits, then runs"
        return "follows"

    def delivers(self, message: Any) -> str:
        """What a message does that meets the other run."""
        end = execute(receive(self.app, message)).info
        again = published(self.app)
        if end is None:
            value = AsyncResult(message.headers["id"], app=self.app).get(timeout=1)
            return "is answered" if value == ITS_VALUE else "runs"
        if end.state == states.FAILURE:
            with pytest.raises(DuplicateCallError):
                AsyncResult(message.headers["id"], app=self.app).get(timeout=1)
            return "fails"
        assert end.state == states.IGNORED
        if not again:
            return "is ignored"
        assert self.runs == []
        self.other_ends()
        self.clock.advance(60)
        execute(receive(self.app, again[0]))
        if self.runs:
            return "waits, then runs"
        assert AsyncResult(message.headers["id"], app=self.app).get(timeout=1) == ITS_VALUE
        return "waits, is answered"

    def sends(self, call: Callable[[], object]) -> str:
        """What a call does whose message goes out while the other run goes on."""
        self.other_runs()
        call()
        return self.delivers(self.message())

    def message(self) -> Any:
        (message,) = [each for each in published(self.app) if each.headers["task"] == self.task.name]
        return message

    def signature(self) -> Any:
        return self.task.s(1).set(**self.asked)


# The rows.


def plain_beside_a_queued_one(scene: Scene) -> str:
    scene.other_is_queued()
    return scene.calls(lambda: scene.task.apply_async((1,), **scene.asked))


def plain_beside_a_run(scene: Scene) -> str:
    scene.other_runs()
    return scene.calls(lambda: scene.task.apply_async((1,), **scene.asked))


def due_by_beat(scene: Scene) -> str:
    scene.other_runs()
    entry = ScheduleEntry(
        "entry", scene.task.name, timedelta(1), args=(1,), options=scene.asked, app=scene.app
    )

    def call() -> AsyncResult[Any]:
        try:
            result: AsyncResult[Any] = Scheduler(scene.app, lazy=True).apply_async(entry, advance=False)
        except SchedulingError as error:
            raise error.__context__ or error from None
        return result

    return scene.calls(call)


def with_an_id_of_its_own(scene: Scene) -> str:
    return scene.sends(lambda: scene.task.apply_async((1,), task_id=uuid.uuid4().hex, **scene.asked))


def last_of_a_chain(scene: Scene) -> str:
    chain(scene.other.s(1), scene.task.s().set(**scene.asked)).apply_async()
    (first,) = published(scene.app)
    scene.other_runs()
    execute(receive(scene.app, first))
    return scene.delivers(scene.message())


def with_a_link(scene: Scene) -> str:
    return scene.sends(lambda: scene.task.apply_async((1,), link=scene.other.s(), **scene.asked))


def earlier_in_a_chain(scene: Scene) -> str:
    return scene.sends(lambda: chain(scene.signature(), scene.other.s()).apply_async())


def in_a_group(scene: Scene) -> str:
    return scene.sends(lambda: group(scene.signature(), scene.other.s(1)).apply_async())


def in_a_chord(scene: Scene) -> str:
    return scene.sends(lambda: chord([scene.signature(), scene.other.s(1)], scene.other.s()).apply_async())


def due_later(scene: Scene) -> str:
    scene.task.apply_async((1,), countdown=1, **scene.asked)
    scene.other_runs()
    return scene.delivers(scene.message())


def made_before_that_run_began(scene: Scene) -> str:
    scene.other_is_queued()
    scene.task.apply_async((1,), task_id=uuid.uuid4().hex, **scene.asked)
    scene.other_runs()
    return scene.delivers(scene.message())


def published_before_that_run_began(scene: Scene) -> str:
    scene.task.apply_async((1,), **scene.asked)
    scene.other_runs()
    return scene.delivers(scene.message())


def a_retry(scene: Scene) -> str:
    scene.task.apply_async((1,), task_id=uuid.uuid4().hex, **scene.asked)
    message = scene.message()
    message.headers["retries"] = 1
    scene.other_runs()
    return scene.delivers(message)


def the_message_of_that_run_again(scene: Scene) -> str:
    scene.task.apply_async((1,), task_id="owner", **scene.asked)
    message = scene.message()
    scene.other_runs()
    return scene.delivers(message)


def a_stored_result(scene: Scene) -> str:
    scene.result_is_stored()
    return scene.calls(lambda: scene.task.apply_async((1,), **scene.asked))


ROWS: dict[str, Callable[[Scene], str]] = {
    "plain, and another one is queued": plain_beside_a_queued_one,
    "plain, and another one runs": plain_beside_a_run,
    "due by beat, and another one runs": due_by_beat,
    "with a task id of its own": with_an_id_of_its_own,
    "last in a chain": last_of_a_chain,
    "with a `link`": with_a_link,
    "earlier in a chain": earlier_in_a_chain,
    "in a group": in_a_group,
    "in the header of a chord": in_a_chord,
    "due later": due_later,
    "dependent, and made before that run began": made_before_that_run_began,
    "plain, and published before that run began": published_before_that_run_began,
    "a retry": a_retry,
    "the message of that run, delivered again": the_message_of_that_run_again,
    "any, and a stored result answers it": a_stored_result,
}


def test_each_row_of_the_table_is_tested():
    assert list(dict.fromkeys(row for row, _, _ in cells())) == list(ROWS)


@pytest.mark.parametrize("of_the_call", [False, True], ids=["of the task", "of the call"])
@pytest.mark.parametrize(("row", "column", "text"), [*cells()])
def test_a_call_does_what_the_table_says(app, clock, row, column, text, of_the_call):
    scene = Scene(app, clock, column, of_the_call=of_the_call)
    assert ROWS[row](scene) == text
    assert installed_on(app).store.is_down is False
