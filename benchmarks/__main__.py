"""Run all parts, or those that are named, and print each line beside its target.

``python -m benchmarks --keep`` also writes the results to ``benchmarks/results.json`` and brings them into
``docs/explanation/performance.md`` and its chart.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from . import chart, page
from .parts import PARTS, in_a_process
from .report import Findings, Line, Report, Table, shown
from .rounds import QUICK


def machine() -> dict[str, str | int | float]:
    return {
        "python": platform.python_version(),
        "celery": version("celery"),
        "redis-py": version("redis"),
        "processors": os.cpu_count() or 1,
        "rounds": "a tenth, so the numbers say little" if os.environ.get(QUICK) else "all",
        "load before": round(os.getloadavg()[0], 2),
    }


def show_table(console: Console, table: Table) -> None:
    printed = RichTable(*table.header, title=table.title, title_justify="left")
    for cells in table.cells():
        printed.add_row(*cells)
    console.print(printed)


def show_lines(console: Console, lines: list[Line]) -> None:
    printed = RichTable("what", "", "measured", "target", "", "the least possible", title="targets")
    group = ""
    for line in lines:
        if line.group != group:
            printed.add_section()
        name, group = line.group if line.group != group else "", line.group
        colour = "green" if line.met else "red"
        verdict = f"[{colour}]{line.verdict}[/]"
        printed.add_row(name, line.what, shown(line.value), line.asked, verdict, line.least)
    console.print(printed)
    met = sum(line.met for line in lines)
    console.print(f"{met} of {len(lines)} lines are met")


def run(console: Console, parts: list[str]) -> tuple[Findings, list[str]]:
    """Return what the parts found, and the names of those that failed."""
    found, failed = Findings(), []
    for name in parts:
        start = time.perf_counter()
        try:
            part = in_a_process(name)
        except Exception:
            console.print_exception(show_locals=False)
            failed.append(name)
            continue
        console.print(f"[bold]{name}[/], {time.perf_counter() - start:.0f} s")
        for table in part.tables.values():
            show_table(console, table)
        for note in part.notes:
            console.print(note)
        found.lines += part.lines
        found.tables |= part.tables
        found.notes += part.notes
    return found, failed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--output", type=Path, help="a folder for results.json and chart.svg")
    parser.add_argument("--keep", action="store_true", help="bring the results into the docs")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds, to see that all works")
    chosen = parser.parse_args()
    if chosen.quick:
        os.environ[QUICK] = "1"
    unknown = set(chosen.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if chosen.keep and chosen.parts:
        parser.error("--keep needs the results of all parts")
    console = Console(width=None if os.isatty(1) else 150)
    about = machine()
    findings, failed = run(console, chosen.parts or list(PARTS))
    report = Report(about, findings)
    show_lines(console, report.findings.lines)
    if chosen.output:
        chosen.output.mkdir(parents=True, exist_ok=True)
        report.write(chosen.output / "results.json")
        (chosen.output / "chart.svg").write_text(chart.svg(report.findings.lines))
        console.print(f"written to {chosen.output}")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")
    if chosen.keep:
        report.write(page.RESULTS)
        page.update(report)


if __name__ == "__main__":
    main()
