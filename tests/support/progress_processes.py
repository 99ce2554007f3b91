"""What other processes do with the handle of a run. They import this module, so it is small."""

from __future__ import annotations

import time
from pathlib import Path

from jobtastic_signals import ProgressHandle, update_progress


def report(progress: ProgressHandle, completed: int, total: int, message: str) -> None:
    """Report once, and end."""
    progress.update(completed, total, message=message)


def report_without_handle(completed: int, total: int) -> None:
    """Report as a child that a body forked, which has its context."""
    update_progress(completed, total)


def report_until(progress: ProgressHandle, over: str) -> int:
    """Report many times, until the file *over* is there. Return how often."""
    count = 0
    while not Path(over).exists():
        count += 1
        progress.update(1 + count % 900, 1000)
        time.sleep(0.0005)
    return count
