"""The endpoints as a route of Starlette and FastAPI, and as an ASGI app that any framework can mount.

Example::

    app.router.routes.append(status_routes(celery_app, secret=SECRET))

    @app.post("/reports")
    def start(request: Request, customer: str):
        token = task_token(report.delay(customer).id, secret=SECRET)
        return {"status": str(request.url_for("jobtastic:status", reference=token))}
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from celery import Celery

from . import owners
from .answers import Answer, Refusal
from .endpoint import Endpoint
from .operate.page import OperatorPage, Visit
from .readers import Readers
from .streaming import astream
from .tokens import MaxAges, SecretSigner, Task

try:
    import anyio
    import anyio.to_thread
    import itsdangerous as _itsdangerous  # noqa: F401  # the signer uses it
    from starlette.requests import Request
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Mount, Route, Router
    from starlette.types import ASGIApp, Receive, Scope, Send
except ImportError as _error:
    raise ImportError(
        f"{__name__} needs Starlette and itsdangerous: pip install 'jobtastic-signals[asgi]'"
    ) from _error

__all__ = ["may_see", "operator_page", "remember", "status_routes", "task_token"]

T = TypeVar("T")
Secret = str | bytes | Sequence[str] | Sequence[bytes]

#: The number of statuses that are read at a time. These threads are not those of the site's own functions.
_READERS = 8
_max_ages = MaxAges()


def status_routes(
    celery_app: Celery[Any],
    *,
    secret: Secret | None = None,
    authorize: Callable[[Request, str], bool | Awaitable[bool]] | None = None,
    max_age: float = 86400,
    stream: bool = True,
    traceback: bool = False,
    cancel: bool = False,
    path: str = "/task",
) -> Mount:
    """Return a route with the name ``jobtastic``, for the list of routes of an app.

    It is an ASGI app as well. ``app.mount("/task", status_routes(...), name="jobtastic")`` does the same, but
    the framework itself answers a path with a line break then.

    :param secret: the secret that signs tokens. If there are several, the last one signs, and all are valid.
    :param authorize: returns whether a request may see a task id. It is called at each request, with a token
        as well. A plain function is called in a thread; a coroutine function is awaited. Without it, tokens
        suffice, and plain task ids are refused. The framework handles what it raises.
    :param max_age: seconds for which a token is valid.
    :param stream: whether to offer server-sent events.
    :param traceback: whether to send the tracebacks of failures.
    :param cancel: whether to offer ``POST <token>/cancel/``, which calls :func:`jobtastic_signals.leave`. It
        needs *secret*, and is protected against requests from other sites.
    :param path: the path below which the route responds.
    :raises TypeError, ValueError: for wrong arguments.
    """
    if not secret and authorize is None:
        raise ValueError("give secret or authorize; without both, every request would be refused")
    if cancel and not secret:
        raise ValueError("cancel needs secret, since only a token says which caller cancels")
    signer = SecretSigner(secret) if secret else None
    endpoint = Endpoint(
        celery_app,
        lambda: signer,
        authorize=authorize,
        max_age=max_age,
        stream=stream,
        traceback=traceback,
        cancel=cancel,
        asynchronous=True,
    )
    if secret:
        _max_ages.add(_signing(secret), max_age)
    return _Mount(path, _Router(_Views(endpoint), cancels=cancel), name="jobtastic")


def operator_page(
    celery_app: Celery[Any],
    *,
    authorize: Callable[[Request], bool | Awaitable[bool]],
    may_change: Callable[[Request], bool | Awaitable[bool]] | None = None,
    path: str = "/jobtastic",
) -> Mount:
    """Return a route, named ``jobtastic_operator``, with a page that shows what runs, waits and is cached.

    :param authorize: returns whether a request may see the page, and so all tasks. A plain function is called
        in a thread; a coroutine function is awaited. The framework handles what it raises.
    :param may_change: returns whether a request may release claims and forget results; by default, none may.
        These requests are protected against other sites.
    :param path: the path of the page.
    :raises TypeError: for wrong arguments.
    """
    page = OperatorPage(celery_app, authorize=authorize, may_change=may_change, asynchronous=True)
    view = _App(partial(_operate, page))
    routes = [Route("/", view, name="page"), Route("/{path:path}", view, name="part")]
    return Mount(path, Router(routes, redirect_slashes=False), name="jobtastic_operator")


class _Mount(Mount):
    """A mount that matches paths with line breaks, too, so that they get an answer of ours."""

    def __init__(self, path: str, app: ASGIApp, *, name: str) -> None:
        super().__init__(path, app, name=name)
        self.path_regex = re.compile(self.path_regex.pattern, re.DOTALL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class _Router(Router):
    def __init__(self, views: _Views, *, cancels: bool) -> None:
        routes = _routes(views) + (_cancel_routes(views) if cancels else [])
        super().__init__(routes, redirect_slashes=False)
        self._unknown = _App(views.unknown)

    async def not_found(self, scope: Scope, receive: Receive, send: Send) -> None:
        respond = self._unknown if scope["type"] == "http" else super().not_found
        await respond(scope, receive, send)


def _routes(views: _Views) -> list[Route]:
    return [
        Route("/{reference}/status/", _App(views.status), name="status"),
        Route("/{reference}/status", _App(views.status)),
        Route("/{reference}/events/", _App(views.events), name="events"),
        Route("/{reference}/events", _App(views.events)),
        Route("/progress.js", _App(views.script), name="script"),
    ]


def _cancel_routes(views: _Views) -> list[Route]:
    return [
        Route("/{reference}/cancel/", _App(views.cancel), name="cancel"),
        Route("/{reference}/cancel", _App(views.cancel)),
    ]


def task_token(task: Task, *, secret: Secret) -> str:
    """Return a token for *task*, signed with *secret*.

    :param task: the result of a call, what ``sharing_of`` returned for that, or a task id. A page can cancel
        only with a token of the first two.

    In a process with ``status_routes`` for this secret, the token stays the same for a twelfth of its
    ``max_age``, so a page that is rendered again does not change.

    :raises ValueError: if it is not a task id, or *secret* is empty.
    """
    if not secret:
        raise ValueError("secret is empty; give the one that status_routes got")
    return SecretSigner(secret, max_age=_max_ages.of(_signing(secret))).sign(task)


def _signing(secret: Secret) -> str | bytes:
    return secret if isinstance(secret, (str, bytes)) else secret[-1]


def remember(request: Request, task_id: str) -> None:
    """Record in the session of ``SessionMiddleware`` that the visitor asked for *task_id*.

    :raises ValueError: if *task_id* is not a task id.
    """
    owners.remember(request.session, task_id)


async def may_see(request: Request, task_id: str) -> bool:
    """Return whether this visitor asked for *task_id*: an ``authorize`` for :func:`status_routes`."""
    return owners.may_see(request.session, task_id)


class _Views:
    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._readers = Readers(_READERS)

    async def status(self, request: Request) -> Response:
        return self._respond(request, await self._answer(request, self._endpoint.status))

    async def events(self, request: Request) -> Response:
        respond = partial(self._endpoint.events, last_event_id=request.headers.get("Last-Event-ID"))
        return self._respond(request, await self._answer(request, respond))

    async def cancel(self, request: Request) -> Response:
        respond = partial(self._endpoint.cancel, reference=request.path_params["reference"])
        return self._respond(request, await self._answer(request, respond, cancels=True))

    async def script(self, request: Request) -> Response:
        answer = self._endpoint.script(request.method, request.headers.get("If-None-Match"))
        return self._respond(request, answer)

    async def unknown(self, request: Request) -> Response:
        return self._respond(request, self._endpoint.unknown())

    async def _answer(
        self, request: Request, respond: Callable[[str], Answer], *, cancels: bool = False
    ) -> Answer:
        try:
            task_id = self._endpoint.identify(request, request.path_params["reference"], cancels=cancels)
            if self._endpoint.authorize is not None:
                self._endpoint.permit(await _is_allowed(self._endpoint.authorize, request, task_id))
            return await self._in_thread(respond, task_id)
        except Refusal as refusal:
            return refusal.answer

    def _respond(self, request: Request, answer: Answer) -> Response:
        answer = answer.to(request.method)
        if answer.feed is None:
            return Response(answer.body, answer.status, answer.headers)
        read = partial(self._in_thread, self._endpoint.read)
        return StreamingResponse(astream(answer.feed, read, anyio.sleep), answer.status, answer.headers)

    async def _in_thread(self, function: Callable[[str], T], task_id: str) -> T:
        return await _result(self._readers.submit(partial(function, task_id)))


async def _operate(page: OperatorPage, request: Request) -> Response:
    path = request.path_params.get("path", "")
    visit = Visit(request, path, request.query_params)
    try:
        answer = page.begin(visit)
        if answer is None:
            page.permit(await _is_allowed(page.authorize, request))
            answer = await _result(page.responding(visit, await _is_allowed(page.may_change, request)))
    except Refusal as refusal:
        answer = page.refused(visit, refusal)
    answer = answer.to(request.method)
    return Response(answer.body, answer.status, answer.headers)


class _App:
    """A view as an ASGI app. A route would pass only some methods to a plain function."""

    def __init__(self, view: Callable[[Request], Awaitable[Response]]) -> None:
        self._view = view

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._view(Request(scope, receive, send))
        await response(scope, receive, send)


async def _result(future: Future[T]) -> T:
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # It is another event loop, such as that of Trio.
        return await anyio.to_thread.run_sync(future.result)
    return await asyncio.wrap_future(future)


async def _is_allowed(hook: Callable[..., Any], *arguments: Any) -> Any:
    if inspect.iscoroutinefunction(hook):
        return await hook(*arguments)
    allowed = await anyio.to_thread.run_sync(hook, *arguments)
    return await allowed if inspect.isawaitable(allowed) else allowed
