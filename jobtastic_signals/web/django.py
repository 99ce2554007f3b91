"""The endpoints as Django URLs, under WSGI and under ASGI.

Example::

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
from .streaming import astream
from .streaming import stream as chunks
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
    """Return URL patterns and the namespace ``jobtastic``, for ``include``.

    They match every path below their prefix. Put your own patterns for the same prefix before them.

    :param authorize: returns whether a request may see a task id. It is called at each request, with a token
        as well. Without it, tokens suffice, and plain task ids are refused. Django handles what it raises.
    :param max_age: seconds for which a token is valid.
    :param stream: whether to offer server-sent events. Each open stream occupies a thread of a WSGI server.
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
    return _patterns(views), "jobtastic"


def _patterns(views: _Views) -> list[URLPattern]:
    # Otherwise Django would refuse a POST without a CSRF token, with a page of HTML.
    status, events, script, unknown = map(
        csrf_exempt, (views.status, views.events, views.script, views.unknown)
    )
    return [
        path("<reference>/status/", status, name="status"),
        path("<reference>/status", status),
        path("<reference>/events/", events, name="events"),
        path("<reference>/events", events),
        path("progress.js", script, name="script"),
        re_path("", unknown),
    ]


def task_token(task_id: str) -> str:
    """Return a token for *task_id*, signed with the ``SECRET_KEY`` of the settings.

    :raises ValueError: if *task_id* is not a task id.
    """
    return _Signer().sign(task_id)


class _Views:
    def __init__(self, endpoint: Endpoint, detached: _DetachedEndpoint) -> None:
        self._here = endpoint
        self._detached = detached

    def status(self, request: HttpRequest, reference: str) -> HttpResponseBase:
        return self._respond(request, self._answer(request, reference, self._endpoint(request).status))

    def events(self, request: HttpRequest, reference: str) -> HttpResponseBase:
        respond = partial(self._endpoint(request).events, last_event_id=request.headers.get("Last-Event-ID"))
        return self._respond(request, self._answer(request, reference, respond))

    def script(self, request: HttpRequest) -> HttpResponseBase:
        answer = self._here.script(request.method, request.headers.get("If-None-Match"))
        return self._respond(request, answer)

    def unknown(self, request: HttpRequest) -> HttpResponseBase:
        return self._respond(request, self._here.unknown())

    def _endpoint(self, request: HttpRequest) -> Endpoint:
        # Under ASGI, Django starts a thread for each request.
        return self._detached if isinstance(request, ASGIRequest) else self._here

    def _answer(self, request: HttpRequest, reference: str, respond: Callable[[str], Answer]) -> Answer:
        return self._here.answer(request, request.method, reference, respond)

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
        # Results may be in Django's database. Django closes old connections when a request ends, and no
        # request ends in this thread.
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
