"""The status of a task, made safe for a terminal, and the views that show it."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import Repr
from types import TracebackType
from typing import Any

from celery import states

from ...results.index import HOST_LOST, IGNORED
from ...results.status import is_final

__all__ = ["GONE", "Sight", "View", "clean", "sight_of", "span"]

#: These join letters in some scripts, and the parts of some emoji. Other invisible characters can move the
#: cursor, clear the screen, or reverse the order of what follows.
_JOINERS = "\u200c\u200d"

#: A larger number is not taken for a count.
_LARGEST = 1e15

#: Why nothing more is to be expected for now.
_NOTICES = {
    HOST_LOST: "its worker is lost; it may start again elsewhere",
    IGNORED: "ignores its result, so its end is not shown",
}

#: What is shown of a task that runs no more, although its end is not known.
GONE = "does not run now"

_short = Repr()
_short.maxstring = _short.maxother = _short.maxlong = 100
_short.maxdict = _short.maxlist = 6


@dataclass(frozen=True)
class Sight:
    """The status of a task at one time. All text but the id is clean.

    :ivar state: the real state, such as ``REVOKED``.
    :ivar percent: 0 to 100; ``None`` if the task has not reported it.
    :ivar count: how much is done, such as ``5/12``; may be empty.
    :ivar left: the time left, such as ``7 s left``; may be empty.
    :ivar message: the message of the task, or a remark on its state.
    :ivar outcome: the result or the exception; empty before the end.
    :ivar task: the name of the task, if it is not the user who gave the id.
    """

    task_id: str
    state: str
    percent: float | None = None
    count: str = ""
    left: str = ""
    message: str = ""
    outcome: str = ""
    final: bool = False
    task: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether the task succeeded."""
        return bool(self.state == states.SUCCESS)

    @property
    def name(self) -> str:
        """The name of the task and the id, safe for a terminal."""
        return "  ".join(map(clean, filter(None, (self.task, self.task_id))))


class View:
    """Shows sights. It is a context manager; call its methods inside it."""

    def __enter__(self) -> View:
        return self

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def add(self, sight: Sight) -> None:
        """Begin to show a task. Called before the others, again if a task begins again."""

    def show(self, sight: Sight) -> None:
        """Show what was just read. Called for each task at most once with a final sight."""

    def drop(self, sight: Sight) -> None:
        """Show that a task runs no more, although its end is not known."""

    def give_up(self, sight: Sight, seconds: float) -> None:
        """Show that a task has not ended within *seconds*. Called last."""

    def say(self, notice: str) -> None:
        """Show a sentence about the watching itself, such as that the backend is down."""


def sight_of(status: Mapping[str, Any]) -> Sight:
    r"""Return the sight of *status*, from :func:`~jobtastic_signals.task_status`.

    >>> sight_of({"task": {"id": "x", "status": "SUCCESS", "result": [1, "\x1b[2J"]}}).outcome
    "[1, '\\x1b[2J']"
    """
    task = status["task"]
    state = clean(str(task.get("state", task["status"])))
    result = task["result"]
    if is_final(status):
        outcome = _short.repr(result) if state == states.SUCCESS else str(task.get("message", result))
        return Sight(task["id"], state, outcome=clean(outcome), final=True)
    meta = result if isinstance(result, Mapping) else {}
    percent = _number(meta.get("progress_percent"))
    return Sight(
        task["id"],
        state,
        percent if percent is None else min(max(percent, 0.0), 100.0),
        _count(meta),
        _left(meta),
        _NOTICES.get(task.get("notice")) or _message(state, result, meta),
    )


def clean(text: str, longest: int = 300) -> str:
    r"""Return *text* on one line, with all control characters made visible.

    >>> clean("a\tb\nc \x1b[31mred\u202e")
    'a b c \\x1b[31mred\\u202e'
    """
    cut = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return "".join(map(_visible, cut))


def span(seconds: float) -> str:
    """Return a time to wait as people write it.

    >>> span(0.2), span(59.6), span(200), span(7500)
    ('1 s', '1 min', '3 min', '2 h 5 min')
    """
    if round(seconds) < 60:
        return f"{round(seconds) or 1} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if character in "\n\r\t" or category in ("Zl", "Zp"):
        return " "
    if category in ("Cc", "Cf", "Cs") and character not in _JOINERS:
        return character.encode("unicode_escape").decode()
    return character


def _number(value: Any) -> float | None:
    """Return *value* if it is a plausible number, or ``None``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _LARGEST:
        return None
    return value


def _count(meta: Mapping[str, Any]) -> str:
    completed, total = _number(meta.get("completed")), _number(meta.get("total"))
    if completed is None or (completed == 0 and total is None):
        return ""
    return f"{completed:.10g}" if total is None else f"{completed:.10g}/{total:.10g}"


def _left(meta: Mapping[str, Any]) -> str:
    seconds = _number(meta.get("time_remaining"))
    return f"{span(seconds)} left" if seconds is not None and seconds > 0 else ""


def _message(state: str, result: Any, meta: Mapping[str, Any]) -> str:
    if state == states.PENDING:
        return "waiting, or unknown"
    if state == states.RETRY:
        return clean(str(result))
    message = meta.get("message")
    return "" if message is None else clean(str(message))
