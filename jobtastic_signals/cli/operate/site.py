"""The app of a command: its tasks, and its store, which has to answer."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, TypeVar

from celery import Celery, Task

from ... import events
from ...calls import Call
from ...errors import UnkeyableError
from ...explanation import Explanation, explain
from ...installation import Installation, installation_on
from ...keys.stamps import is_key
from ...sharing.asking import named_call
from ...sharing.inventory import Row, rows, rows_of
from ...stores.disk import DiskStore
from ...support.redaction import scrubbed
from ...support.shown import shown_error
from ..check.check import load_tasks
from ..check.folder import why_unusable
from ..common import EXIT_UNKNOWN, CommandError
from .arguments import arguments_in

__all__ = ["Site"]

T = TypeVar("T")

#: The start of the digest of a key, as tables show it.
_DIGEST = re.compile(r"[0-9a-f]{4,40}")


class Site:
    """The app of a command, with its tasks loaded.

    :param needs_store: whether the command asks the store.
    :raises CommandError: if the tasks cannot be loaded, the plugin is not enabled, or this process cannot use
        the store.
    :ivar installation: the plugin on the app.
    """

    def __init__(self, app: Celery[Any], *, needs_store: bool = True) -> None:
        self.app = app
        try:
            load_tasks(app)
        except Exception as error:
            raise CommandError(f"The tasks cannot be loaded: {shown_error(error)}", EXIT_UNKNOWN) from error
        installation = installation_on(app)
        if installation is None:
            raise CommandError(
                "The plugin is not enabled on this app, so it shares nothing. Call Jobtastic(app) where the "
                "app is created."
            )
        self.installation: Installation = installation
        self._reason = ""
        if needs_store:
            self._require_store()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Raise :exc:`.CommandError` in the end if the store does not answer."""
        guard = logging.getLogger("jobtastic_signals.stores.guard")
        silence = logging.NullHandler()  # It stands in for Python's own, which prints warnings.
        guard.addHandler(silence)
        try:
            with events.store_unavailable.connected_to(self._note_reason):
                yield
        finally:
            guard.removeHandler(silence)
        if self.installation.store.is_down:
            raise CommandError(
                f"The store {self.installation.store.url} does not answer{self._reason}. Start it, or "
                "correct jobtastic_store; `jobtastic check` tries it."
            )

    def rows(self, task: str | None = None, *, only_in_flight: bool = False) -> list[Row]:
        """Return the rows of the store; see :func:`.inventory.rows`.

        :raises CommandError: if the store does not answer.
        """
        with self.asking():
            return rows(self.installation, task=task, only_in_flight=only_in_flight)

    def runs(self, tasks: Sequence[str] = ()) -> dict[str, str]:
        """Return the names of tasks by the ids of their runs; of all tasks without *tasks*.

        :raises CommandError: if the store does not answer.
        """
        found = [self.rows(task, only_in_flight=True) for task in tasks or (None,)]
        return {row.owner: row.task for rows in found for row in rows if row.state == "running"}

    def rows_of(self, key: str, scopes: Sequence[str] = ()) -> list[Row]:
        """Return the rows of one key; see :func:`.inventory.rows_of`.

        :raises CommandError: if the store does not answer.
        """
        with self.asking():
            return rows_of(self.installation, key, scopes)

    def task(self, name: str) -> Task[Any, Any]:
        """Return the task of that name.

        :raises CommandError: if there is none.
        """
        task = self.app.tasks.get(name)
        if task is None:
            close = difflib.get_close_matches(name, self.app.tasks, n=1)
            hint = f" Did you mean {close[0]}?" if close else " Give its full name, as in the worker's log."
            raise CommandError(f"This app has no task {name!r}.{hint}", EXIT_UNKNOWN)
        return task

    def explanation(self, words: Sequence[str]) -> Explanation:
        """Return what is known of the call that *words* stand for: a task, and its arguments.

        :raises CommandError: if there is no such task, or it does not take such arguments.
        :raises JobtasticError: if the task has no options of ours.
        """
        return self._with_call(explain, words)

    def call(self, words: Sequence[str]) -> Call:
        """Return the call that *words* stand for, with its key and scopes; see :meth:`explanation`."""
        return self._with_call(lambda task, *args, **kwargs: named_call(task, args, kwargs)[1], words)

    def key(self, text: str) -> str:
        """Return the key that *text* is, or whose digest begins with it, as tables show it.

        :raises CommandError: if there is none in the store, or more than one.
        """
        if is_key(text):
            return text
        if not _DIGEST.fullmatch(text):
            raise CommandError(
                f"{text!r} is no key. Give a key, or the start of its last part, as `list` shows it.",
                EXIT_UNKNOWN,
            )
        found = {row.key for row in self.rows() if row.key.rpartition(":")[2].startswith(text)}
        if len(found) > 1:
            raise CommandError(f"{len(found)} keys begin with {text}. Give more of it.", EXIT_UNKNOWN)
        if not found:
            raise CommandError(f"The store has no key that begins with {text}.")
        return found.pop()

    def _with_call(self, function: Callable[..., T], words: Sequence[str]) -> T:
        task = self.task(words[0])
        args, kwargs = arguments_in(words[1:])
        try:
            return function(task, *args, **kwargs)
        except UnkeyableError:
            raise
        except TypeError as error:
            reason = f"The task {task.name} does not take these arguments: {error}."
            raise CommandError(reason, EXIT_UNKNOWN) from error

    def _note_reason(self, url: str, error: Exception, **_: Any) -> None:
        settings = self.installation.settings
        self._reason = f" ({scrubbed(shown_error(error), settings.store, settings.store_options)})"

    def _require_store(self) -> None:
        if self.installation.settings.store.startswith("memory:"):
            raise CommandError(
                "jobtastic_store is memory://, which each process has of its own, so there is nothing to see "
                "from here. Use disk:// on one host, or a store on a server."
            )
        with closing(self.installation.open_store()) as store:
            unusable = why_unusable(store.folder) if isinstance(store, DiskStore) else None
        if unusable is not None:
            # Whoever creates the folder owns it, and that has to be the user of the workers.
            raise CommandError(". ".join(filter(None, (unusable.text, unusable.remedy))))
