"""Live progress bars. At its end, each is replaced by the outcome of its task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType

from celery import states
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

from ..operate.tables import cut
from .base import GONE, Sight, View, span

__all__ = ["LiveView", "can_draw"]

#: The number of characters shown of a long id, and the length up to which an id is not long.
SHORT_ID, NOT_LONG = 8, 16

#: The terminal width from which each part of a line is shown. The id, the bar and the percent always are.
_ROOM_FOR_LEFT, _ROOM_FOR_MESSAGE, _ROOM_FOR_COUNT = 40, 56, 72


def can_draw() -> bool:
    """Return whether the terminal can move its cursor."""
    return not Console().is_dumb_terminal


class LiveView(View):
    """A bar for each running task, below the outcomes of those that have ended.

    All texts of tasks are :class:`rich.text.Text`, which is never parsed as markup.
    """

    def __init__(self, *, no_color: bool = False) -> None:
        self._console = Console(highlight=False, no_color=no_color or None)
        self._progress = Progress(*_columns(self._console.width), console=self._console, transient=True)
        self._bars: dict[str, TaskID] = {}
        self._added: dict[str, Sight] = {}

    def __enter__(self) -> LiveView:
        self._progress.start()
        return self

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def add(self, sight: Sight) -> None:
        self._bars[sight.task_id] = self._progress.add_task("", total=None, sight=sight)
        self._added[sight.task_id] = sight
        # A longer name of each may be needed now.
        length = _distinctive_length(list(self._bars))
        for task_id, bar in self._bars.items():
            self._progress.update(bar, description=self._short_name(self._added[task_id], length))

    def drop(self, sight: Sight) -> None:
        self._end(sight, "bold yellow", GONE)

    def show(self, sight: Sight) -> None:
        if sight.final:
            self._end(sight, "bold green" if sight.succeeded else "bold red", sight.outcome)
            return
        self._progress.update(
            self._bars[sight.task_id],
            total=None if sight.percent is None else 100,
            completed=sight.percent or 0,
            sight=sight,
        )

    def give_up(self, sight: Sight, seconds: float) -> None:
        self._end(sight, "bold yellow", f"not ended after {span(seconds)}")

    def say(self, notice: str) -> None:
        self._console.print(Text(notice, style="yellow"))

    def _short_name(self, sight: Sight, length: int) -> str:
        task = cut(sight.task, max(SHORT_ID, self._console.width // 4), "end")
        return replace(sight, task_id=sight.task_id[:length], task=task).name

    def _end(self, sight: Sight, style: str, outcome: str) -> None:
        self._progress.remove_task(self._bars.pop(sight.task_id))
        del self._added[sight.task_id]
        # Otherwise the bar would be drawn once more, below its outcome.
        self._progress.refresh()
        self._console.print(Text.assemble(sight.name, "  ", (sight.state, style), "  ", outcome))


class _Part(ProgressColumn):
    """A column with the text that *describe* returns for the sight of a task."""

    def __init__(self, describe: Callable[[Sight], str], style: str, column: Column) -> None:
        super().__init__(table_column=column)
        self._describe = describe
        self._style = style

    def render(self, task: Task) -> Text:
        return Text(self._describe(task.fields["sight"]), style=self._style)


class _Name(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.description)


def _columns(width: int) -> list[ProgressColumn]:
    """Return the columns that fit in *width*."""
    columns = [
        _Name(Column(no_wrap=True)),
        BarColumn(bar_width=min(40, max(8, width // 4)), finished_style="bar.complete"),
        _Part(_percent, "", Column(no_wrap=True, justify="right", min_width=5)),
    ]
    if width >= _ROOM_FOR_COUNT:
        columns.append(_Part(lambda sight: sight.count, "dim", Column(no_wrap=True)))
    if width >= _ROOM_FOR_LEFT:
        columns.append(_Part(lambda sight: sight.left, "cyan", Column(no_wrap=True)))
    if width >= _ROOM_FOR_MESSAGE:
        columns.append(_Part(_news, "", Column(no_wrap=True, overflow="ellipsis", ratio=1)))
    return columns


def _percent(sight: Sight) -> str:
    return "" if sight.percent is None else f"{int(sight.percent)} %"


def _news(sight: Sight) -> str:
    """Return the message, with the state in front unless the task reports its progress."""
    if sight.percent is not None or sight.state == states.PENDING:
        return sight.message
    return "  ".join(filter(None, (sight.state, sight.message)))


def _distinctive_length(ids: Sequence[str]) -> int:
    """Return how many characters are enough to distinguish *ids*.

    >>> _distinctive_length(["7c9e6679-7425-40de"])
    8
    >>> _distinctive_length(["annual-report-2025", "annual-report-2026"])
    18
    """
    longest = max(map(len, ids))
    if longest <= NOT_LONG:
        return longest
    return next((n for n in range(SHORT_ID, longest) if len({i[:n] for i in ids}) == len(ids)), longest)
