"""The faults. Each is carried out when something has stopped at a point, or is queued."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from functools import partial

import diskcache

from . import destroyed
from .project import SHARED
from .servers import wait_until
from .site import Site
from .workers import has_gone

__all__ = ["strike"]


def strike(site: Site) -> None:
    """Carry out the fault of the row, and let all go on that has stopped."""
    site.journal.write("fault", row=site.row.name)
    subject, _, verb = site.row.fault.partition("_")
    if subject in ("broker", "store", "backend"):
        _SERVER_FAULTS[verb](site, subject)
    else:
        _PROCESS_FAULTS[site.row.fault](site)
    site.points.open()


def children_at_points(site: Site) -> list[int]:
    """Return the processes that have stopped at a point."""
    return sorted({record["pid"] for record in site.journal.read().of("at")})


def _child_killed(site: Site) -> None:
    destroyed.unpublished(site)
    for pid in children_at_points(site):
        os.kill(pid, signal.SIGKILL)


def _main_killed(site: Site) -> None:
    pids = site.first.pids
    destroyed.unpublished(site)
    if not site.row.late:
        destroyed.running(site)
    site.first.signal(signal.SIGKILL)
    site.first.process.wait()
    # Linux ends the children with it.
    wait_until(lambda: all(map(has_gone, pids)), "the end of the children")
    destroyed.in_transit(site)
    site.start_worker()


def _group_killed(site: Site) -> None:
    destroyed.unpublished(site)
    if not site.row.late:
        destroyed.running(site)
    site.first.signal_all(signal.SIGKILL)
    site.first.process.wait()
    destroyed.in_transit(site)
    site.start_worker()


def _term(site: Site) -> None:
    site.first.signal(signal.SIGTERM)
    _await_log(site, b"Warm shutdown")
    site.points.open()
    wait_until(lambda: site.first.process.poll() is not None, "the worker's end")
    site.start_worker()


def _quit(site: Site) -> None:
    destroyed.unpublished(site)
    if not site.row.late:
        destroyed.running(site)
    site.first.signal(signal.SIGQUIT)
    try:
        wait_until(lambda: site.first.process.poll() is not None, "the worker's end", patience=20)
    except AssertionError:
        # Celery 5.7 hangs if the signal comes while it reads a result from a child. The log then has where it
        # was stuck. Whoever watches the worker would kill it.
        site.journal.write("stuck", what="the worker, in its cold shutdown")
        site.first.signal(signal.SIGUSR2)
        time.sleep(1)
    site.first.signal_all(signal.SIGKILL)
    site.first.process.wait()
    destroyed.in_transit(site)
    site.start_worker()


def _child_stopped(site: Site) -> None:
    pids = children_at_points(site)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    _outlast_leases(site, pids)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def _group_stopped(site: Site) -> None:
    site.start_worker()
    pids = site.first.pids
    site.first.signal_all(signal.SIGSTOP)
    _outlast_leases(site, pids)
    site.first.signal_all(signal.SIGCONT)


def _hard_limit(site: Site) -> None:
    destroyed.unpublished(site)
    for pid in children_at_points(site):
        wait_until(partial(has_gone, pid), "the hard limit")


def _memory_error(site: Site) -> None:
    # Celery ends a worker whose task runs out of memory.
    if not site.row.late:
        destroyed.running(site)
    site.points.open()
    wait_until(lambda: site.first.process.poll() is not None, "the worker's end")
    site.first.signal_all(signal.SIGKILL)
    destroyed.in_transit(site)


def _memory_limit(site: Site) -> None:
    """Let the runs go on. Celery replaces their processes afterwards."""


_PROCESS_FAULTS = {
    "child_killed": _child_killed,
    "main_killed": _main_killed,
    "group_killed": _group_killed,
    "term": _term,
    "quit": _quit,
    "child_stopped": _child_stopped,
    "group_stopped": _group_stopped,
    "hard_limit": _hard_limit,
    "memory_error": _memory_error,
    "memory_limit": _memory_limit,
}


def _restarted(site: Site, server: str) -> None:
    since = site.journal.write("down")
    getattr(site, server).restart()
    if server == "store":
        _journal_unavailable(site, since)
    if server == "broker":
        destroyed.in_transit(site)
        # kombu 5.7 does not always survive an acknowledgement in that moment ("no attribute 'hostname'").
        site.points.open()
        site.start_worker()


def _stalled(site: Site, server: str) -> None:
    since = site.journal.write("down")
    with _stalling(site, server):
        # Longer than the leases, whatever was renewed just before.
        time.sleep(site.setup.lease + 0.5)
        for task, key in site.subjects:
            site.client_call(task, key)
    if server == "store":
        _journal_unavailable(site, since)


@contextlib.contextmanager
def _stalling(site: Site, server: str) -> Iterator[None]:
    if server == "store" and site.store is None:
        database = site.folder / "store" / "claims" / "cache.db"
        connection = sqlite3.connect(database, timeout=30, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")
            connection.close()
    else:
        getattr(site, server).stall()
        try:
            yield
        finally:
            getattr(site, server).resume()


def _journal_unavailable(site: Site, since: float) -> None:
    """Journal that runs which began since then, or begin before their claims can be renewed, have none."""
    until = _now() + site.setup.lease
    site.journal.write("unavailable", since=since, until=until)


def _emptied(site: Site, server: str) -> None:
    if server == "broker":
        destroyed.messages(site)
    elif server == "backend":
        destroyed.results(site)
        site.backend.empty()
    else:
        _empty_store(site)
        emptied = site.journal.write("emptied", until=_now() + site.setup.lease)
        if site.row.moment in ("body", "result", "waiting"):
            _await_regained(site, emptied)


def _await_regained(site: Site, since: float) -> None:
    """Return when each run that goes on has its claim again, or another has begun. Then call again."""
    for task, key in site.subjects:
        wait_until(partial(_is_taken, site, task, key, since), "a claim being regained")
        site.project.call(task, key)


def _is_taken(site: Site, task: str, key: str, since: float) -> bool:
    claim = site.claim_of(task, key)
    others = [
        run for run in site.journal.read().runs if (run.task, run.key) == (task, key) and run.start > since
    ]
    return bool(others) or (claim is not None and claim.is_running)


def _now() -> float:
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def _empty_store(site: Site) -> None:
    if site.store is not None:
        site.store.empty()
        return
    for part in ("claims", "results"):
        with diskcache.Cache(str(site.folder / "store" / part)) as cache:
            cache.clear()


_SERVER_FAULTS = {"restarted": _restarted, "stalled": _stalled, "emptied": _emptied}


def _outlast_leases(site: Site, pids: list[int]) -> None:
    """Return when the claims of stopped processes have lapsed, after identical calls were made."""
    lapses = {}
    for task, key in site.subjects:
        now = _now()
        claim = site.claim_of(task, key)
        lapses[f"{task}|{key}"] = now + (claim.expires - claim.at if claim is not None else 0.0)
    site.journal.write("stopped", pids=pids, lapses=lapses)
    for task, key in site.subjects:
        wait_until(partial(_has_lapsed, site, task, key), "a claim lapsing")
    if site.row.fault == "group_stopped":
        wait_until(lambda: _calls_run(site, lapses), "runs after the lapse of a claim", every=1.0)
    else:
        _calls_run(site, lapses)


def _has_lapsed(site: Site, task: str, key: str) -> bool:
    return site.claim_of(task, key) is None


def _calls_run(site: Site, lapses: dict[str, float]) -> bool:
    """Call what has not run since its claim lapsed. Return whether all has.

    The first message may go to the worker that is stopped, which still asks for one.
    """
    runs = site.journal.read().runs
    fresh = {run.task for run in runs if run.start >= lapses[f"{run.task}|{run.key}"]}
    for task, key in site.subjects:
        if task not in fresh:
            site.project.call(task, key)
    return len(fresh) == len(SHARED)


def _await_log(site: Site, text: bytes) -> None:
    wait_until(lambda: text in site.first.log.read_bytes(), f"{text.decode()} in the worker's log")
