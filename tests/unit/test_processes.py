"""Waiting for the end of a process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import psutil
import pytest

from jobtastic_signals.support.processes import when_ended
from tests.support.servers import wait_until


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that goes on until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("pid", [None, os.getpid(), 2**30], ids=["none", "this one", "one that never was"])
def test_without_a_process_to_wait_for_it_is_called_at_once(pid):
    called = []
    when_ended(pid, lambda: called.append(threading.current_thread()))
    assert called == [threading.current_thread()]


def test_it_is_called_when_a_process_has_ended_and_not_before(process):
    called = threading.Event()
    when_ended(process.pid, called.set)
    assert not called.wait(0.1)
    process.kill()
    assert called.wait(30)
    # Nobody has asked for its exit code yet.
    assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE


def test_a_process_that_has_just_ended_is_not_waited_for(process):
    process.kill()
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, what="its end")
    called = []
    when_ended(process.pid, lambda: called.append(True))
    assert called == [True]
