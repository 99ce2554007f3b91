"""A Starlette site with the endpoints, under Uvicorn."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message

from jobtastic_signals.web.asgi import may_see, operator_page, remember, status_routes, task_token

from . import site


class Failing:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        status = scope["type"] == "http" and site.failure(scope["path"])
        app = PlainTextResponse("failed on purpose", status) if status else self.app
        await app(scope, receive, send)


async def page(request: Request) -> Response:
    text = site.page(request.path_params["reference"], dict(request.query_params))
    return Response(text, media_type="text/html", headers={"Content-Security-Policy": site.POLICY})


async def file(request: Request) -> Response:
    content, kind = site.file(request.path_params["name"])
    return Response(content, media_type=kind, headers={"Content-Security-Policy": site.POLICY})


async def token(request: Request) -> Response:
    return PlainTextResponse(task_token(request.path_params["task_id"], secret=site.SECRET))


async def ask(request: Request) -> Response:
    remember(request, request.path_params["task_id"])
    return PlainTextResponse("remembered")


def body_of(app: ASGIApp, path: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """The body of the answer to a GET, in an event loop of its own."""
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [*headers]}
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    anyio.run(app, scope, receive, send)
    return b"".join(message.get("body", b"") for message in sent)


def create_app() -> Starlette:
    celery_app = site.create_celery(site.config["conf"])
    site.create_tasks(celery_app)

    def start(request: Request) -> Response:
        return PlainTextResponse(site.start(celery_app, request.path_params["number"]))

    def held(request: Request) -> Response:
        result = site.held(celery_app, request.path_params["token"])
        return PlainTextResponse(task_token(result, secret=site.SECRET))

    options = site.options(lambda request: request.cookies, may_see)
    operator = site.operator_options(lambda request: request.cookies)
    app = Starlette(
        routes=[
            *([] if operator is None else [operator_page(celery_app, **operator)]),
            status_routes(celery_app, secret=site.SECRET, **options),
            Route("/page/{reference}", page),
            Route("/file/{name}", file),
            Route("/token/{task_id}", token),
            Route("/held/{token}", held),
            Route("/ask/{task_id}", ask),
            Route("/start/{number:int}", start),
        ],
        middleware=[
            Middleware(GZipMiddleware),
            Middleware(SessionMiddleware, secret_key=site.SECRET),
            Middleware(Failing),
        ],
    )
    site.warm_up(lambda path: body_of(app, path))
    return app


if __name__ == "__main__":
    site.log_everything()
    uvicorn.run(create_app(), host="127.0.0.1", port=site.config["port"], log_level="warning")
