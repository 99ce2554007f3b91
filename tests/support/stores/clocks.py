"""Clocks that interfere: a store looks at one in the midst of an operation."""

import multiprocessing
import threading

from jobtastic_signals.testing import Clock
from jobtastic_signals.testing.conformance.base import run

__all__ = ["Meddling", "forked_in_the_middle"]

TIMEOUT = 60


class Meddling(Clock):
    """Lets something happen each time that somebody looks, for so many times."""

    def __init__(self, meddle, *, times=1):
        super().__init__()
        self.meddle, self.times = meddle, times

    def __call__(self):
        if self.times > 0:
            self.times -= 1
            self.meddle()
        return super().__call__()


class Pausing(Clock):
    """A clock that keeps the first who looks, and so whatever it is doing, until told to go on."""

    def __init__(self):
        super().__init__()
        self.reached, self.go_on = threading.Event(), threading.Event()

    def __call__(self):
        if not self.reached.is_set():
            self.reached.set()
            self.go_on.wait(TIMEOUT)
        return super().__call__()


def _run_in_a_thread(store, answers):
    """In the child. A new thread can get the identity of one that the parent had, and the child has not."""

    def claim():
        try:
            answers.put(run(store, "child").owner)
        except Exception as error:
            answers.put(type(error).__name__)

    thread = threading.Thread(target=claim)
    thread.start()
    thread.join()


def forked_in_the_middle(open_paused, ask=run):
    """Fork a child while its parent asks for a claim. Return what the child gets, and who has the key."""
    context, clock = multiprocessing.get_context("fork"), Pausing()
    store, answers = open_paused(clock), context.SimpleQueue()
    assert store.identity
    parent = threading.Thread(target=ask, args=(store, "parent"))
    parent.start()
    try:
        assert clock.reached.wait(TIMEOUT)
        child = context.Process(target=_run_in_a_thread, args=(store, answers))
        child.start()
        child.join(TIMEOUT)
        child.kill()  # One that hangs would keep pytest from ending.
        assert child.exitcode == 0
    finally:
        clock.go_on.set()
        parent.join()
    owner = store.lookup("key").owner
    store.close()
    return answers.get(), owner
