"""``JobtasticTask``: jobtastic's base class, on top of the plugin."""

from __future__ import annotations

import logging
import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from celery import Celery, Task
from celery.result import AsyncResult, EagerResult
from celery.utils import uuid
from celery.utils.log import get_task_logger
from kombu.utils.json import register_type

from ..errors import OptionError
from ..fallback.api import async_or_eager, async_or_fail
from ..installation import required_sharing_of
from ..memory.process import resident
from ..progress.api import update_progress
from ..support.redaction import redacted_arguments
from .registry import is_definition, on_class, register, task_of

if TYPE_CHECKING:
    _Base = Task[..., Any]
else:
    _Base = Task  # Celery 5.4 takes no type arguments.

__all__ = ["JobtasticTask"]

MEGABYTE = 1_000_000

#: What jobtastic called and the plugin does not, and what to use instead.
_NOT_CALLED = {
    "_get_cache_key": "significant_kwargs, cache_prefix and key_context choose which calls are identical",
    "_get_cache": "the setting jobtastic_store names where claims and results are kept",
    "calc_progress": "the plugin estimates the time left from the pace of the run and from earlier runs",
}

# jobtastic's examples pass ranges, which were lists on Python 2.
register_type(range, None, list)


class JobtasticTask(_Base):  # type: ignore[misc, valid-type]  # Celery has no types
    """A base class for tasks that were written for jobtastic.

    Subclasses register themselves, and switch the plugin on for their app. Their class attributes are options
    of the plugin, such as ``significant_kwargs``, ``herd_avoidance_timeout``, ``cache_duration``,
    ``cache_prefix`` and ``memleak_threshold``. A class with ``abstract = True`` is no task.

    The methods for callers work on the class as well: ``Report.delay_or_fail(customer="acme")``.

    >>> from celery import Celery
    >>> app = Celery("proj", broker="memory://", backend="cache+memory://")
    >>> app.conf.update(jobtastic_store="memory://", task_always_eager=True)
    >>> class Double(JobtasticTask):
    ...     significant_kwargs = [("n", str)]
    ...     herd_avoidance_timeout = 60
    ...
    ...     def calculate_result(self, n, **kwargs):
    ...         self.update_progress(1, 1)
    ...         return 2 * n
    >>> Double.delay_or_fail(n=21).get()
    42
    """

    abstract = True

    #: Lets eager runs be read by their ids, in the result backend.
    store_eager_result = True

    #: Each run is compared with the threshold by itself, so the plugin measures none.
    measures_its_memory = True

    update_progress: Callable[..., None] = staticmethod(update_progress)

    delay: Any = on_class(Task.delay)
    apply_async: Any = on_class(Task.apply_async)
    apply: Any = on_class(Task.apply)
    AsyncResult: Any = on_class(Task.AsyncResult)
    signature: Any = on_class(Task.signature)
    subtask: Any = on_class(Task.signature)
    s: Any = on_class(Task.s)
    si: Any = on_class(Task.si)

    def __init_subclass__(cls, **options: Any) -> None:
        """Register the class, unless it is abstract or Celery is about to register it itself."""
        super().__init_subclass__(**options)
        own = vars(cls)
        for name, instead in _NOT_CALLED.items():
            if name in own:
                raise OptionError(
                    f"{cls.__module__}.{cls.__qualname__} overrides {name}, which is not called; {instead}"
                )
        if not own.get("abstract") and "_decorated" not in own and own.get("autoregister", True):
            register(cls)

    def __new__(cls) -> JobtasticTask:
        """Return a task of the current app, like the registered one."""
        instance: JobtasticTask = super().__new__(type(task_of(cls)) if is_definition(cls) else cls)
        return instance

    @classmethod
    def bind(cls, app: Celery[Any]) -> Celery[Any]:
        """Bind the task of an app to it. The class that a user defines belongs to no app."""
        if is_definition(cls):
            cls._app = app
            return app
        return super().bind(app)

    @on_class
    def async_or_eager(self, **options: Any) -> AsyncResult[Any]:
        """Call :func:`jobtastic_signals.async_or_eager`."""
        return async_or_eager(self, **options)

    @on_class
    def async_or_fail(self, **options: Any) -> AsyncResult[Any]:
        """Call :func:`jobtastic_signals.async_or_fail`."""
        return async_or_fail(self, **options)

    @on_class
    def delay_or_eager(self, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """Call :func:`jobtastic_signals.delay_or_eager`."""
        return async_or_eager(self, args, kwargs)

    @on_class
    def delay_or_fail(self, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """Call :func:`jobtastic_signals.delay_or_fail`."""
        return async_or_fail(self, args, kwargs)

    @on_class
    def delay_or_run(self, *args: Any, **kwargs: Any) -> tuple[Any, bool]:
        """Return the result and ``False``, or the value of a run in this process and ``True``."""
        warnings.warn("delay_or_run is deprecated; use delay_or_eager", DeprecationWarning, stacklevel=2)
        result = self.delay_or_eager(*args, **kwargs)
        if isinstance(result, EagerResult) and not self.app.conf.task_always_eager:
            return result.get(), True
        return result, False

    @on_class
    def simulate_async_error(self, exception: Exception) -> AsyncResult[Any]:
        """Return a result that has failed with *exception*, also for whoever reads it by its id."""
        task_id = uuid()
        text = "".join(traceback.format_exception(exception))
        self.backend.mark_as_failure(task_id, exception, traceback=text)
        result: AsyncResult[Any] = self.AsyncResult(task_id)
        return result

    @on_class
    def _get_cache_key(self, **kwargs: Any) -> str:
        """Return the key of a call."""
        return required_sharing_of(self)[1].keys.key(self, (), kwargs)

    @property
    def logger(self) -> logging.Logger:
        """The logger of the class, under ``celery.task``."""
        logger: logging.Logger = get_task_logger(type(self).__name__)
        return logger

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Show that the run has begun, run :meth:`calculate_result`, and see what it added to the memory."""
        if not self.request.called_directly:
            update_progress(0, None)
        limit = getattr(self, "memleak_threshold", -1)
        if limit < 0:
            return self.calculate_result(*args, **kwargs)
        before = resident()
        result = self.calculate_result(*args, **kwargs)
        after = resident()
        if after - before > limit * MEGABYTE:
            self.warn_of_memory_leak(after - before, before, after, kwargs)
        return result

    def calculate_result(self, *args: Any, **kwargs: Any) -> Any:
        """Do the work of the task, and return its result. Subclasses define this.

        :raises NotImplementedError: otherwise.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define calculate_result")

    def warn_of_memory_leak(
        self, growth: int, begining_usage: int, ending_usage: int, task_kwargs: Mapping[str, Any]
    ) -> None:
        """Log that a run has added more than ``memleak_threshold`` to the memory. Override it to do more.

        :param growth: bytes, like the two usages.
        :param begining_usage: as jobtastic spells it.
        """
        log = self.logger
        log.warning("Jobtastic:memleak memleak_detected. memory_increase=%05d unit=MB", growth // MEGABYTE)
        log.info("Jobtastic:memleak memory_usage_start=%05d unit=MB", begining_usage // MEGABYTE)
        log.info("Jobtastic:memleak memory_usage_end=%05d unit=MB", ending_usage // MEGABYTE)
        log.info("Jobtastic:memleak task_kwargs=%r", redacted_arguments(task_kwargs, frozenset()))
