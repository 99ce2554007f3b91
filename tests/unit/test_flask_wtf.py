"""Flask-WTF's ``CSRFProtect`` on the same site: it exempts our blueprints, and protects the rest."""

from __future__ import annotations

import pytest
from celery import Celery
from flask import Flask
from flask.testing import FlaskClient
from flask_wtf.csrf import CSRFProtect

from jobtastic_signals import sharing_of
from jobtastic_signals.stores.memory import MemoryStore
from jobtastic_signals.web.flask import operator_page, status_routes, task_token
from tests.support.unit_apps import NewApp, key_of, store_of, use_store

OURS = {"X-Jobtastic": "yes"}
FOREIGN = {**OURS, "Origin": "https://evil.example"}


@pytest.fixture
def app(new_app: NewApp) -> Celery:
    app = new_app()
    use_store(app, MemoryStore("memory://"))

    @app.task(name="proj.report", shared=False, herd_avoidance_timeout=60)
    def report(customer): ...

    return app


def client_of(app: Celery, *, exempts: bool) -> FlaskClient:
    """A site with both blueprints and a form of its own."""
    site = Flask(__name__)
    site.secret_key = "of this test"
    csrf = CSRFProtect(site)
    page = operator_page(app, authorize=lambda request: True, may_change=lambda request: True)
    for blueprint in (page, status_routes(app, cancel=True)):
        if exempts:
            csrf.exempt(blueprint)
        site.register_blueprint(blueprint)
    site.add_url_rule("/form", view_func=lambda: "saved", methods=["POST"], endpoint="form")
    return site.test_client()


@pytest.fixture
def exempt(app: Celery) -> FlaskClient:
    return client_of(app, exempts=True)


def test_an_operator_releases_a_claim(app, exempt):
    key, owner = key_of(app.tasks["proj.report"], "acme"), app.tasks["proj.report"].delay("acme").id
    query = {"key": key, "owner": owner}
    assert exempt.post("/jobtastic/release", query_string=query, headers=FOREIGN).status_code == 403
    assert store_of(app).lookup(key).owner == owner
    reply = exempt.post("/jobtastic/release", query_string=query, headers=OURS)
    assert (reply.status_code, reply.json) == (200, {"done": True})


def test_a_page_cancels(app, exempt):
    with exempt.application.app_context():
        token = task_token(sharing_of(app.tasks["proj.report"].delay("acme")))
    assert exempt.post(f"/task/{token}/cancel/", headers=FOREIGN).status_code == 403
    reply = exempt.post(f"/task/{token}/cancel/", headers=OURS)
    assert (reply.status_code, reply.json) == (200, {"revoked": True})


def test_the_rest_of_the_site_stays_protected(exempt):
    assert exempt.post("/form").status_code == 400


def test_a_blueprint_that_is_not_exempt_changes_nothing(app):
    key, owner = key_of(app.tasks["proj.report"], "acme"), app.tasks["proj.report"].delay("acme").id
    query = {"key": key, "owner": owner}
    reply = client_of(app, exempts=False).post("/jobtastic/release", query_string=query, headers=OURS)
    assert (reply.status_code, b"CSRF token is missing" in reply.data) == (400, True)
    assert store_of(app).lookup(key).owner == owner
