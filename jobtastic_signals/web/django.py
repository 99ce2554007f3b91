"""The endpoints as Django URLs, under WSGI and under ASGI.

For example::

    urlpatterns = [
        path("task/", include(status_routes(celery_app))),
    ]

    def start(request):
        result = report.delay(request.POST["customer"])
        return JsonResponse({"status": reverse("jobtastic:status", args=[task_token(result.id)])})
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import Celery

from .answers import Answer
from .endpoint import DetachedEndpoint, Endpoint
from .sse import astream
from .sse import stream as chunks
from .tokens import SALT, SEPARATOR, BadTokenError, ExpiredTokenError, checked_id

try:
    from django.core import signing
    from django.core.handlers.asgi import ASGIRequest
    from django.db import close_old_connections
    from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
    from django.urls import URLPattern, path, re_path
    from django.views.decorators.csrf import csrf_exempt
except ImportError as error:
    raise ImportError(f"{__name__} needs Django: pip install 'jobtastic-signals[django]'") from error

__all__ = ["status_routes", "task_token"]


def status_routes(
    celery_app: Celery,
    *,
    authorize: Callable[[HttpRequest, str], bool] | None = None,
    max_age: float = 86400,
    stream: bool = False,
    traceback: bool = False,
) -> tuple[list[URLPattern], str]:
    """Patterns and the namespace ``jobtastic``, for ``include``.

    They answer for every path below; patterns of your own for the same prefix go before them.

    :param authorize: is asked at each request whether it may see a task id, with a token too. Without it,
        tokens are enough, and plain task ids are refused. What it raises goes to Django.
    :param max_age: seconds for which a token is valid.
    :param stream: whether to offer server-sent events, each of which occupies a thread of a WSGI server.
    :param traceback: whether to send the tracebacks of failures.
    :raises TypeError, ValueError: for wrong arguments.
    """
    options: dict[str, Any] = {
        "authorize": authorize,
        "max_age": max_age,
        "stream": stream,
        "traceback": traceback,
    }
    views = _Views(
        Endpoint(celery_app, _Signer, **options), _DetachedEndpoint(celery_app, _Signer, **options)
    )
    # Without a token for forgeries, a POST would be refused as HTML.
    status, events, script, unknown = map(
        csrf_exempt, (views.status, views.events, views.script, views.unknown)
    )
    patterns = [
        path("<reference>/status/", status, name="status"),
        path("<reference>/status", status),
        path("<reference>/events/", events, name="events"),
        path("<reference>/events", events),
        path("progress.js", script, name="script"),
        re_path("", unknown),
    ]
    return patterns, "jobtastic"


def task_token(task_id: str) -> str:
    """What stands for *task_id* in the URL, signed with the ``SECRET_KEY`` of the settings.

    :raises ValueError: for what is no task id.
    """
    return _Signer().sign(task_id)


class _Views:
    def __init__(self, endpoint: Endpoint, detached: _DetachedEndpoint) -> None:
        self._here = endpoint
        self._detached = detached

    def status(self, request: HttpRequest, reference: str) -> HttpResponseBase:
        return self._respond(request, self._answer(request, reference, self._endpoint(request).status))

    def events(self, request: HttpRequest, reference: str) -> HttpResponseBase:
        tell = partial(self._endpoint(request).events, last_event_id=request.headers.get("Last-Event-ID"))
        return self._respond(request, self._answer(request, reference, tell))

    def script(self, request: HttpRequest) -> HttpResponseBase:
        answer = self._here.script(request.method, request.headers.get("If-None-Match"))
        return self._respond(request, answer)

    def unknown(self, request: HttpRequest) -> HttpResponseBase:
        return self._respond(request, self._here.unknown())

    def _endpoint(self, request: HttpRequest) -> Endpoint:
        # Under ASGI, Django starts a thread for each request.
        return self._detached if isinstance(request, ASGIRequest) else self._here

    def _answer(self, request: HttpRequest, reference: str, tell: Callable[[str], Answer]) -> Answer:
        return self._here.answer(request, request.method, reference, tell)

    def _respond(self, request: HttpRequest, answer: Answer) -> HttpResponseBase:
        answer = answer.to(request.method)
        if answer.feed is None:
            return HttpResponse(answer.body, status=answer.status, headers=answer.headers)
        if isinstance(request, ASGIRequest):
            events: Any = astream(answer.feed, self._detached.aread, asyncio.sleep)
        else:
            events = chunks(answer.feed, self._here.read)
        return StreamingHttpResponse(events, status=answer.status, headers=answer.headers)


class _DetachedEndpoint(DetachedEndpoint):
    def read_there(self, task_id: str) -> dict[str, Any]:
        # Where results are in Django's database: no request ends in this thread, after which Django would
        # close connections that are too old.
        close_old_connections()
        try:
            return super().read_there(task_id)
        finally:
            close_old_connections()

    async def aread(self, task_id: str) -> dict[str, Any]:
        return await asyncio.wrap_future(self.reading(task_id))


class _Signer:
    def __init__(self) -> None:
        self._signer = signing.TimestampSigner(salt=SALT, sep=SEPARATOR)

    def sign(self, task_id: str) -> str:
        return str(self._signer.sign(checked_id(task_id)))

    def unsign(self, token: str, max_age: float) -> str:
        try:
            return str(self._signer.unsign(token, max_age=max_age))
        except signing.SignatureExpired as error:
            raise ExpiredTokenError from error
        except signing.BadSignature as error:
            raise BadTokenError from error
