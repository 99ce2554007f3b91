"""What comes from outside stays on one line of the log, short, and without control characters."""

from __future__ import annotations

import ast
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import jobtastic_signals
from jobtastic_signals.cli.check.base import fix
from jobtastic_signals.results import backend, index
from jobtastic_signals.stores.guard import GuardedStore
from jobtastic_signals.stores.memory import MemoryStore
from jobtastic_signals.stores.records import warn_of_unreadable
from jobtastic_signals.support.shown import LONGEST, LONGEST_MESSAGE, one_line, shown, shown_error
from tests.support.unit_apps import installed_on, real

EVIL = "id\n2026-01-01 ERROR \x1b[31mforged\x1b[0m \u202e\ud800" + "x" * 5000


class UnshowableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not for you")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("9a0bd2c1-1d7e-4c62-8f6e-6f1f3c7e0c11", "9a0bd2c1-1d7e-4c62-8f6e-6f1f3c7e0c11"),
        ("v1:proj.report:09ab", "v1:proj.report:09ab"),
        ("proj.report[some-id]", "proj.report[some-id]"),
        ("celery@host", "celery@host"),
        ("", "''"),
        ("two words", "'two words'"),
        ("two\nlines", "'two\\nlines'"),
        ("\x1b[31m", "'\\x1b[31m'"),
        ("\u202e", "'\\u202e'"),
        ("\ud800", "'\\ud800'"),
        (b"\x00", "b'\\x00'"),
        (None, "None"),
        (ValueError("a\nb"), "ValueError('a\\nb')"),
    ],
)
def test_a_value_is_shown_as_it_is_or_as_its_repr(value, expected):
    assert shown(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        EVIL,
        10**5000,
        [EVIL] * 100,
        {EVIL: EVIL},
        UnshowableError(),
        ValueError(EVIL),
        SimpleNamespace(a=EVIL),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_it_is_it_stays_short_and_on_one_line(value):
    text = shown(value)
    assert text.isprintable()
    assert len(text) <= 2 * LONGEST


def test_an_error_is_shown_with_its_type():
    assert shown_error(OSError("no\nconnection")) == "OSError: no\\nconnection"
    assert shown_error(TimeoutError()) == "TimeoutError"
    assert shown_error(UnshowableError()) == "UnshowableError: UnshowableError()"


def test_a_long_message_keeps_its_beginning_and_its_end():
    text = one_line("begin" + "x" * 5000 + "end")
    assert text.startswith("beginx")
    assert text.endswith("xend")
    assert len(text) <= LONGEST_MESSAGE


# The places that log.


def log_an_unreadable_entry(app: Any) -> None:
    warn_of_unreadable("memory://", EVIL, EVIL.encode(errors="replace"), ValueError(EVIL))


def log_a_failing_store(app: Any) -> None:
    def fail() -> Any:
        raise OSError(EVIL)

    GuardedStore(fail, "memory://").lookup("key")


def log_an_unreadable_outcome(app: Any) -> None:
    class Broken(MemoryStore):
        def lookup_indexed(self, index: str) -> Any:
            raise ValueError(EVIL)

        lookup = lookup_indexed  # type: ignore[assignment]

    index.find(Broken("memory://"), app, EVIL)  # type: ignore[arg-type]


def log_a_refusing_backend(app: Any) -> None:
    class Refusing:
        def store_result(self, *arguments: Any) -> None:
            raise ValueError(EVIL)

    backend.write_back(Refusing(), {"task_id": EVIL, "result": 1, "status": "SUCCESS"})


def log_a_joined_run(app: Any) -> None:
    def report() -> None: ...

    task = real(app.task(report, name="proj.report", shared=False, herd_avoidance_timeout=60))
    store = installed_on(app).store
    key = installed_on(app).policy_of(type(task)).keys.key(task, (), {})
    store.lookup_or_claim(key, EVIL.encode(errors="replace").decode(), 30)
    task.delay()


@pytest.mark.parametrize(
    "logs",
    [
        log_an_unreadable_entry,
        log_a_failing_store,
        log_an_unreadable_outcome,
        log_a_refusing_backend,
        log_a_joined_run,
    ],
)
def test_a_log_line_stays_one_line(logs, new_app, caplog):
    caplog.set_level(logging.DEBUG, "jobtastic_signals")
    logs(new_app())
    messages = [record.getMessage() for record in caplog.records if "jobtastic" in record.name]
    assert messages
    for message in messages:
        assert message.isprintable()
        assert len(message) < 2 * LONGEST_MESSAGE


def test_a_finding_of_the_check_stays_one_line():
    assert fix("worker", EVIL).text.isprintable()


#: What comes from messages, stores, workers and libraries.
_OUTSIDE = {"error", "hostname", "id", "identity", "owner", "previous", "reason", "task_id", "theirs"}


def raw_values(source: str) -> list[str]:
    """The arguments of log calls that come from outside and are not shown by our helpers."""
    return [
        f"line {call.lineno}: {ast.unparse(argument)}"
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "logger"
        for argument in call.args[1:]
        if (isinstance(argument, ast.Name) and argument.id in _OUTSIDE)
        or (isinstance(argument, ast.Attribute) and argument.attr in _OUTSIDE)
    ]


def test_no_log_call_has_a_raw_value_from_outside():
    package = Path(jobtastic_signals.__file__).parent
    found = {str(path.relative_to(package)): raw_values(path.read_text()) for path in package.rglob("*.py")}
    assert {path: values for path, values in found.items() if values} == {}


def test_a_raw_value_would_be_found():
    assert raw_values("logger.info('%s: %s', run.task.name, run.id)") == ["line 1: run.id"]
