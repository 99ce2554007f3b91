"""The memory of real processes is measured."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobtastic_signals.memory import process as memory
from jobtastic_signals.memory.process import peak, resident, tidied
from tests.support.memory import MB


def in_a_process_of_its_own(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_resident_memory_is_what_psutil_says():
    assert abs(resident() - psutil.Process().memory_info().rss) < 2 * MB


def test_resident_memory_grows_with_what_is_used():
    before = resident()
    used = bytearray(b"x") * (50 * MB)
    assert 45 * MB < resident() - before < 60 * MB
    del used
    assert resident() - before < 10 * MB


def test_a_forked_child_measures_itself():
    in_a_process_of_its_own(
        """
import os, psutil
from jobtastic_signals.memory.process import resident
resident()
child = os.fork()
if not child:
    used = bytearray(b"x") * 100_000_000
    os._exit(abs(resident() - psutil.Process().memory_info().rss) > 2_000_000)
assert os.waitpid(child, 0)[1] == 0
"""
    )


def test_a_file_that_was_closed_is_opened_again():
    """What makes a daemon closes all files, and their numbers become those of others."""
    in_a_process_of_its_own(
        """
import os
from jobtastic_signals.memory.process import resident
before = resident()
os.closerange(3, 100)
assert abs(resident() - before) < 5_000_000
os.closerange(3, 100)
others = [os.open(os.__file__, os.O_RDONLY) for _ in range(20)]
assert abs(resident() - before) < 5_000_000
os.closerange(3, 100)
others = [os.pipe() for _ in range(20)]
assert abs(resident() - before) < 5_000_000
"""
    )


def test_psutil_measures_where_there_is_no_proc(monkeypatch):
    def refuse(*_: Any) -> int:
        raise FileNotFoundError("/proc/self/statm")

    monkeypatch.setattr(memory, "_reader", (0, lambda: 0))
    monkeypatch.setattr(memory.os, "open", refuse)  # type: ignore[attr-defined]
    monkeypatch.setattr(memory.os, "pread", refuse)  # type: ignore[attr-defined]
    before = resident()
    assert abs(before - psutil.Process().memory_info().rss) < 2 * MB
    used = bytearray(b"x") * (50 * MB)
    assert resident() - before > 45 * MB
    del used


@pytest.mark.parametrize("without_proc", [False, True])
def test_the_peak_remembers_what_was_given_back(monkeypatch, without_proc):
    if without_proc:

        def refuse(*_: Any) -> None:
            raise FileNotFoundError

        monkeypatch.setattr(memory, "open", refuse, raising=False)
    used = bytearray(b"x") * (50 * MB)
    high = resident()
    del used
    assert peak() >= high - MB  # type: ignore[operator]
    assert peak() >= resident() - MB  # type: ignore[operator]


class Ring:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.me = self
        self.held = bytearray(b"x") * (50 * MB)


def test_garbage_does_not_count_after_tidying():
    before = resident()
    Ring()
    assert resident() - before > 45 * MB
    assert tidied() - before < 10 * MB


def test_what_malloc_keeps_for_the_next_use_does_not_count_after_tidying():
    """Blocks of that size are not given back one by one."""
    before = tidied()
    many = [bytearray(b"x") * 100_000 for _ in range(500)]
    last = bytearray(b"x") * 100_000
    del many
    if memory._malloc_trim() is not None:
        assert tidied() - before < 10 * MB
    del last


def test_the_collector_rests_where_it_is_switched_off():
    gc.disable()
    try:
        Ring()
        before = resident()
        assert before - tidied() < 10 * MB
    finally:
        gc.enable()
        gc.collect()


def test_tidying_works_without_malloc_trim(monkeypatch):
    monkeypatch.setattr(memory, "_malloc_trim", lambda: None)
    assert abs(tidied() - resident()) < 2 * MB
