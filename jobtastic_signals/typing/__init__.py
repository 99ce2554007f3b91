"""Tasks as type checkers should see them: with the methods that the plugin adds.

At run time :class:`Task` and :func:`shared_task` are Celery's own, so nothing depends on them. Type checkers
know Celery through the package ``celery-types``, which knows nothing of plugins.

>>> from celery import Celery
>>> from jobtastic_signals.typing import Task
>>> app = Celery("proj", task_cls=Task)
>>> @app.task(bind=True, herd_avoidance_timeout=60)
... def report(self: Task[Any, Any], customer: str) -> str:
...     self.update_progress(1, 2)
...     return customer
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Concatenate, Generic, Literal, overload

    from celery import Task as _CelerysTask
    from celery.result import AsyncResult
    from typing_extensions import ParamSpec, TypeVar

    _P = ParamSpec("_P", default=...)
    _R = TypeVar("_R", default=Any)
    _R_co = TypeVar("_R_co", covariant=True, default=Any)

    class Task(_CelerysTask[_P, _R_co], Generic[_P, _R_co]):  # type: ignore[misc]  # without celery-types
        """Celery's task, with the methods that the plugin adds to tasks with its options.

        Without type arguments it is ``Task[..., Any]``.
        """

        def delay_or_fail(self, *args: _P.args, **kwargs: _P.kwargs) -> AsyncResult[_R_co]:
            """See :func:`jobtastic_signals.delay_or_fail`."""

        def delay_or_eager(self, *args: _P.args, **kwargs: _P.kwargs) -> AsyncResult[_R_co]:
            """See :func:`jobtastic_signals.delay_or_eager`."""

        async def adelay_or_fail(self, *args: _P.args, **kwargs: _P.kwargs) -> AsyncResult[_R_co]:
            """See :func:`jobtastic_signals.adelay_or_fail`."""

        async def adelay_or_eager(self, *args: _P.args, **kwargs: _P.kwargs) -> AsyncResult[_R_co]:
            """See :func:`jobtastic_signals.adelay_or_eager`."""

        def delay_or_fail_on_commit(self, *args: _P.args, **kwargs: _P.kwargs) -> None:
            """See :func:`jobtastic_signals.delay_or_fail_on_commit`."""

        def delay_or_eager_on_commit(self, *args: _P.args, **kwargs: _P.kwargs) -> None:
            """See :func:`jobtastic_signals.delay_or_eager_on_commit`."""

        def async_or_fail(self, args: Any = None, kwargs: Any = None, **options: Any) -> AsyncResult[_R_co]:
            """See :func:`jobtastic_signals.async_or_fail`."""

        def async_or_eager(self, args: Any = None, kwargs: Any = None, **options: Any) -> AsyncResult[_R_co]:
            """See :func:`jobtastic_signals.async_or_eager`."""

        @staticmethod
        def update_progress(
            completed: float, total: float | None, update_frequency: float = 1, message: str | None = None
        ) -> None:
            """See :func:`jobtastic_signals.update_progress`."""

    @overload
    def shared_task(fun: Callable[_P, _R], /) -> Task[_P, _R]: ...
    @overload
    def shared_task(
        *, bind: Literal[True], **options: Any
    ) -> Callable[[Callable[Concatenate[Task[_P, _R], _P], _R]], Task[_P, _R]]: ...
    @overload
    def shared_task(
        *, bind: Literal[False] = False, **options: Any
    ) -> Callable[[Callable[_P, _R]], Task[_P, _R]]: ...
    def shared_task(*args: Any, **options: Any) -> Any:
        """Define a task for whichever app there is: ``celery.shared_task``, which also takes our options."""

else:
    from celery import Task, shared_task

__all__ = ["Task", "shared_task"]
