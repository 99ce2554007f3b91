"""Lines for a pipe or a log file: one for each significant change, without control codes."""

from __future__ import annotations

from typing import Any

import click

from .base import GONE, Sight, View, span

__all__ = ["PlainView", "facts"]


class PlainView(View):
    """Prints a line when a task's state, its message or the tens of its percent change."""

    def __init__(self) -> None:
        self._shown: dict[str, Any] = {}

    def show(self, sight: Sight) -> None:
        tens = None if sight.percent is None else sight.percent // 10
        noteworthy = (sight.state, sight.message, tens)
        if self._shown.get(sight.task_id) != noteworthy:
            self._shown[sight.task_id] = noteworthy
            click.echo(f"{sight.name}  {sight.state}  {facts(sight)}".rstrip())

    def drop(self, sight: Sight) -> None:
        self._shown.pop(sight.task_id, None)
        click.echo(f"{sight.name}  {sight.state}  {GONE}")

    def give_up(self, sight: Sight, seconds: float) -> None:
        click.echo(f"{sight.name}  {sight.state}  not ended after {span(seconds)}")

    def say(self, notice: str) -> None:
        click.echo(notice, err=True)


def facts(sight: Sight) -> str:
    """Return everything but the id and the state, as text."""
    percent = "" if sight.percent is None else f"{int(sight.percent)} %"
    return "  ".join(filter(None, (percent, sight.count, sight.left, sight.message, sight.outcome)))
