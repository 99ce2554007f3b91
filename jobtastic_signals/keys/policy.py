"""What a task's options ask for, and how the keys and tags of its calls are made."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from celery import Task

from ..errors import UnkeyableError
from ..support.rare_warnings import rare_warnings
from ..support.shown import one_line
from .context import KeyContext
from .recipe import HERE, KeyRecipe
from .tags import TagRecipe

__all__ = ["TaskPolicy"]

logger: logging.Logger = logging.getLogger(__name__)


class TaskPolicy:
    """What a task's options ask for: their checked values, and how to make its keys and tags."""

    def __init__(
        self,
        options: Mapping[str, Any],
        keys: KeyRecipe,
        tags: TagRecipe,
        is_observed: Callable[[], bool] = lambda: False,
    ) -> None:
        self.options: Mapping[str, Any] = options
        self.keys: KeyRecipe = keys
        self.tags: TagRecipe = tags
        self._is_observed = is_observed
        self._warned_of: set[str | None] = set()

    def __getitem__(self, option: str) -> Any:
        return self.options[option]

    @cached_property
    def avoids_herds(self) -> bool:
        """Whether identical calls share one run."""
        return self["herd_avoidance_timeout"] is not None

    @cached_property
    def join_timeout(self) -> float:
        """For how many seconds identical calls may join one run; 0 not at all."""
        return self["herd_avoidance_timeout"] or 0.0

    @cached_property
    def caches(self) -> bool:
        """Whether a result answers later calls."""
        return bool(self["cache_duration"] >= 0)

    @cached_property
    def shares(self) -> bool:
        """Whether runs or results are shared at all; the options may be about something else."""
        return (self.avoids_herds or self.caches) and not self._is_observed()

    @cached_property
    def observes(self) -> bool:
        """Whether what would be shared is only counted."""
        return (self.avoids_herds or self.caches) and not self.shares

    @cached_property
    def on_duplicate(self) -> str:
        """What a call does while an identical one is in flight."""
        return str(self["on_duplicate"])

    @cached_property
    def hands_out_stale(self) -> bool:
        """Whether an expired result is handed out while a run renews it."""
        return bool(self["cache_stale_for"])

    @cached_property
    def result_ttl(self) -> float | None:
        """For how many seconds a result answers new callers: ``None`` for ever, 0 not at all."""
        return None if self["cache_duration"] == 0 else max(self["cache_duration"], 0.0)

    def failure_ttl(self, error: object) -> float:
        """Return for how many seconds a failure with *error* answers new callers; 0 if it does not."""
        named = self["cache_failures_for"]
        nearest = next((each for each in type(error).__mro__ if each in named), None)
        return named.get(nearest) or 0.0

    def identify(
        self,
        task: Task[Any, Any],
        args: Any,
        kwargs: Any,
        context: KeyContext,
        *,
        is_required: Callable[[], bool],
        refused: Callable[[str | None], None],
    ) -> tuple[str, tuple[str, ...]] | None:
        """Return the key and the scopes of a call, or ``None`` if it goes unshared.

        :param refused: is called with the name of the argument that has no canonical form, if the task knows
            it.
        :raises UnkeyableError: if an argument or the context has no canonical form and a key *is_required*.
        """
        try:
            key = self.keys.key(task, args, kwargs, context)
        except UnkeyableError as error:
            refused(self.keys.known_name(error.argument))
            if is_required():
                raise
            self._warn_of_argument(error)
            return None
        except TypeError:
            return None  # Not what the task accepts: Celery says so, or the body.
        scopes = self.scopes_of(task, args, kwargs)
        return None if scopes is None else (key, scopes)

    def key_of(
        self, task: Task[Any, Any], args: Any, kwargs: Any, *, context: KeyContext = HERE
    ) -> str | None:
        """Return the key of calling *task* with these arguments, or ``None`` if they have none."""
        try:
            return self.keys.key(task, args, kwargs, context)
        except UnkeyableError as error:
            self._warn_of_argument(error)
        except TypeError:
            pass
        return None

    def scopes_of(self, task: Task[Any, Any], args: Any, kwargs: Any) -> tuple[str, ...] | None:
        """Return the scopes of calling *task* with these arguments; ``None`` if its tags cannot be made.

        Such a call goes unshared: what it stored could not be forgotten.
        """
        try:
            return self.tags.scopes(task, args, kwargs)
        except UnkeyableError as error:
            problem = one_line(str(error))
            rare_warnings.warn(logger, f"tags: {task.name}", "%s; such calls go unshared", problem)
            return None

    def _warn_of_argument(self, error: UnkeyableError) -> None:
        """Warn of a call without a key, once for each argument of the task."""
        # Whoever calls chooses the names that ``**kwargs`` catches, so these count as one.
        argument = self.keys.known_name(error.argument)
        if argument not in self._warned_of:
            self._warned_of.add(argument)
            logger.warning("%s; such calls go unshared", one_line(str(error)))
