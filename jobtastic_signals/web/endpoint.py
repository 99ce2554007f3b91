"""The endpoints, independent of any framework. All decisions are made here; framework modules only translate.

A request passes a check of its method and :meth:`Endpoint.identify`, then the user's ``authorize`` and
:meth:`Endpoint.permit`, then :meth:`Endpoint.status`, :meth:`Endpoint.events` or :meth:`Endpoint.cancel`.
Each of them can raise a :exc:`Refusal`, which carries the answer.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from celery import Celery
from celery.exceptions import ImproperlyConfigured

from ..errors import BrokerUnavailableError, JobtasticError, StoreError, UnreadableStateError
from ..results.status import task_status
from ..sharing.leaving import leave
from ..sharing.origin import Origin
from ..support.shown import one_line, shown
from .answers import Answer, Refusal, check_method, end_of_stream, script, to_json, to_stream
from .permission import check_app, check_hook, decided
from .places import Places
from .posting import check_post
from .readers import Readers
from .sse import FINAL_ID, Feed
from .tokens import TASK_ID, TOKEN, BadTokenError, ExpiredTokenError, Signer, id_in, origin_in

__all__ = ["DetachedEndpoint", "Endpoint"]

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")

#: The number of threads that read statuses for all requests.
_READERS = 8

#: The number of streams that each process serves for one task. Whoever gets none polls.
STREAMS_PER_TASK = 4


class Endpoint:
    """The endpoints of a Celery app.

    :param signer: called at each request; returns the signer of tokens, or ``None`` without a secret.
    :param asynchronous: whether ``authorize`` may be a coroutine function.
    :raises TypeError, ValueError: for wrong arguments.
    """

    def __init__(
        self,
        celery_app: Celery[Any],
        signer: Callable[[], Signer | None],
        *,
        authorize: Callable[[Any, str], Any] | None,
        max_age: float,
        stream: bool,
        traceback: bool,
        cancel: bool = False,
        asynchronous: bool = False,
    ) -> None:
        _check(celery_app, max_age)
        if authorize is not None:
            check_hook("authorize", authorize, "a request and a task id", asynchronous=asynchronous)
        self.authorize = authorize
        self._app = celery_app
        self._signer = signer
        self._max_age = max_age
        self._stream = stream
        self._places = Places(STREAMS_PER_TASK)
        self._traceback = traceback
        self.cancels = cancel

    def answer(
        self, request: Any, reference: str, respond: Callable[[str], Answer], *, cancels: bool = False
    ) -> Answer:
        """Return what *respond* returns for the task id, or a refusal. For frameworks without ``await``.

        :param cancels: whether the request is to cancel, and not to read.
        """
        try:
            task_id = self.identify(request, reference, cancels=cancels)
            if self.authorize is not None:
                self.permit(self.authorize(request, task_id))
            return respond(task_id)
        except Refusal as refusal:
            return refusal.answer

    def identify(self, request: Any, reference: str, *, cancels: bool = False) -> str:
        """Return the task id for *reference*, a token or, if ``authorize`` checks it, a plain id.

        :raises Refusal: if it is neither, or for a request that may not do this.
        """
        if cancels:
            check_post(request.method, request.headers, "cancel")
        else:
            check_method(request.method)
        if TOKEN.fullmatch(reference):
            return id_in(self._unsigned(reference))
        if not TASK_ID.fullmatch(reference):
            accepted = "a task token, or a task id: 1 to 255 of A-Z a-z 0-9 _ . : @ -"
            raise Refusal(400, "malformed_reference", f"the reference is malformed; use {accepted}")
        if self.authorize is None:
            raise Refusal(403, "token_required", "a plain task id is not accepted here; use a task token")
        return reference

    def permit(self, allowed: Any) -> None:
        """Accept the request if ``authorize`` returned a true value.

        :raises Refusal: if it did not.
        :raises TypeError: for an awaitable, which would count as true.
        """
        if not decided("authorize", allowed):
            raise Refusal(403, "forbidden", "you may not see this task")

    def status(self, task_id: str) -> Answer:
        """Return the status of *task_id*."""
        return to_json(200, self.read(task_id))

    def events(self, task_id: str, last_event_id: str | None) -> Answer:
        """Return a stream of the status of *task_id*.

        :param last_event_id: the header of that name: the id of the last event that the browser received.
        """
        if not self._stream:
            raise Refusal(404, "no_stream", "streams are not enabled here; poll ../status/ instead")
        if last_event_id == FINAL_ID:
            return end_of_stream()
        place = self._places.take(task_id)
        if place is None:
            message = "this task has too many open streams; poll ../status/ instead"
            raise Refusal(429, "too_many_streams", message, {"Retry-After": "30"})
        return to_stream(Feed(task_id, self.read(task_id), place=place))

    def cancel(self, task_id: str, reference: str) -> Answer:
        """Let the caller with this token leave the run of *task_id*.

        :raises Refusal: for a token of an id alone, and if the store or the broker does not answer.
        """
        origin = origin_in(self._unsigned(reference)) if TOKEN.fullmatch(reference) else None
        if origin is None:
            message = "cancel with a token of the result of the call; an id does not say which caller leaves"
            raise Refusal(403, "token_required", message)
        return to_json(200, {"revoked": self.leave(origin)})

    def script(self, method: str, if_none_match: str | None) -> Answer:
        """Return the JavaScript module, which is public."""
        try:
            return script(method, if_none_match)
        except Refusal as refusal:
            return refusal.answer

    def unknown(self) -> Answer:
        """Return the answer for all other paths."""
        cancel = ", <reference>/cancel/" if self.cancels else ""
        paths = f"<reference>/status/, <reference>/events/{cancel} and progress.js"
        return Refusal(404, "not_found", f"this path does not exist; the paths are {paths}").answer

    def read(self, task_id: str) -> dict[str, Any]:
        """Read the status of *task_id*.

        :raises Refusal: if the result backend does not answer, or with something that cannot be decoded here.
        :raises JobtasticError: if there is no result backend.
        """
        try:
            return task_status(self._app, task_id, traceback=self._traceback)
        except UnreadableStateError as error:
            logger.error("%s", one_line(str(error)))
            raise Refusal(422, "unreadable_state", "this site cannot read the state of the task") from error
        except (JobtasticError, ImproperlyConfigured):
            # No result backend, or no driver for it: to ask again later would not help.
            raise
        except Exception as error:
            logger.warning("the status of a task cannot be read from the result backend: %s", shown(error))
            message = "the status cannot be read right now; try again later"
            raise Refusal(503, "backend_unavailable", message, {"Retry-After": "5"}) from error

    def leave(self, origin: Origin) -> bool:
        """Leave the run of *origin*. Return whether it was revoked.

        :raises Refusal: if the store or the broker does not answer.
        """
        try:
            return leave(self._app.AsyncResult(origin.owner), origin=origin)
        except (StoreError, BrokerUnavailableError) as error:
            logger.warning("a task cannot be cancelled: %s", one_line(str(error)))
            message = "the task cannot be cancelled right now; try again later"
            raise Refusal(503, "cancel_unavailable", message, {"Retry-After": "5"}) from error

    def _unsigned(self, token: str) -> str:
        signer = self._signer()
        if signer is None:
            raise Refusal(403, "bad_token", "this site has no secret key, so it accepts no task tokens")
        try:
            return signer.unsign(token, self._max_age)
        except ExpiredTokenError:
            raise Refusal(403, "expired_token", "the task token has expired; reload the page") from None
        except BadTokenError:
            raise Refusal(403, "bad_token", "the task token is not valid on this site") from None


class DetachedEndpoint(Endpoint):
    """An endpoint that reads statuses in a few threads, so that requests share connections."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._readers = Readers(_READERS)

    def read(self, task_id: str) -> dict[str, Any]:
        """Read the status of *task_id* in one of those threads."""
        return self.reading(task_id).result()

    def leave(self, origin: Origin) -> bool:
        """Leave the run of *origin* in one of those threads."""
        return self._submit(partial(super().leave, origin)).result()

    def reading(self, task_id: str) -> Future[dict[str, Any]]:
        """Return a future for the status of *task_id*."""
        return self._submit(partial(super().read, task_id))

    def call_there(self, function: Callable[[], T]) -> T:
        """Call *function* in the current thread, one of those."""
        return function()

    def _submit(self, function: Callable[[], T]) -> Future[T]:
        return self._readers.submit(partial(self.call_there, function))


def _check(celery_app: Any, max_age: Any) -> None:
    check_app(celery_app)
    if isinstance(max_age, bool) or not isinstance(max_age, (int, float)):
        raise TypeError(f"max_age must be a number of seconds, such as 3600, and {max_age!r} is not")
    if not 0 < max_age < math.inf:
        raise ValueError(f"max_age must be a number of seconds above 0, such as 3600, and {max_age!r} is not")
