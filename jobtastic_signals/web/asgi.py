"""The endpoints as an ASGI app, for Starlette, FastAPI and other frameworks that can mount one.

Example::

    app.mount("/task", status_routes(celery_app, secret=SECRET), name="jobtastic")

    @app.post("/reports")
    def start(request: Request, customer: str):
        token = task_token(report.delay(customer).id, secret=SECRET)
        return {"status": str(request.url_for("jobtastic:status", reference=token))}
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property, partial
from typing import Any, TypeVar

from celery import Celery

from .answers import Answer, Refusal
from .endpoint import Endpoint
from .streaming import astream
from .tokens import SecretSigner

try:
    import anyio
    import anyio.to_thread
    import itsdangerous as _itsdangerous  # noqa: F401  # the signer uses it
    from starlette.requests import Request
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route, Router
    from starlette.types import Receive, Scope, Send
except ImportError as error:
    raise ImportError(
        f"{__name__} needs Starlette and itsdangerous: pip install 'jobtastic-signals[asgi]'"
    ) from error

__all__ = ["status_routes", "task_token"]

T = TypeVar("T")
Secret = str | bytes | Sequence[str] | Sequence[bytes]

#: The number of statuses that are read at a time. These threads are not those of the site's own functions.
_READERS = 16


def status_routes(
    celery_app: Celery,
    *,
    secret: Secret | None = None,
    authorize: Callable[[Request, str], bool | Awaitable[bool]] | None = None,
    max_age: float = 86400,
    stream: bool = True,
    traceback: bool = False,
) -> Router:
    """Return an ASGI app, to be mounted at ``/task``.

    :param secret: the secret that signs tokens. If there are several, the last one signs, and all are valid.
    :param authorize: returns whether a request may see a task id. It is called at each request, with a token
        as well. A plain function is called in a thread; a coroutine function is awaited. Without it, tokens
        suffice, and plain task ids are refused. The framework handles what it raises.
    :param max_age: seconds for which a token is valid.
    :param stream: whether to offer server-sent events.
    :param traceback: whether to send the tracebacks of failures.
    :raises TypeError, ValueError: for wrong arguments.
    """
    if not secret and authorize is None:
        raise ValueError("give secret or authorize; without both, every request would be refused")
    signer = SecretSigner(secret) if secret else None
    endpoint = Endpoint(
        celery_app,
        lambda: signer,
        authorize=authorize,
        max_age=max_age,
        stream=stream,
        traceback=traceback,
        asynchronous=True,
    )
    return Router(_routes(_Views(endpoint)), redirect_slashes=False)


def _routes(views: _Views) -> list[Route]:
    return [
        Route("/{reference}/status/", _App(views.status), name="status"),
        Route("/{reference}/status", _App(views.status)),
        Route("/{reference}/events/", _App(views.events), name="events"),
        Route("/{reference}/events", _App(views.events)),
        Route("/progress.js", _App(views.script), name="script"),
        Route("/{path:path}", _App(views.unknown)),
    ]


def task_token(task_id: str, *, secret: Secret) -> str:
    """Return a token for *task_id*, signed with *secret*.

    :raises ValueError: if *task_id* is not a task id, or *secret* is empty.
    """
    if not secret:
        raise ValueError("secret is empty; give the one that status_routes got")
    return SecretSigner(secret).sign(task_id)


class _Views:
    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def status(self, request: Request) -> Response:
        return self._respond(request, await self._answer(request, self._endpoint.status))

    async def events(self, request: Request) -> Response:
        respond = partial(self._endpoint.events, last_event_id=request.headers.get("Last-Event-ID"))
        return self._respond(request, await self._answer(request, respond))

    async def script(self, request: Request) -> Response:
        answer = self._endpoint.script(request.method, request.headers.get("If-None-Match"))
        return self._respond(request, answer)

    async def unknown(self, request: Request) -> Response:
        return self._respond(request, self._endpoint.unknown())

    async def _answer(self, request: Request, respond: Callable[[str], Answer]) -> Answer:
        try:
            task_id = self._endpoint.identify(request.method, request.path_params["reference"])
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
        return await anyio.to_thread.run_sync(function, task_id, limiter=self._readers)

    @cached_property
    def _readers(self) -> anyio.CapacityLimiter:
        return anyio.CapacityLimiter(_READERS)


class _App:
    """A view as an ASGI app. A route would pass only some methods to a plain function."""

    def __init__(self, view: Callable[[Request], Awaitable[Response]]) -> None:
        self._view = view

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._view(Request(scope, receive, send))
        await response(scope, receive, send)


async def _is_allowed(authorize: Callable[[Request, str], Any], request: Request, task_id: str) -> Any:
    if inspect.iscoroutinefunction(authorize):
        return await authorize(request, task_id)
    allowed = await anyio.to_thread.run_sync(authorize, request, task_id)
    return await allowed if inspect.isawaitable(allowed) else allowed
