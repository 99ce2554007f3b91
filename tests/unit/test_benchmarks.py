"""How the benchmarks judge, keep and show what they measure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from benchmarks import chart, page
from benchmarks.report import Findings, Line, Report, Table

LINES = [
    Line("a call", "on disk", 1.2, 1.2, "× plain", 1.1, "a bare transaction"),
    Line("a call", "in Redis", 1.0, 1.0, "× <others>", strictly=True),
]

REPORT = Report(
    {"python": "3.11"},
    Findings(LINES, {"calls": Table("calls", "µs", {"plain": 400.0, "ours": 500.0}, "plain")}, ["a note"]),
)


def test_a_line_may_reach_its_target_unless_it_has_to_stay_below():
    assert [line.verdict for line in LINES] == ["met", "not met"]


def test_a_report_is_the_same_after_it_was_kept(tmp_path: Path):
    REPORT.write(tmp_path / "results.json")
    assert Report.read(tmp_path / "results.json") == REPORT


def test_the_tables_of_a_run_replace_those_of_the_last_one_and_nothing_else():
    empty = "Before.\n\n<!-- table calls -->\n<!-- end -->\n\nAfter.\n"
    filled = page.with_results(empty, REPORT)
    assert "| ours | 500 | 1.25 |" in filled
    assert filled.startswith("Before.\n\n")
    assert filled.endswith("\n\nAfter.\n")
    assert page.with_results(filled, REPORT) == filled


def test_the_page_shows_the_results_that_are_kept():
    report = Report.read(page.RESULTS)
    assert page.PAGE.read_text() == page.with_results(page.PAGE.read_text(), report)
    assert page.CHART.read_text() == chart.svg(report.findings.lines)


def test_the_chart_colours_each_line_by_whether_it_met_its_target():
    picture = ET.fromstring(chart.svg(LINES))
    bars = picture.iter("{http://www.w3.org/2000/svg}rect")
    assert [bar.get("class") for bar in bars] == ["met", "missed"]
