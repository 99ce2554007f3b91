"""What status_routes and task_token take, and how the frameworks find the endpoints by name."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path

import anyio
import fastapi
import pytest
from celery import Celery
from flask import Flask, url_for
from starlette.applications import Starlette
from starlette.routing import Mount

from jobtastic_signals.web import asgi, django, flask
from jobtastic_signals.web.tokens import ExpiredTokenError, SecretSigner
from tests.support.rare import mainly

MODULES = [flask, django, asgi]
SECRET = "a secret"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def app():
    with Celery("proj", broker="memory://", backend="cache+memory://", set_as_current=False) as app:
        yield app


def ask(asgi_app, path, *, backend="asyncio"):
    """The status and JSON of the answer to a GET."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [],
    }
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    anyio.run(asgi_app, scope, receive, send, backend=backend)
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent))


def in_a_new_process(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=ROOT)


def routes(module, app, **options):
    if module is asgi:
        options.setdefault("secret", SECRET)
    return module.status_routes(app, **options)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("authorize", ["yes", True, 1, object()])
def test_an_authorize_that_cannot_be_asked_is_refused_at_once(module, app, authorize):
    with pytest.raises(TypeError, match="authorize must be a function of a request and a task id"):
        routes(module, app, authorize=authorize)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("max_age", [None, "86400", True])
def test_a_max_age_that_is_no_number_is_refused_at_once(module, app, max_age):
    with pytest.raises(TypeError, match="max_age must be a number of seconds"):
        routes(module, app, max_age=max_age)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("max_age", [0, -1, float("inf"), float("nan")])
def test_a_max_age_without_a_length_is_refused_at_once(module, app, max_age):
    with pytest.raises(ValueError, match="max_age must be a number of seconds above 0"):
        routes(module, app, max_age=max_age)


@pytest.mark.parametrize("module", MODULES)
def test_what_is_no_celery_app_is_refused_at_once(module):
    with pytest.raises(TypeError, match="must be a Celery app"):
        routes(module, "proj.celery:app")


@pytest.mark.parametrize("module", [flask, django])
def test_a_coroutine_function_is_no_authorize_where_nobody_awaits(module, app):
    async def authorize(request, task_id):
        return False

    with pytest.raises(TypeError, match="plain function"):
        routes(module, app, authorize=authorize)


def test_a_hidden_coroutine_function_is_not_taken_for_a_yes(app):
    class Judge:
        async def __call__(self, request, task_id):
            return False

    site = Flask("site")
    site.testing = True
    site.register_blueprint(flask.status_routes(app, authorize=Judge()))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="authorize returned an awaitable"):
        site.test_client().get("/task/a/status/")


def test_an_asgi_app_that_nobody_may_use_is_refused_at_once(app):
    with pytest.raises(ValueError, match="give secret or authorize"):
        asgi.status_routes(app)


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [("flask", "flask", "flask"), ("django", "django", "django"), ("asgi", "starlette", "asgi")],
)
def test_a_missing_framework_names_the_extra(module, package, extra):
    code = f"import sys; sys.modules[{package!r}] = None; import jobtastic_signals.web.{module}"
    done = in_a_new_process("-c", code)
    assert done.returncode == 1
    assert f"pip install 'jobtastic-signals[{extra}]'" in done.stderr


@pytest.mark.parametrize(
    "module",
    mainly(".endpoint", of=["", ".endpoint", ".tokens", ".sse", ".streaming", ".answers", ".owners"]),
)
def test_no_framework_is_imported_before_its_module(module):
    without = "for name in ('flask', 'django', 'starlette', 'itsdangerous'): sys.modules[name] = None"
    code = f"import sys\n{without}\nimport jobtastic_signals.web{module}"
    assert in_a_new_process("-c", code).returncode == 0


# Names and tokens


def test_flask_finds_the_endpoints_by_name(app):
    site = Flask("site")
    site.config.update(SECRET_KEY=SECRET)
    site.register_blueprint(flask.status_routes(app))
    with site.test_request_context():
        token = flask.task_token("a-b")
        assert url_for("jobtastic.status", reference=token) == f"/task/{token}/status/"
        assert url_for("jobtastic.events", reference=token) == f"/task/{token}/events/"
        assert url_for("jobtastic.script") == "/task/progress.js"


def test_flask_mounts_them_elsewhere(app):
    site = Flask("site")
    site.config.update(SECRET_KEY=SECRET)
    site.register_blueprint(flask.status_routes(app), url_prefix="/api/jobs")
    with site.app_context():
        token = flask.task_token("a-b")
    assert site.test_client().get(f"/api/jobs/{token}/status/").status_code == 200


def test_a_flask_app_without_a_secret_key_takes_only_what_authorize_judges(app):
    site = Flask("site")
    site.register_blueprint(flask.status_routes(app, authorize=lambda request, task_id: True))
    with site.app_context(), pytest.raises(RuntimeError, match="SECRET_KEY"):
        flask.task_token("a")
    client = site.test_client()
    assert client.get("/task/a/status/").status_code == 200
    reply = client.get(f"/task/{SecretSigner(SECRET).sign('a')}/status/")
    assert (reply.status_code, reply.json["error"]["code"]) == (403, "bad_token")  # type: ignore[index]


def test_flask_still_takes_tokens_of_an_earlier_secret_key(app):
    site = Flask("site")
    site.config.update(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["old"])
    site.register_blueprint(flask.status_routes(app))
    assert site.test_client().get(f"/task/{SecretSigner('old').sign('a')}/status/").status_code == 200
    with site.app_context():
        assert SecretSigner("new").unsign(flask.task_token("a"), 86400) == "a"


def test_a_database_of_djangos_is_read_as_django_reads_it(tmp_path):
    done = in_a_new_process("-m", "tests.support.web.django_database", str(tmp_path / "db.sqlite"))
    told = json.loads(done.stdout or done.stderr)
    assert told.pop("threads that read for ASGI requests") <= 8
    # A test that is a transaction sees its own results; no thread keeps a connection that times out.
    assert told == {"read by the thread of a WSGI request": True, "connections found open": 0}


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_a_route_below_another_path_answers_every_path_there(app, framework):
    site = framework()
    site.router.routes.append(asgi.status_routes(app, secret=SECRET, path="/jobs"))
    token = asgi.task_token("a-b", secret=SECRET)
    assert site.url_path_for("jobtastic:status", reference=token) == f"/jobs/{token}/status/"
    assert ask(site, f"/jobs/{token}/status/")[1]["task"]["status"] == "PENDING"
    assert ask(site, "/jobs/a\nb/status/")[1]["error"]["code"] == "malformed_reference"
    assert ask(site, "/jobs/a\n/b")[1]["error"]["code"] == "not_found"


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_starlette_and_fastapi_find_the_endpoints_by_name(app, framework):
    site = framework()
    site.mount("/task", asgi.status_routes(app, secret=SECRET), name="jobtastic")
    token = asgi.task_token("a-b", secret=SECRET)
    assert site.url_path_for("jobtastic:status", reference=token) == f"/task/{token}/status/"
    assert site.url_path_for("jobtastic:events", reference=token) == f"/task/{token}/events/"
    assert site.url_path_for("jobtastic:script") == "/task/progress.js"
    assert ask(site, f"/task/{token}/status/")[1]["task"]["status"] == "PENDING"


def test_an_asgi_app_takes_tokens_of_earlier_secrets_and_signs_with_the_last(app):
    site = Starlette(routes=[Mount("/task", asgi.status_routes(app, secret=["old", "new"]))])
    for secret in ("old", "new"):
        assert ask(site, f"/task/{asgi.task_token('a', secret=secret)}/status/")[0] == 200
    both = asgi.task_token("a", secret=["old", "new"])
    assert SecretSigner("new").unsign(both, 86400) == "a"


async def judge(request, task_id):
    return task_id == "mine"


class Judge:
    async def __call__(self, request, task_id):
        return await judge(request, task_id)


def plainly(request, task_id):
    return task_id == "mine"


@pytest.mark.parametrize(
    "authorize", [judge, Judge(), functools.partial(judge), lambda *given: judge(*given), plainly]
)
def test_an_asgi_app_asks_functions_of_both_kinds(app, authorize):
    routes = asgi.status_routes(app, authorize=authorize)
    assert ask(routes, "/mine/status/")[0] == 200
    assert ask(routes, "/other/status/")[0] == 403


def test_the_endpoints_work_under_trio(app):
    routes = asgi.status_routes(app, secret=SECRET)
    path = f"/{asgi.task_token('a', secret=SECRET)}/status/"
    assert ask(routes, path, backend="trio")[1]["task"]["status"] == "PENDING"


def test_what_authorize_raises_is_answered_by_the_site_it_is_mounted_in(app):
    def authorize(request, task_id):
        raise fastapi.HTTPException(401, "log in first")

    site = fastapi.FastAPI()
    site.mount("/task", asgi.status_routes(app, authorize=authorize))
    assert ask(site, "/task/a/status/") == (401, {"detail": "log in first"})


@pytest.mark.parametrize("task_id", ["", "a b", "a~b", "x" * 256, "a/b", None, "\n", "a\n"])
def test_what_is_no_task_id_gets_no_token(task_id):
    with pytest.raises(ValueError, match="is not a task id; a task id has 1 to 255 characters of"):
        asgi.task_token(task_id, secret=SECRET)


def test_every_character_of_a_task_id_gets_through():
    task_id = "AZaz09_.:@-" * 23
    signer = SecretSigner(SECRET)
    assert signer.unsign(signer.sign(task_id[:255]), 60) == task_id[:255]


def test_an_empty_secret_signs_nothing():
    with pytest.raises(ValueError, match="secret is empty"):
        asgi.task_token("a", secret="")


def test_a_token_holds_the_id_and_nothing_else():
    task_id, time, signature = SecretSigner(SECRET).sign("a-b").split("~")
    assert task_id == "a-b"
    assert len(time) <= 6
    assert len(signature) == 43


def test_a_token_of_the_future_is_refused(monkeypatch):
    import itsdangerous

    signer = SecretSigner(SECRET)
    monkeypatch.setattr(itsdangerous.TimestampSigner, "get_timestamp", lambda self: 4_000_000_000)
    token = signer.sign("a")
    monkeypatch.undo()
    with pytest.raises(ExpiredTokenError):
        signer.unsign(token, 60)
