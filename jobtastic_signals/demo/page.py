"""The demo's page: a button that starts a slow report, and what each click did."""

from __future__ import annotations

import inspect
import secrets
from contextvars import ContextVar
from typing import Any

from flask import Flask, Response, abort, render_template, request, url_for

from jobtastic_signals import events, forget
from jobtastic_signals.web.flask import status_routes, task_token

from .page_tasks import app as celery_app
from .page_tasks import yearly_report
from .stage import Stage

__all__ = ["create_page"]

#: The report that the button asks for.
YEAR = 2026

#: Scripts, styles and data come only from this server. No other site may show the page in a frame.
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

_how: ContextVar[str] = ContextVar("how", default="started")


def create_page(stage: Stage, *, plugin: bool) -> Flask:
    """Return the page as a Flask app on *stage*."""
    page = Flask(__name__, static_folder="web", static_url_path="/static", template_folder="web")
    page.secret_key = secrets.token_hex()
    page.before_request(_refuse_other_sites)
    page.after_request(_protect)
    page.register_blueprint(status_routes(celery_app))
    clicks: list[str] = []

    @page.get("/")
    def index() -> str:
        return render_template("page.html", program=_program(), plugin=plugin, year=YEAR)

    @page.post("/report")
    def report() -> dict[str, Any]:
        result, how = _ask()
        clicks.append(result.id)
        return {
            "id": result.id,
            "how": how,
            "status": url_for("jobtastic.status", reference=task_token(result.id)),
        }

    @page.get("/tally")
    def tally() -> dict[str, Any]:
        return {"clicks": len(clicks), "runs": len(stage.runs(str(YEAR)))}

    if plugin:
        page.post("/forget")(_forget)
    return page


def _ask() -> tuple[Any, str]:
    """Call the task. Return its result, and whether the call started a run, joined one, or was cached."""
    token = _how.set("started")
    try:
        return yearly_report.delay(YEAR), _how.get()
    finally:
        _how.reset(token)


def _forget() -> dict[str, Any]:
    return {"forgotten": forget(yearly_report, YEAR)}


@events.herd_joined.connect
def _joined(task: Any, **info: Any) -> None:
    _how.set("joined")


@events.cache_hit.connect
def _cached(task: Any, **info: Any) -> None:
    _how.set("cached")


def _program() -> str:
    return inspect.getsource(inspect.unwrap(yearly_report.run))


def _refuse_other_sites() -> None:
    """Refuse requests of other sites: their clicks, and their names for this server."""
    hosts = [f"{name}:{request.environ['SERVER_PORT']}" for name in ("127.0.0.1", "localhost")]
    if request.host not in hosts:
        abort(400, "This page is only for a browser on this machine.")
    origin = request.headers.get("Origin")
    if origin is not None and origin not in [f"http://{host}" for host in hosts]:
        abort(403, "Only the buttons of this page work.")


def _protect(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers.setdefault("Cache-Control", "no-store")
    return response
