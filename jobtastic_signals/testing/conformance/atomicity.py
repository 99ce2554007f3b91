"""Each operation is atomic: shown with threads and processes that really run at once."""

from __future__ import annotations

import multiprocessing
import multiprocessing.dummy
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ...stores import Store
from .base import Fixtures, payload_of, put, run
from .races import LEASE, TIMEOUT, contend

__all__ = ["Atomicity", "forks", "needs_fork"]

needs_fork: pytest.MarkDecorator = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here"
)

# Python 3.12 and later warn of any fork beside a thread; a store's promise is about forks.
forks: pytest.MarkDecorator = pytest.mark.filterwarnings(
    "ignore:.*multi-threaded, use of fork:DeprecationWarning"
)


def in_child(ask: Callable[[], Any]) -> Any:
    """Return what *ask* gives in a forked child."""
    context = multiprocessing.get_context("fork")
    answer, answers = context.Pipe(duplex=False)
    child = context.Process(target=lambda: answers.send(ask()), daemon=True)
    child.start()
    answers.close()
    assert answer.poll(TIMEOUT), "the child hangs"
    child.join(TIMEOUT)
    assert child.exitcode == 0
    return answer.recv()


class Atomicity(Fixtures):
    """Crowds at one store, and forked children."""

    @pytest.fixture
    def restless(self) -> Iterator[None]:
        """Let Python change threads as often as it can, so that it does so in the midst of a decision."""
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        yield
        sys.setswitchinterval(interval)

    @pytest.mark.usefixtures("restless")
    def test_threads_that_share_a_store_are_atomic(self, ticking: Store) -> None:
        contend(multiprocessing.dummy, lambda: ticking, self.rounds)

    @needs_fork
    @forks
    def test_forked_children_that_share_a_store_in_use_are_atomic(self, ticking: Store) -> None:
        if not self.shared_by_processes:
            pytest.skip("forked children go on with copies")
        before = run(ticking, "parent", "claimed", LEASE)
        put(ticking, "a result")
        contend(multiprocessing.get_context("fork"), lambda: ticking, self.rounds)
        assert ticking.lookup("claimed") == before
        assert payload_of(ticking.lookup("a result")) == b"42"

    @needs_fork
    @forks
    def test_a_forked_child_shares_if_its_identity_says_so_and_closes_what_is_its_own(
        self, ticking: Store
    ) -> None:
        def use_and_close() -> str:
            put(ticking, "a result", owner="child")
            identity = ticking.identity
            ticking.close()
            return identity

        identity = ticking.identity
        before = run(ticking, "parent", "claimed", LEASE)
        in_child(ticking.close)
        in_both = in_child(use_and_close) == identity
        found = ticking.lookup("a result") is not None
        assert (in_both, found) == (self.shared_by_processes, self.shared_by_processes)
        assert ticking.lookup("claimed") == before
