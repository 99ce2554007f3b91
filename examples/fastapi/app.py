"""A page with a slow report, which all who ask for it share."""

import os
from pathlib import Path
from typing import Annotated

from fastapi.responses import RedirectResponse
from fastapi.templating import Jinja2Templates
from jobtastic_signals.web.asgi import status_routes, task_token

from fastapi import FastAPI, Form, Request
from tasks import celery_app, sales_report

SECRET_KEY = os.environ["SECRET_KEY"]

app = FastAPI()
app.router.routes.append(status_routes(celery_app, secret=SECRET_KEY, cancel=True))
templates = Jinja2Templates(Path(__file__).parent / "templates")


@app.get("/")
def index(request: Request):
    return templates.TemplateResponse(request, "report.html")


@app.post("/reports")
def start(customer: Annotated[str, Form()]):
    # Not "async def": the broker may take a while, and FastAPI calls this in a thread.
    token = task_token(sales_report.delay(customer), secret=SECRET_KEY)
    return RedirectResponse(app.url_path_for("show", token=token), status_code=303)


@app.get("/reports/{token}")
def show(request: Request, token: str):
    status = app.url_path_for("jobtastic:status", reference=token)
    return templates.TemplateResponse(request, "report.html", {"status": status})
