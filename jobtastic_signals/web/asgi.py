"""The endpoints as an ASGI app, for Starlette, FastAPI and other frameworks that mount one.

For example::

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
from .sse import astream
from .tokens import SecretSigner

try:
    import anyio
    import anyio.to_thread
    import itsdangerous as _itsdangerous  # noqa: F401 - it signs
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

#: As many statuses are read at a time. The threads for that are none of those for the site's own functions.
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
    """An ASGI app, to be mounted at ``/task``.

    :param secret: what tokens are signed with; of several, the last signs and all are valid.
    :param authorize: is asked at each request whether it may see a task id, with a token too: a coroutine
        function, or a plain one, which is called in a thread. Without it, tokens are enough, and plain
        task ids are refused. What it raises goes to the framework.
    :param max_age: seconds for which a token is valid.
    :param stream: whether to offer server-sent events.
    :param traceback: whether to send the tracebacks of failures.
    :raises TypeError, ValueError: for wrong arguments.
    """
    if not secret and authorize is None:
        raise ValueError("secret or authorize is to be given: without them, nobody may see anything")
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
    views = _Views(endpoint)
    return Router(
        [
            Route("/{reference}/status/", _App(views.status), name="status"),
            Route("/{reference}/status", _App(views.status)),
            Route("/{reference}/events/", _App(views.events), name="events"),
            Route("/{reference}/events", _App(views.events)),
            Route("/progress.js", _App(views.script), name="script"),
            Route("/{path:path}", _App(views.unknown)),
        ],
        redirect_slashes=False,
    )


def task_token(task_id: str, *, secret: Secret) -> str:
    """What stands for *task_id* in the URL, signed with *secret*.

    :raises ValueError: for what is no task id, and for an empty secret.
    """
    if not secret:
        raise ValueError("secret is empty; give the one that status_routes has")
    return SecretSigner(secret).sign(task_id)


class _Views:
    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def status(self, request: Request) -> Response:
        return self._respond(request, await self._answer(request, self._endpoint.status))

    async def events(self, request: Request) -> Response:
        tell = partial(self._endpoint.events, last_event_id=request.headers.get("Last-Event-ID"))
        return self._respond(request, await self._answer(request, tell))

    async def script(self, request: Request) -> Response:
        answer = self._endpoint.script(request.method, request.headers.get("If-None-Match"))
        return self._respond(request, answer)

    async def unknown(self, request: Request) -> Response:
        return self._respond(request, self._endpoint.unknown())

    async def _answer(self, request: Request, tell: Callable[[str], Answer]) -> Answer:
        try:
            task_id = self._endpoint.identify(request.method, request.path_params["reference"])
            if self._endpoint.authorize is not None:
                self._endpoint.permit(await _verdict(self._endpoint.authorize, request, task_id))
            return await self._in_thread(tell, task_id)
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
    """A view as an ASGI app. To a function, a route would send some methods only."""

    def __init__(self, view: Callable[[Request], Awaitable[Response]]) -> None:
        self._view = view

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._view(Request(scope, receive, send))
        await response(scope, receive, send)


async def _verdict(authorize: Callable[[Request, str], Any], request: Request, task_id: str) -> Any:
    if inspect.iscoroutinefunction(authorize):
        return await authorize(request, task_id)
    verdict = await anyio.to_thread.run_sync(authorize, request, task_id)
    return await verdict if inspect.isawaitable(verdict) else verdict
