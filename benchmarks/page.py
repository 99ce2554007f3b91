"""Bring the results of a run into ``docs/explanation/performance.md``: ``python -m benchmarks.page``.

The page has a comment where each table belongs, ``<!-- table NAME -->``, and one where it ends. What is
between them is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from . import chart
from .report import Findings, Line, Report, shown

__all__ = ["PAGE", "RESULTS", "update", "with_results"]

ROOT = Path(__file__).parent.parent

RESULTS = Path(__file__).with_name("results.json")

PAGE, CHART = (
    ROOT / "docs" / "explanation" / "performance.md",
    ROOT / "docs" / "explanation" / "performance.svg",
)

_PLACE = re.compile(r"<!-- table ([\w ]+) -->\n.*?<!-- end -->", re.DOTALL)


def with_results(page: str, report: Report) -> str:
    """Return *page* with the tables of *report*."""
    tables = {name: markdown([t.header, *t.cells()]) for name, t in report.findings.tables.items()}
    tables |= {"targets": targets(report.findings.lines), "machine": about(report)}

    def filled(place: re.Match[str]) -> str:
        table = tables.get(place[1], "*Not measured in this run.*")
        return f"<!-- table {place[1]} -->\n\n{table}\n\n<!-- end -->"

    return _PLACE.sub(filled, page)


def targets(lines: list[Line]) -> str:
    rows = [
        [
            line.name,
            shown(line.value),
            line.asked,
            line.verdict if line.met else f"**{line.verdict}**",
            line.least,
        ]
        for line in lines
    ]
    return markdown([["what", "measured", "target", "", "the least possible"], *rows])


def about(report: Report) -> str:
    rows = [["the machine", ""], *([name, str(value)] for name, value in report.machine.items())]
    return "\n".join([markdown(rows), *notes(report.findings)])


def notes(findings: Findings) -> Iterable[str]:
    return ["", *(f"- {note}" for note in findings.notes)] if findings.notes else []


def markdown(rows: list[list[str]]) -> str:
    header, *others = rows
    lines = [header, ["---"] * len(header), *others]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def update(report: Report) -> None:
    PAGE.write_text(with_results(PAGE.read_text(), report))
    CHART.write_text(chart.svg(report.findings.lines))


if __name__ == "__main__":
    update(Report.read(RESULTS))
