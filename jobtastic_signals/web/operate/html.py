"""The page as HTML, which is whole without JavaScript. All text from outside is escaped here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from string import Template
from typing import Any
from urllib.parse import urlencode

from ..answers import STATIC

__all__ = ["POLICY", "content_of", "html_of"]

#: Scripts, styles and data come only from this site. No page may show this one in a frame.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Column:
    """One column of a table.

    :ivar name: the field of a row.
    :ivar kind: how the field is shown; the script knows these kinds as well.
    :ivar hint: what the number counts.
    """

    name: str
    title: str
    kind: str = "text"
    hint: str = ""


_STATE, _TASK = Column("state", "State", "state"), Column("task", "Task", "task")
_KEY, _OWNER = Column("key", "Key", "id"), Column("owner", "Owner", "id", "The task id")

_COUNTED = (
    _TASK,
    Column("calls", "Calls", "number"),
    Column("hits", "Hits", "number", "Calls that were answered by a stored result"),
    Column("joins", "Joins", "number", "Calls that joined a run"),
    Column("runs", "Runs", "number"),
    Column("served", "Served", "number", "Runs that a worker answered with a stored result"),
    Column("waits", "Waits", "number", "Messages that were sent again to wait for another run"),
)
_SAVED = Column("saved_seconds", "Saved", "number", "Runs avoided, times the usual duration of a run")

#: The columns of the tables, by their names in JSON.
TABLES: Mapping[str, Sequence[Column]] = {
    "in_flight": (
        _STATE,
        _TASK,
        Column("progress", "Progress", "progress"),
        Column("age", "Age", "number"),
        Column(
            "waiting", "Waiting", "number", "Calls that joined it or wait behind it; + if messages wait too"
        ),
        Column("lease_left", "Lease left", "number", "The claim is free after that, unless it is renewed"),
        Column("worker", "Worker", "worker"),
        _OWNER,
        _KEY,
    ),
    "results": (
        _STATE,
        _TASK,
        Column("age", "Age", "number"),
        Column("expires_in", "Expires in", "number"),
        Column("hits", "Task hits", "number", "Calls of the task that were answered by a stored result"),
        Column("size", "Size", "number"),
        _OWNER,
        _KEY,
    ),
    "stats": (
        *_COUNTED,
        Column("takeovers", "Takeovers", "number", "Claims that were taken from a lost run"),
        Column("store_failures", "Store failures", "number"),
        _SAVED,
        Column(
            "no_key", "Without a key", "argument", "Calls that went unshared, by the argument that was why"
        ),
    ),
    "forecast": (*_COUNTED, _SAVED),
}

#: What can be done to the rows of a table: the path below the page.
_ACTIONS = {"in_flight": "release", "results": "forget"}
_EMPTY = {"in_flight": "Nothing runs or waits.", "results": "No results are stored."}


def html_of(name: str, view: Mapping[str, Any]) -> str:
    """Return the page.

    :param name: that of the app.
    :param view: what :func:`.view.view_of` returned.
    """
    return _template("operator.html").substitute(name=escape(name), content=content_of(name, view))


def content_of(name: str, view: Mapping[str, Any]) -> str:
    """Return what is in the body of the page, for a page of somebody else."""
    tables = {table: _table(table, view) for table in TABLES}
    return _template("operator_content.html").substitute(
        tables,
        name=escape(name),
        states="".join(_states(view)),
        tasks="".join(_tasks(view)),
        state=escape(view["state"]),
        stats_summary=escape(view["stats"]["summary"]),
        forecast_summary=escape(view["forecast"]["summary"]),
        notices="".join(f"<p>{escape(notice)}</p>" for notice in view["notices"]),
        hidden_stats="" if view["stats"]["rows"] else "hidden",
        hidden_forecast="" if view["forecast"]["rows"] else "hidden",
        hidden_reset="" if view["task"] or view["state"] else "hidden",
    )


@cache
def _template(name: str) -> Template:
    return Template((STATIC / name).read_text("utf-8"))


def _states(view: Mapping[str, Any]) -> Iterator[str]:
    """Yield a link for each state, and one for all."""
    everything = {"": sum(view["states"].values())}
    for state, number in {**everything, **view["states"]}.items():
        chosen = {name: text for name, text in {"task": view["task"], "state": state}.items() if text}
        current = ' aria-current="true"' if state == view["state"] else ""
        href = f"?{urlencode(chosen, errors='replace')}" if chosen else "./"
        text = f"{state or 'all'} <b>{number:,}</b>"
        yield f'<li><a href="{escape(href)}" data-state="{state}"{current}>{text}</a></li>'


def _tasks(view: Mapping[str, Any]) -> Iterator[str]:
    yield '<option value="">All tasks</option>'
    for task in view["tasks"]:
        selected = " selected" if task["name"] == view["task"] else ""
        yield f'<option value="{escape(task["name"])}"{selected}>{escape(task["shown"])}</option>'


def _table(name: str, view: Mapping[str, Any]) -> str:
    table, columns = view[name], TABLES[name]
    empty = "Nothing here matches the filter." if view["task"] or view["state"] else _EMPTY.get(name, "")
    action = _ACTIONS.get(name) if view["may_change"] else None
    head = "".join(map(_header, columns))
    if action is not None:
        title = f'<span class="spoken">{action}</span>'
        head += f'<th scope="col" role="columnheader" data-action="{action}">{title}</th>'
    rows = "".join(_row(columns, row) for row in table["rows"])
    more = f"and {table['left_out']:,} more" if table["left_out"] else ""
    return (
        f'<p class="empty"{" hidden" * bool(table["rows"])}>{empty}</p>'
        f'<table role="table" aria-labelledby="{name}-title"{" hidden" * (not table["rows"])}>'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{rows}</tbody></table><p class="more">{more}</p>'
    )


def _header(column: Column) -> str:
    hint = f' title="{escape(column.hint)}"' if column.hint else ""
    return (
        f'<th scope="col" role="columnheader" class="{column.kind}" data-name="{column.name}" '
        f'data-kind="{column.kind}"{hint}>{escape(column.title)}</th>'
    )


def _row(columns: Sequence[Column], row: Mapping[str, Any]) -> str:
    cells = (
        f'<td role="cell" class="{column.kind}" data-label="{escape(column.title)}">{_cell(column, row)}</td>'
        for column in columns
    )
    return f'<tr role="row">{"".join(cells)}</tr>'


def _cell(column: Column, row: Mapping[str, Any]) -> str:
    text = escape(row["shown"].get(column.name, ""))
    if column.kind == "id":
        return f'<code title="{escape(row[column.name])}">{text}</code>'
    if column.kind == "state":
        return f'<span class="state {row["state"]}">{text}</span>'
    if column.kind == "progress" and row["progress"] is not None:
        return _progress(row["progress"]["percent"], text, escape(row["shown"].get("message", "")))
    return text


def _progress(percent: float | None, text: str, message: str) -> str:
    # The numbers beside the bar say the same.
    bar = "" if percent is None else f'<progress max="100" value="{percent:g}" aria-hidden="true"></progress>'
    return f'{bar}<span class="numbers">{text}</span><span class="message">{message}</span>'
