"""The endpoints, without a framework: what is decided is decided here, and framework modules translate.

A request passes :meth:`Endpoint.identify`, then the user's ``authorize`` and :meth:`Endpoint.permit`, then
:meth:`Endpoint.status` or :meth:`Endpoint.events`. Each of them can raise a :exc:`Refusal`, which has the
answer.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from celery import Celery
from celery.exceptions import ImproperlyConfigured

from ..errors import JobtasticError
from ..results.status import task_status
from .answers import Answer, Refusal, no_stream_any_more, only_reading, script, to_json, to_stream
from .sse import FINAL_ID, Feed
from .tokens import TASK_ID, TOKEN, BadTokenError, ExpiredTokenError, Signer

__all__ = ["DetachedEndpoint", "Endpoint"]

logger = logging.getLogger(__name__)

#: As many statuses are read at a time, where a few threads read for all.
_READERS = 8


class Endpoint:
    """The endpoints of a Celery app.

    :param signer: returns what signs tokens, asked at each request; None where there is no secret.
    :param asynchronous: whether ``authorize`` may be a coroutine function.
    :raises TypeError, ValueError: for wrong arguments, at once.
    """

    def __init__(
        self,
        celery_app: Celery,
        signer: Callable[[], Signer | None],
        *,
        authorize: Callable[[Any, str], Any] | None,
        max_age: float,
        stream: bool,
        traceback: bool,
        asynchronous: bool = False,
    ) -> None:
        _check(celery_app, authorize, max_age)
        if not asynchronous and inspect.iscoroutinefunction(authorize):
            raise TypeError(
                f"authorize is to be a plain function here, not a coroutine function: {authorize!r}"
            )
        self.authorize = authorize
        self._app = celery_app
        self._signer = signer
        self._max_age = max_age
        self._stream = stream
        self._traceback = traceback

    def answer(self, request: Any, method: str, reference: str, tell: Callable[[str], Answer]) -> Answer:
        """What *tell* answers about the task, or why it is not asked. For frameworks that await nothing."""
        try:
            task_id = self.identify(method, reference)
            if self.authorize is not None:
                self.permit(self.authorize(request, task_id))
            return tell(task_id)
        except Refusal as refusal:
            return refusal.answer

    def identify(self, method: str, reference: str) -> str:
        """The task id that *reference* stands for: a token, or an id if ``authorize`` is to judge it."""
        only_reading(method)
        if TOKEN.fullmatch(reference):
            return self._unsigned(reference)
        if not TASK_ID.fullmatch(reference):
            accepted = "a task token, or a task id: 1 to 255 of A-Z a-z 0-9 _ . : @ -"
            raise Refusal(400, "malformed_reference", f"the reference is malformed; it is to be {accepted}")
        if self.authorize is None:
            raise Refusal(403, "token_required", "a plain task id is not accepted here; a task token is")
        return reference

    def permit(self, verdict: Any) -> None:
        """Go on if *verdict* is a yes of ``authorize``."""
        if inspect.isawaitable(verdict):
            # As an object it would be true.
            if inspect.iscoroutine(verdict):
                verdict.close()
            raise TypeError("authorize returned an awaitable; here it is to be a plain function")
        if not verdict:
            raise Refusal(403, "forbidden", "you may not see this task")

    def status(self, task_id: str) -> Answer:
        """The status of *task_id*."""
        return to_json(200, self.read(task_id))

    def events(self, task_id: str, last_event_id: str | None) -> Answer:
        """The status of *task_id* from now on.

        :param last_event_id: the header of that name, by which a browser says what it had.
        """
        if not self._stream:
            raise Refusal(404, "no_stream", "there is no stream here; ask for ../status/ repeatedly")
        if last_event_id == FINAL_ID:
            return no_stream_any_more()
        return to_stream(Feed(task_id, self.read(task_id)))

    def script(self, method: str, if_none_match: str | None) -> Answer:
        """The module for browsers, which everybody may see."""
        try:
            return script(method, if_none_match)
        except Refusal as refusal:
            return refusal.answer

    def unknown(self) -> Answer:
        """What stands at all other paths."""
        paths = "<reference>/status/, <reference>/events/ and progress.js"
        return Refusal(404, "not_found", f"there is nothing here; there are {paths}").answer

    def read(self, task_id: str) -> dict[str, Any]:
        """The status of *task_id*.

        :raises Refusal: while the result backend does not answer.
        :raises JobtasticError: if there is none.
        """
        try:
            return task_status(self._app, task_id, traceback=self._traceback)
        except (JobtasticError, ImproperlyConfigured):
            # An app without a result backend, or a backend without its driver: no time will heal it.
            raise
        except Exception as error:
            logger.warning("the result backend does not tell the status of a task: %r", error)
            message = "the status cannot be read now; ask again later"
            raise Refusal(503, "backend_unavailable", message, {"Retry-After": "5"}) from error

    def _unsigned(self, token: str) -> str:
        signer = self._signer()
        if signer is None:
            raise Refusal(403, "bad_token", "a task token is not accepted here: the site has no secret key")
        try:
            return signer.unsign(token, self._max_age)
        except ExpiredTokenError:
            raise Refusal(403, "expired_token", "the task token is too old; load the page again") from None
        except BadTokenError:
            raise Refusal(403, "bad_token", "the task token is not one of this site") from None


class DetachedEndpoint(Endpoint):
    """An endpoint that reads in few threads of its own.

    Celery gives each thread a result backend of its own, with its own connection: under a server that starts
    a thread for each request, each request would connect anew.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # Its threads start at the first requests, so after a server has forked.
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="jobtastic-status")

    def read(self, task_id: str) -> dict[str, Any]:
        """The status of *task_id*, read in one of those threads."""
        return self.reading(task_id).result()

    def reading(self, task_id: str) -> Future[dict[str, Any]]:
        """The status of *task_id*, to come."""
        return self._readers.submit(self.read_there, task_id)

    def read_there(self, task_id: str) -> dict[str, Any]:
        """What is done in that thread."""
        return super().read(task_id)


def _check(celery_app: Any, authorize: Any, max_age: Any) -> None:
    if not isinstance(celery_app, Celery):
        raise TypeError(f"the first argument is to be a Celery app, not {celery_app!r}")
    if authorize is not None and not callable(authorize):
        raise TypeError(f"authorize is to be a function of a request and a task id, not {authorize!r}")
    if isinstance(max_age, bool) or not isinstance(max_age, (int, float)):
        raise TypeError(f"max_age is to be a number of seconds, not {max_age!r}")
    if not 0 < max_age < math.inf:
        raise ValueError(f"max_age is to be a number of seconds above 0, not {max_age!r}")
