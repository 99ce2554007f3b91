"""A Starlette site that calls tasks, under Uvicorn. Its arguments: a port, a broker, a deadline, a file."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import uvicorn
from celery import Celery
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from jobtastic_signals import Jobtastic, adelay_or_eager, adelay_or_fail

port, broker, deadline, file = sys.argv[1:]
celery_app = Celery("site", broker=broker, backend="cache+memory://", set_as_current=False)
celery_app.conf.update(jobtastic_store="memory://", jobtastic_broker_deadline=float(deadline))
Jobtastic(celery_app)


@celery_app.task
def wait_for_the_file() -> str:
    while not Path(file).exists():
        time.sleep(0.02)
    return "it is there"


async def fail(request: Request) -> Response:
    result = await adelay_or_fail(wait_for_the_file)
    return JSONResponse([result.state, type(result.result).__name__])


async def run(request: Request) -> Response:
    result = await adelay_or_eager(wait_for_the_file)
    return JSONResponse([result.state, result.result])


async def ping(request: Request) -> Response:
    return JSONResponse("pong")


if __name__ == "__main__":
    site = Starlette(routes=[Route("/fail", fail), Route("/run", run), Route("/ping", ping)])
    uvicorn.run(site, host="127.0.0.1", port=int(port), log_level="warning")
