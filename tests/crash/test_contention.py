"""Many callers contend for few keys while children die. Afterwards the journal has to be right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .checks import violations
from .contention import FAILURES, contend
from .journal import Journal

SECONDS = float(os.environ.get("CRASH_SECONDS", 20))
CALLERS = int(os.environ.get("CRASH_CALLERS", 64))


@pytest.mark.crash
@pytest.mark.timeout(SECONDS + 600)
@pytest.mark.parametrize(("store", "late"), [("disk", True), ("redis", False), ("memcached", True)])
def test_contention_leaves_no_overlap_no_stale_answer_and_nothing_behind(
    store: str, late: bool, folder: Path
) -> None:
    try:
        contend(folder, store, callers=CALLERS, seconds=SECONDS, late=late)
    finally:
        events = Journal(folder / "journal").read()
        print(f"{folder}/journal: {len(events.calls)} calls, {len(events.runs)} runs")
        found = violations(events, failures=FAILURES)
        print("\n".join(found[:50]))
    assert found == []
    # It was contention indeed.
    assert len(events.calls) > 2 * len(events.runs) > 0
    assert events.of("waits")
    assert events.of("served")
