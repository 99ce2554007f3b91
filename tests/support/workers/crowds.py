"""Many callers at once, in processes of their own."""

from __future__ import annotations

import abc
import multiprocessing
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar

from jobtastic_signals.sharing.origin import origin_of

from .project import close, create_app

T = TypeVar("T")

PROCESSES = 8
TIMEOUT = 120


class Answer(NamedTuple):
    """What one call got.

    :ivar value: the stored value that it had at once; ``None`` if there was none.
    """

    id: str
    kind: str
    value: Any


class Callers(abc.ABC):
    """Eight callers."""

    @abc.abstractmethod
    def ask(self, function: Callable[..., T], *arguments: Any) -> list[T]:
        """Let each call *function* with its project and *arguments*, all at once. Return what they got."""

    def call(self, name: str, args: Any, calls: int, **options: Any) -> list[Answer]:
        """Let each call the task *name* so many times, all at once. Return all answers."""
        return [answer for found in self.ask(_call_many, name, args, options, calls) for answer in found]


class Threads(Callers):
    """Eight threads of this process, where a store in memory is."""

    def __init__(self, project: SimpleNamespace) -> None:
        self._project = project

    def ask(self, function: Callable[..., T], *arguments: Any) -> list[T]:
        with ThreadPoolExecutor(PROCESSES) as pool:
            asked = [pool.submit(function, self._project, *arguments) for _ in range(PROCESSES)]
            return [each.result() for each in asked]


class Crowd(Callers):
    """Eight processes that call the tasks of the project *made*."""

    def __init__(self, made: Mapping[str, Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self._ends: list[Connection] = []
        self._processes = []
        for _ in range(PROCESSES):
            ours, theirs = context.Pipe()
            self._ends.append(ours)
            self._processes.append(context.Process(target=_answer_requests, args=(theirs, made)))
            self._processes[-1].start()
        self._ask(_be_ready)  # It takes seconds to start them all.

    def ask(self, function: Callable[..., T], *arguments: Any) -> list[T]:
        return self._ask(function, *arguments)

    @contextmanager
    def reading(self, name: str, args: Any, threads: int) -> Iterator[set[Answer]]:
        """Let so many threads in each process call the task *name* for as long as the body goes on.

        In the end, what the calls got is in the set, without ids and values that are there.
        """
        found: set[Answer] = set()
        self._ask(_begin_reading, name, args, threads)
        yield found
        for seen in self._ask(_end_reading):
            found |= seen

    def close(self) -> None:
        self._ask(None)
        for process in self._processes:
            process.join(timeout=TIMEOUT)

    def _ask(self, *request: Any) -> list[Any]:
        for end in self._ends:
            end.send(request)
        assert all(end.poll(TIMEOUT) for end in self._ends)
        return [end.recv() for end in self._ends]


def _answer_requests(end: Connection, made: Mapping[str, Any]) -> None:
    project = create_app(**made)
    function, *arguments = end.recv()
    while function is not None:
        end.send(function(project, *arguments))
        function, *arguments = end.recv()
    close(project.app)
    end.send(None)


def _be_ready(project: SimpleNamespace) -> None:
    pass


def _call_many(project: SimpleNamespace, name: str, args: Any, options: Any, calls: int) -> list[Answer]:
    task = getattr(project, name)
    return [_answer(task.apply_async(args, **options)) for _ in range(calls)]


def _begin_reading(project: SimpleNamespace, name: str, args: Any, threads: int) -> None:
    """Return when each thread has called once."""
    task = getattr(project, name)
    project.seen, project.stop = set(), threading.Event()
    barrier = threading.Barrier(threads + 1)

    def read() -> None:
        is_first = True
        while not project.stop.is_set():
            answer = _answer(task.apply_async(args))
            project.seen.add(answer._replace(id="", value=None if answer.value is None else "there"))
            if is_first:
                barrier.wait(timeout=TIMEOUT)
                is_first = False

    project.reading = [threading.Thread(target=read, daemon=True) for _ in range(threads)]
    for thread in project.reading:
        thread.start()
    barrier.wait(timeout=TIMEOUT)


def _end_reading(project: SimpleNamespace) -> set[Answer]:
    project.stop.set()
    for thread in project.reading:
        thread.join(timeout=TIMEOUT)
    seen: set[Answer] = project.seen
    return seen


def _answer(result: Any) -> Answer:
    origin = origin_of(result)
    is_stored = origin is not None and origin.kind == "cached"
    return Answer(result.id, "" if origin is None else origin.kind, result.result if is_stored else None)
