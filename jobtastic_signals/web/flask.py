"""The endpoints as a Flask blueprint.

Example::

    app.register_blueprint(status_routes(celery_app))

    @app.post("/reports")
    def start():
        result = report.delay(request.form["customer"])
        return {"status": url_for("jobtastic.status", reference=task_token(result.id))}
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from celery import Celery

from . import owners
from .answers import METHODS, Answer
from .endpoint import DetachedEndpoint, Endpoint
from .operate.page import OperatorPage, Visit
from .streaming import stream as chunks
from .tokens import MaxAges, SecretSigner, Task

try:
    from flask import Blueprint, Request, Response, current_app, request, session
    from flask.sansio.app import App
    from werkzeug.routing import PathConverter
except ImportError as _error:
    raise ImportError(f"{__name__} needs Flask: pip install 'jobtastic-signals[flask]'") from _error

__all__ = ["may_see", "operator_page", "remember", "status_routes", "task_token"]

#: Where an app keeps the maximum ages of its blueprints.
_EXTENSION = "jobtastic_signals"


def status_routes(
    celery_app: Celery[Any],
    *,
    authorize: Callable[[Request, str], bool] | None = None,
    max_age: float = 86400,
    stream: bool = False,
    traceback: bool = False,
    cancel: bool = False,
) -> Blueprint:
    """Return a blueprint. It is mounted at ``/task`` unless ``register_blueprint`` gets a ``url_prefix``.

    :param authorize: returns whether a request may see a task id. It is called at each request, with a token
        as well. Without it, tokens suffice, and plain task ids are refused. Flask handles what it raises.
    :param max_age: seconds for which a token is valid.
    :param stream: whether to offer server-sent events. Each open stream occupies a thread of the server.
    :param traceback: whether to send the tracebacks of failures.
    :param cancel: whether to offer ``POST <token>/cancel/``, which calls :func:`jobtastic_signals.leave`. It
        is protected against requests from other sites, so ``CSRFProtect`` can exempt the blueprint.
    :raises TypeError, ValueError: for wrong arguments.
    """
    views = _Views(
        DetachedEndpoint(
            celery_app,
            _signer,
            authorize=authorize,
            max_age=max_age,
            stream=stream,
            traceback=traceback,
            cancel=cancel,
        )
    )
    rules: dict[str, Callable[..., Response]] = {
        "/<reference>/status/": views.status,
        "/<reference>/events/": views.events,
        **({"/<reference>/cancel/": views.cancel} if cancel else {}),
        "/progress.js": views.script,
        "/": views.unknown,
        f"/<{_AnyPath.__name__}:path>": views.unknown,
    }
    blueprint = Blueprint("jobtastic", __name__, url_prefix="/task")
    blueprint.record(lambda state: state.app.url_map.converters.update({_AnyPath.__name__: _AnyPath}))
    for rule, view in rules.items():
        blueprint.add_url_rule(rule, view_func=view, methods=METHODS, strict_slashes=False)
    blueprint.record(lambda state: _max_ages(state.app).add(_EXTENSION, max_age))
    return blueprint


def operator_page(
    celery_app: Celery[Any],
    *,
    authorize: Callable[[Request], bool],
    may_change: Callable[[Request], bool] | None = None,
) -> Blueprint:
    """Return a blueprint with a page that shows what runs, waits and is cached.

    It is mounted at ``/jobtastic`` unless ``register_blueprint`` gets a ``url_prefix``.

    :param authorize: returns whether a request may see the page, and so all tasks. Flask handles what it
        raises.
    :param may_change: returns whether a request may release claims and forget results; by default, none may.
        These requests are protected against other sites, so ``CSRFProtect`` can exempt the blueprint.
    :raises TypeError: for wrong arguments.
    """
    page = OperatorPage(celery_app, authorize=authorize, may_change=may_change)

    def view(path: str = "") -> Response:
        visit = Visit(request, path, request.args)
        answer = page.answer(visit).to(request.method)
        return Response(answer.body, answer.status, answer.headers)

    blueprint = Blueprint("jobtastic_operator", __name__, url_prefix="/jobtastic")
    blueprint.add_url_rule("/", "page", view, methods=METHODS)
    blueprint.add_url_rule("/<path:path>", "part", view, methods=METHODS)
    return blueprint


def task_token(task: Task) -> str:
    """Return a token for *task*, signed with the ``SECRET_KEY`` of the current Flask app.

    :param task: the result of a call, what ``sharing_of`` returned for that, or a task id. A page can cancel
        only with a token of the first two.

    In an app with ``status_routes``, the token stays the same for a twelfth of their ``max_age``, so a page
    that is rendered again does not change.

    :raises RuntimeError: if the app has no ``SECRET_KEY``.
    :raises ValueError: if it is not a task id.
    """
    signer = _signer()
    if signer is None:
        raise RuntimeError(
            "task_token needs the SECRET_KEY of the Flask app, which is not set; set app.secret_key"
        )
    return signer.sign(task)


def remember(request: Request, task_id: str) -> None:
    """Record in the session that the visitor asked for *task_id*, and the user of Flask-Login, if any.

    :raises ValueError: if *task_id* is not a task id.
    """
    owners.remember(session, task_id, _user())


def may_see(request: Request, task_id: str) -> bool:
    """Return whether this visitor asked for *task_id*: an ``authorize`` for :func:`status_routes`."""
    return owners.may_see(session, task_id, _user())


def _user() -> str | None:
    if not hasattr(current_app, "login_manager"):
        return None
    from flask_login import current_user

    user: str | None = current_user.get_id()
    return user


class _AnyPath(PathConverter):
    """A path that may have line breaks, so that it gets an answer of ours."""

    regex = "(?s:[^/].*?)"


class _Views:
    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def status(self, reference: str) -> Response:
        return self._respond(self._answer(reference, self._endpoint.status))

    def events(self, reference: str) -> Response:
        respond = partial(self._endpoint.events, last_event_id=request.headers.get("Last-Event-ID"))
        return self._respond(self._answer(reference, respond))

    def cancel(self, reference: str) -> Response:
        respond = partial(self._endpoint.cancel, reference=reference)
        return self._respond(self._endpoint.answer(request, reference, respond, cancels=True))

    def script(self) -> Response:
        return self._respond(self._endpoint.script(request.method, request.headers.get("If-None-Match")))

    def unknown(self, path: str = "") -> Response:
        return self._respond(self._endpoint.unknown())

    def _answer(self, reference: str, respond: Callable[[str], Answer]) -> Answer:
        return self._endpoint.answer(request, reference, respond)

    def _respond(self, answer: Answer) -> Response:
        answer = answer.to(request.method)
        body = [answer.body] if answer.feed is None else chunks(answer.feed, self._endpoint.read)
        return Response(body, answer.status, answer.headers)


def _signer() -> SecretSigner | None:
    if not current_app.secret_key:
        return None
    secrets = [*(current_app.config.get("SECRET_KEY_FALLBACKS") or ()), current_app.secret_key]
    return SecretSigner(secrets, max_age=_max_ages(current_app).of(_EXTENSION))


def _max_ages(app: App) -> MaxAges:
    ages: MaxAges = app.extensions.setdefault(_EXTENSION, MaxAges())
    return ages
