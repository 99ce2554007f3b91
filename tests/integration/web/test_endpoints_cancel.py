"""How a page cancels what it waits for, in every framework, over HTTP."""

from __future__ import annotations

import uuid
from urllib.parse import urlsplit

import pytest

from tests.support.web.foreign import foreign_posts

SERVERS = ["flask", "django", "django-asgi", "asgi"]
OURS = {"X-Jobtastic": "cancel"}


@pytest.fixture(scope="module")
def sharing(tmp_path_factory):
    """The configuration of a site that shares."""
    folder = tmp_path_factory.mktemp("sharing")
    return {"conf": {"jobtastic_store": f"disk://{folder}/store"}, "journal": str(folder / "journal")}


@pytest.fixture(params=SERVERS)
def server(request):
    return request.param


@pytest.fixture
def site(server, open_site, sharing):
    """A site that lets the holders of tokens cancel."""
    return open_site(server, cancel=True, **sharing)


@pytest.fixture
def call(site):
    """Calls the same task each time, and returns a token."""
    name = uuid.uuid4().hex
    return lambda: site.get(f"/held/{name}").body.decode()


def cancel(site, reference, *, method="POST", headers=OURS):
    return site.get(f"/task/{reference}/cancel/", method=method, headers=headers)


def assert_refused(reply, code, *, status=403):
    assert (reply.status, reply.json()["error"]["code"]) == (status, code)


def test_the_run_is_revoked_when_all_callers_have_cancelled(site, call):
    first, second = call(), call()
    assert first.partition("~")[0] == second.partition("~")[0]
    assert [cancel(site, each).json() for each in (first, second)] == [{"revoked": False}, {"revoked": True}]


def test_two_tabs_of_one_page_are_one_caller(site, call):
    first, _second = call(), call()
    replies = [cancel(site, first) for _tab in range(2)]
    assert [reply.json() for reply in replies] == [{"revoked": False}] * 2
    assert [reply.headers["Cache-Control"] for reply in replies] == ["no-store"] * 2


def test_the_slash_at_the_end_can_be_left_out(site, call):
    assert site.get(f"/task/{call()}/cancel", method="POST", headers=OURS).json() == {"revoked": True}


def test_the_token_shows_the_status_as_well(site, call):
    assert site.get(f"/task/{call()}/status/").json()["task"]["status"] == "PENDING"


def test_an_ended_task_is_not_cancelled(site, call):
    token = call()
    site.store(token.partition("~")[0], 7, "SUCCESS")
    assert cancel(site, token).json() == {"revoked": False}


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS"])
def test_only_post_cancels(site, call, method):
    token = call()
    reply = cancel(site, token, method=method)
    assert_refused(reply, "method_not_allowed", status=405)
    assert reply.headers["Allow"] == "POST"
    assert cancel(site, token).json() == {"revoked": True}


@pytest.mark.parametrize(("headers", "code"), foreign_posts(OURS))
def test_other_sites_do_not_cancel(site, call, headers, code):
    token = call()
    assert_refused(cancel(site, token, headers=headers), code)
    assert cancel(site, token).json() == {"revoked": True}


def test_the_site_itself_cancels(site, call):
    origin = {**OURS, "Origin": f"http://{urlsplit(site.url).netloc}"}
    assert cancel(site, call(), headers=origin).json() == {"revoked": True}
    from_page = {**origin, "Sec-Fetch-Site": "same-origin"}
    assert cancel(site, call(), headers=from_page).json() == {"revoked": True}


def test_a_token_of_an_id_says_not_who_cancels(site, call):
    token = call()
    assert_refused(cancel(site, site.token(token.partition("~")[0])), "token_required")
    assert cancel(site, token).json() == {"revoked": True}


def test_nobody_takes_the_seat_of_another(site, call):
    task_id, kind, _seat, *signed = call().split("~")
    assert_refused(cancel(site, "~".join([task_id, "joined", "b", *signed])), "bad_token")
    assert kind == "own"


def test_authorize_is_asked_and_an_id_says_not_who_cancels(server, open_site, sharing):
    site = open_site(server, cancel=True, authorize="mine", **sharing)
    token = site.get(f"/held/{uuid.uuid4().hex}").body.decode()
    assert_refused(cancel(site, token), "forbidden")
    assert_refused(cancel(site, "mine"), "token_required")
