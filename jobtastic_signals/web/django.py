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
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from celery import Celery
from celery.app.backends import by_url

from . import owners
from .answers import Answer
from .endpoint import DetachedEndpoint, Endpoint
from .operate.page import OperatorPage, Visit
from .streaming import astream
from .streaming import stream as chunks
from .tokens import SALT, SEPARATOR, BadTokenError, ExpiredTokenError, MaxAges, Task, rounded, said_of

try:
    from django.core import signing
    from django.core.handlers.asgi import ASGIRequest
    from django.db import close_old_connections
    from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
    from django.urls import URLPattern, path, re_path
    from django.views.decorators.csrf import csrf_exempt
except ImportError as _error:
    raise ImportError(f"{__name__} needs Django: pip install 'jobtastic-signals[django]'") from _error

__all__ = ["may_see", "operator_page", "remember", "status_routes", "task_token"]

T = TypeVar("T")

#: A site has one key and one set of URLs.
_SITE = "site"
_max_ages = MaxAges()


def status_routes(
    celery_app: Celery[Any],
    *,
    authorize: Callable[[HttpRequest, str], bool] | None = None,
    max_age: float = 86400,
    stream: bool = False,
    traceback: bool = False,
    cancel: bool = False,
) -> tuple[list[URLPattern], str]:
    """Return URL patterns and the namespace ``jobtastic``, for ``include``.

    They match every path below their prefix. Put your own patterns for the same prefix before them.

    :param authorize: returns whether a request may see a task id. It is called at each request, with a token
        as well. Without it, tokens suffice, and plain task ids are refused. Django handles what it raises.
    :param max_age: seconds for which a token is valid.
    :param stream: whether to offer server-sent events. Each open stream occupies a thread of a WSGI server.
    :param traceback: whether to send the tracebacks of failures.
    :param cancel: whether to offer ``POST <token>/cancel/``, which calls :func:`jobtastic_signals.leave`. It
        is protected against requests from other sites without Django's CSRF token.
    :raises TypeError, ValueError: for wrong arguments.
    """
    views = _Views(
        celery_app, authorize=authorize, max_age=max_age, stream=stream, traceback=traceback, cancel=cancel
    )
    _max_ages.add(_SITE, max_age)
    return _patterns(views, cancel), "jobtastic"


def _patterns(views: _Views, cancels: bool) -> list[URLPattern]:
    # Otherwise Django would refuse a POST without a CSRF token, with a page of HTML.
    status, events, cancel, script, unknown = map(
        csrf_exempt, (views.status, views.events, views.cancel, views.script, views.unknown)
    )
    cancelling = [path("<reference>/cancel/", cancel, name="cancel"), path("<reference>/cancel", cancel)]
    return [
        path("<reference>/status/", status, name="status"),
        path("<reference>/status", status),
        path("<reference>/events/", events, name="events"),
        path("<reference>/events", events),
        *(cancelling if cancels else []),
        path("progress.js", script, name="script"),
        re_path("", unknown),
    ]


def operator_page(
    celery_app: Celery[Any],
    *,
    authorize: Callable[[HttpRequest], bool],
    may_change: Callable[[HttpRequest], bool] | None = None,
) -> tuple[list[URLPattern], str]:
    """Return URL patterns for a page that shows what runs, waits and is cached, for ``include``.

    Their namespace is ``jobtastic_operator``. The path that includes them has to end with a slash.

    :param authorize: returns whether a request may see the page, and so all tasks. Django handles what it
        raises.
    :param may_change: returns whether a request may release claims and forget results; by default, none may.
        These requests are protected against other sites without Django's CSRF token.
    :raises TypeError: for wrong arguments.
    """
    page = OperatorPage(celery_app, authorize=authorize, may_change=may_change, around=with_own_connections)

    @csrf_exempt  # type: ignore[untyped-decorator]  # Django has no types
    def view(request: HttpRequest, path: str = "") -> HttpResponse:
        return answer_visit(page, request, path)

    return [path("", view, name="page"), path("<path:path>", view, name="part")], "jobtastic_operator"


def answer_visit(page: OperatorPage, request: HttpRequest, path: str = "") -> HttpResponse:
    """Return the answer of *page* to *request*, for the view of an operator page.

    :param path: what follows the path of the page.
    """
    answer = page.answer(Visit(request, path, request.GET)).to(request.method)
    return HttpResponse(answer.body, status=answer.status, headers=answer.headers)


def task_token(task: Task) -> str:
    """Return a token for *task*, signed with the ``SECRET_KEY`` of the settings.

    :param task: the result of a call, what ``sharing_of`` returned for that, or a task id. A page can cancel
        only with a token of the first two.

    Once the URLs are loaded, the token stays the same for a twelfth of their ``max_age``, so a page that is
    rendered again does not change.

    :raises ValueError: if it is not a task id.
    """
    return _Signer().sign(task)


def remember(request: HttpRequest, task_id: str) -> None:
    """Record in the session that the visitor asked for *task_id*, and the user, if any.

    In an async view, await ``sync_to_async(remember)(request, task_id)``.

    :raises ValueError: if *task_id* is not a task id.
    """
    owners.remember(request.session, task_id, _user(request))


def may_see(request: HttpRequest, task_id: str) -> bool:
    """Return whether this visitor asked for *task_id*: an ``authorize`` for :func:`status_routes`."""
    return owners.may_see(request.session, task_id, _user(request))


def _user(request: HttpRequest) -> str | None:
    user = getattr(request, "user", None)
    return str(user.pk) if user is not None and user.is_authenticated else None


class _Views:
    def __init__(self, celery_app: Celery[Any], **options: Any) -> None:
        self._app = celery_app
        self._here = Endpoint(celery_app, _Signer, **options)
        self._detached = _DetachedEndpoint(celery_app, _Signer, **options)
        self._is_in_django: bool | None = None

    def status(self, request: HttpRequest, reference: str) -> HttpResponseBase:
        return self._respond(request, self._answer(request, reference, self._endpoint(request).status))

    def events(self, request: HttpRequest, reference: str) -> HttpResponseBase:
        respond = partial(self._endpoint(request).events, last_event_id=request.headers.get("Last-Event-ID"))
        return self._respond(request, self._answer(request, reference, respond))

    def cancel(self, request: HttpRequest, reference: str) -> HttpResponseBase:
        respond = partial(self._endpoint(request).cancel, reference=reference)
        return self._respond(request, self._here.answer(request, reference, respond, cancels=True))

    def script(self, request: HttpRequest) -> HttpResponseBase:
        answer = self._here.script(request.method, request.headers.get("If-None-Match"))
        return self._respond(request, answer)

    def unknown(self, request: HttpRequest) -> HttpResponseBase:
        return self._respond(request, self._here.unknown())

    def _endpoint(self, request: HttpRequest) -> Endpoint:
        # Under ASGI, Django starts a thread for each request. So do its own WSGI server, and gevent.
        return self._here if self._reads_here(request) else self._detached

    def _reads_here(self, request: HttpRequest) -> bool:
        # Django itself has a connection to its database in the thread of a WSGI request, and a test has a
        # transaction there.
        if self._is_in_django is None:
            self._is_in_django = _is_in_django(self._app)
        return self._is_in_django and not isinstance(request, ASGIRequest)

    def _answer(self, request: HttpRequest, reference: str, respond: Callable[[str], Answer]) -> Answer:
        return self._here.answer(request, reference, respond)

    def _respond(self, request: HttpRequest, answer: Answer) -> HttpResponseBase:
        answer = answer.to(request.method)
        if answer.feed is None:
            return HttpResponse(answer.body, status=answer.status, headers=answer.headers)
        if isinstance(request, ASGIRequest):
            events: Any = astream(answer.feed, self._detached.aread, asyncio.sleep)
        else:
            events = chunks(answer.feed, self._endpoint(request).read)
        return StreamingHttpResponse(events, status=answer.status, headers=answer.headers)


def _is_in_django(celery_app: Celery[Any]) -> bool:
    """Return whether results are in Django's database or caches, by django-celery-results."""
    kind, _ = by_url(celery_app.backend_cls or celery_app.conf.result_backend, celery_app.loader)
    return any(each.__module__.startswith("django_celery_results.") for each in kind.__mro__)


def with_own_connections(function: Callable[[], T]) -> T:
    """Call *function* in a thread of ours."""
    # Results may be in Django's database. Django closes old connections when a request ends, and no request
    # ends in this thread.
    close_old_connections()
    try:
        return function()
    finally:
        close_old_connections()


class _DetachedEndpoint(DetachedEndpoint):
    def call_there(self, function: Callable[[], T]) -> T:
        return with_own_connections(partial(super().call_there, function))

    async def aread(self, task_id: str) -> dict[str, Any]:
        return await asyncio.wrap_future(self.reading(task_id))


class _TimestampSigner(signing.TimestampSigner):  # type: ignore[misc]  # Django has no types
    def timestamp(self) -> str:
        return str(signing.b62_encode(rounded(int(time.time()), _max_ages.of(_SITE))))


class _Signer:
    def __init__(self) -> None:
        self._signer = _TimestampSigner(salt=SALT, sep=SEPARATOR)

    def sign(self, task: Task) -> str:
        return str(self._signer.sign(said_of(task)))

    def unsign(self, token: str, max_age: float) -> str:
        try:
            return str(self._signer.unsign(token, max_age=max_age))
        except signing.SignatureExpired as error:
            raise ExpiredTokenError from error
        except signing.BadSignature as error:
            raise BadTokenError from error
