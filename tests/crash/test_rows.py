"""Each row of the table: one crash at one moment. Afterwards the journal has to be right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .checks import violations
from .journal import Journal
from .rows import FAULTS, LEFT_OUT, MOMENTS, ROWS, SHORT, SHORTEST, Row
from .scenario import perform
from .servers import RabbitMQ

pytestmark = pytest.mark.timeout(420)


def _marked(row: Row) -> list[pytest.MarkDecorator]:
    marks = [pytest.mark.crash]
    if row in SHORT:
        marks.append(pytest.mark.short)
    if row in SHORT - SHORTEST:
        marks.append(pytest.mark.thorough)
    if row.broker == "rabbitmq":
        marks.append(pytest.mark.xdist_group("rabbitmq"))
    return marks


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name, marks=_marked(row)) for row in ROWS])
def test_a_crash_leaves_no_overlap_no_stale_answer_and_nothing_behind(
    row: Row, folder: Path, rabbitmq: Callable[[], RabbitMQ]
) -> None:
    found: list[str] = []
    try:
        perform(folder, row, rabbitmq() if row.broker == "rabbitmq" else None)
        found = violations(Journal(folder / "journal").read(), failures=row.failures)
    except BaseException:
        _show(folder)
        raise
    if found:
        _show(folder)
    assert found == []


def test_the_table_has_a_row_or_a_reason_for_each_fault_at_each_moment() -> None:
    pairs = {(fault, moment) for fault in FAULTS for moment in MOMENTS}
    assert {(row.fault, row.moment) for row in ROWS} == pairs - LEFT_OUT.keys()
    assert len(ROWS) == len({row.name for row in ROWS}) >= 80


def _show(folder: Path) -> None:
    """Print the journal, and where it is kept."""
    print(f"{folder}/journal:")
    for line in Journal(folder / "journal").read().render():
        print(line)
    for log in sorted(folder.glob("*.log")):
        print(f"{log}:\n{log.read_text(errors='replace')[-6000:]}")
