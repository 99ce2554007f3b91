"""A Starlette site with the endpoints, under Uvicorn."""

from __future__ import annotations

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from jobtastic_signals.web.asgi import status_routes, task_token

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


def create_app() -> Starlette:
    celery_app = site.create_celery(site.config["conf"])
    task = status_routes(celery_app, secret=site.SECRET, **site.options(lambda request: request.cookies))
    return Starlette(
        routes=[
            Mount("/task", task, name="jobtastic"),
            Route("/page/{reference}", page),
            Route("/file/{name}", file),
            Route("/token/{task_id}", token),
        ],
        middleware=[Middleware(Failing)],
    )


if __name__ == "__main__":
    site.log_everything()
    uvicorn.run(create_app(), host="127.0.0.1", port=site.config["port"], log_level="warning")
