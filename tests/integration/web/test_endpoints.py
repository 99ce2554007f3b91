"""What the endpoints answer, in every framework, over HTTP."""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path

import itsdangerous
import pytest
from django.core import signing

import jobtastic_signals.web
from tests.support.rare import mainly
from tests.support.servers import wait_until
from tests.support.web import site as sites
from tests.support.web.servers import SERVERS

SCRIPT = Path(jobtastic_signals.web.__file__).parent / "static" / "jobtastic-progress.js"


@pytest.fixture(params=mainly("flask", "django", "asgi", of=SERVERS))
def server(request):
    return request.param


def under(*servers):
    """Run a normal test under these servers alone."""
    return pytest.mark.parametrize("server", mainly(*servers, of=SERVERS))


@pytest.fixture
def site(server, open_site):
    """A site that takes tokens."""
    return open_site(server)


@pytest.fixture
def task_id():
    return str(uuid.uuid4())


def status(site, reference, **options):
    return site.get(f"/task/{reference}/status/", **options)


def assert_refused(reply, code, *, status):
    """The whole answer is an error in our form, which tells nothing else."""
    assert (reply.status, reply.json()["error"]["code"]) == (status, code)
    assert reply.json() == {"error": {"code": code, "message": reply.json()["error"]["message"]}}
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


# What a waiting person is told


@under(*SERVERS)
def test_progress_is_told_as_it_is(site, task_id):
    meta = {"progress_percent": 40, "time_remaining": 3, "completed": 2, "total": 5, "message": "<b>"}
    site.store(task_id, meta, "PROGRESS")
    reply = status(site, site.token(task_id))
    assert reply.status == 200
    assert reply.json() == {"task": {"id": task_id, "status": "PROGRESS", "result": meta}}


@under(*SERVERS)
def test_a_success_comes_with_its_result(site, task_id):
    site.store(task_id, {"rows": 3}, "SUCCESS")
    task = status(site, site.token(task_id)).json()["task"]
    assert task.pop("age") >= 0
    assert task == {"id": task_id, "status": "SUCCESS", "result": {"rows": 3}}


def test_a_failure_comes_without_its_traceback(site, task_id):
    site.store(task_id, ValueError("no such customer"), "FAILURE", traceback="Traceback: secrets")
    task = status(site, site.token(task_id)).json()["task"]
    assert task.pop("age") >= 0
    assert task == {
        "id": task_id,
        "status": "FAILURE",
        "state": "FAILURE",
        "exc": "builtins.ValueError",
        "result": "ValueError('no such customer')",
    }


@under("flask")
def test_a_failure_comes_with_its_traceback_where_the_site_says_so(server, open_site, task_id):
    site = open_site(server, traceback=True)
    site.store(task_id, ValueError("no such customer"), "FAILURE", traceback="Traceback: all of it")
    assert status(site, site.token(task_id)).json()["task"]["traceback"] == "Traceback: all of it"


def test_a_revoked_task_has_failed_and_says_how(site, task_id):
    site.app.backend.mark_as_revoked(task_id, "by somebody")
    task = status(site, site.token(task_id)).json()["task"]
    assert (task["status"], task["state"]) == ("FAILURE", "REVOKED")


def test_a_task_that_nobody_knows_is_pending(site, task_id):
    reply = status(site, site.token(task_id))
    assert reply.status == 200
    assert reply.json() == {"task": {"id": task_id, "status": "PENDING", "result": None}}


def test_a_status_is_not_kept_by_anybody(site, task_id):
    headers = status(site, site.token(task_id)).headers
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_slash_at_the_end_can_be_left_out(site, task_id):
    reply = site.get(f"/task/{site.token(task_id)}/status")
    assert (reply.status, reply.json()["task"]["status"]) == (200, "PENDING")


def test_head_is_answered_as_get_without_a_body(site, task_id):
    token = site.token(task_id)
    whole, head = status(site, token), status(site, token, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.body))
    assert site.head(f"/task/{token}/status/").endswith(b"\r\n\r\n")


# Who may ask


@under(*SERVERS)
def test_nobody_cancels_where_the_site_does_not_say_so(site, task_id):
    reply = site.get(f"/task/{site.token(task_id)}/cancel/", method="POST", headers={"X-Jobtastic": "cancel"})
    assert_refused(reply, "not_found", status=404)


@under(*SERVERS)
def test_a_plain_id_is_refused_where_nobody_judges_it(site, task_id):
    site.store(task_id, "secret", "SUCCESS")
    assert_refused(status(site, task_id), "token_required", status=403)


def test_a_plain_id_is_taken_where_authorize_says_yes(server, open_site, task_id):
    site = open_site(server, authorize="everybody")
    reply = status(site, task_id)
    assert (reply.status, reply.json()["task"]["status"]) == (200, "PENDING")


@pytest.mark.parametrize("plain", [True, False])
def test_authorize_is_asked_about_tokens_too(server, open_site, plain):
    site = open_site(server, authorize="mine")
    mine, other = f"mine-{uuid.uuid4()}", f"other-{uuid.uuid4()}"
    assert status(site, mine if plain else site.token(mine)).status == 200
    assert_refused(status(site, other if plain else site.token(other)), "forbidden", status=403)


def test_authorize_is_given_the_request_of_its_framework(server, open_site, task_id):
    site = open_site(server, authorize="cookie")
    assert status(site, task_id, headers={"Cookie": "user=owner"}).status == 200
    assert_refused(status(site, task_id, headers={"Cookie": "user=other"}), "forbidden", status=403)


@under("flask", "asgi")
def test_an_authorize_that_raises_is_an_error_of_the_site_and_no_yes(server, open_site, task_id):
    site = open_site(server, authorize="broken")
    site.store(task_id, "secret", "SUCCESS")
    reply = status(site, task_id)
    assert reply.status == 500
    assert b"secret" not in reply.body
    wait_until(lambda: "a bug of the site's own" in site.log.read_text(), what="a log of the bug")


@under(*SERVERS)
def test_a_changed_token_is_refused(site, task_id):
    token = site.token(task_id)
    other = str(uuid.uuid4())
    for forged in (token.replace(task_id, other), token[:-1], f"{token}x", f"{task_id}~", f"{task_id}~~"):
        reply = status(site, forged)
        assert reply.status in (400, 403)
        assert_refused(reply, reply.json()["error"]["code"], status=reply.status)


def test_a_forged_token_is_not_taken_for_an_id_either(server, open_site, task_id):
    site = open_site(server, authorize="everybody")
    assert_refused(status(site, site.token(task_id)[:-1]), "bad_token", status=403)


def test_what_the_same_secret_signed_for_another_purpose_is_no_token(server, site, task_id):
    if server.startswith("django"):
        signer = signing.TimestampSigner(key=sites.SECRET, sep="~", salt="other", fallback_keys=[])
    else:
        signer = itsdangerous.TimestampSigner(
            sites.SECRET, "other", "~", key_derivation="hmac", digest_method=hashlib.sha256
        )
    signed = itsdangerous.encoding.want_bytes(signer.sign(task_id)).decode()
    assert_refused(status(site, signed), "bad_token", status=403)


@under("django")
def test_a_token_expires(server, open_site, task_id):
    site = open_site(server, max_age=1)
    token = site.token(task_id)
    reply = wait_until(
        lambda: (reply := status(site, token)).status == 403 and reply, what="the end of a token"
    )
    assert_refused(reply, "expired_token", status=403)


@pytest.mark.parametrize("authorize", [None, "everybody"])
@pytest.mark.parametrize(
    "reference",
    [
        "a%20b",
        "a%0ab",
        "a%0d%0ab",
        "%0a",
        "a%0d",
        "%00",
        "%C3%A9",
        "%FF",
        "a%22b",
        "%3Cscript%3E",
        "a*b",
        "x" * 256,
        "~",
        "%00~x~y",
    ],
)
def test_malformed_references_are_refused(server, open_site, authorize, reference):
    site = open_site(server, authorize=authorize)
    assert_refused(status(site, reference), "malformed_reference", status=400)


@pytest.mark.parametrize("reference", ["x" * 10_000, "x~" * 5_000, "x" * 200 + "~" + "y" * 9_800])
def test_a_reference_of_ten_thousand_characters_is_refused(server, open_site, reference):
    site = open_site(server, authorize="everybody")
    assert_refused(status(site, reference), "malformed_reference", status=400)


def test_a_refused_request_reads_nothing_and_logs_no_error(server, open_site, redis_commands, task_id):
    site = open_site(server)
    logged = site.log.stat().st_size
    token = site.token(task_id)
    status(site, token)
    before = redis_commands(site)
    for reference in (task_id, f"{token}x", "a%20b", "x" * 10_000):
        assert 400 <= status(site, reference).status < 500
    assert status(site, token, method="POST").status == 405
    assert redis_commands(site) == before
    log = site.log.read_bytes()[logged:].decode()
    assert "Traceback" not in log
    assert "ERROR" not in log
    status(site, token)
    assert redis_commands(site) == before + 1, "the counter counts reads"


# What else is below the mount


@pytest.mark.parametrize("path", ["", "nothing", "a/b/c", "a/status/b", "progress.js/a", "a%0a/b", "%0d%0a"])
def test_other_paths_are_not_found(site, path):
    assert_refused(site.get(f"/task/{path}"), "not_found", status=404)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["{}/status/", "{}/events/", "progress.js"])
def test_nothing_can_be_changed(site, task_id, path, method):
    reply = site.get(f"/task/{path.format(site.token(task_id))}", method=method)
    assert_refused(reply, "method_not_allowed", status=405)
    assert reply.headers["Allow"] == "GET, HEAD"


def test_the_module_for_browsers_is_served_to_everybody(site):
    reply = site.get("/task/progress.js")
    assert (reply.status, reply.body) == (200, SCRIPT.read_bytes())
    assert reply.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert reply.headers["Cache-Control"] == "public, no-cache"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
def test_the_module_is_not_sent_again_to_those_who_have_it(site, form):
    etag = site.get("/task/progress.js").headers["ETag"]
    reply = site.get("/task/progress.js", headers={"If-None-Match": form.format(etag)})
    assert (reply.status, reply.body, reply.headers["ETag"]) == (304, b"", etag)


def test_the_module_is_sent_again_to_those_who_have_another(site):
    assert site.get("/task/progress.js", headers={"If-None-Match": '"other"'}).body == SCRIPT.read_bytes()


# When the backend is down


@pytest.fixture
def stranded_site(server, open_site):
    return open_site(server, conf={"result_backend": "redis://127.0.0.1:1/0"}, stream=True)


@under("asgi")
@pytest.mark.parametrize("path", ["status", "events"])
def test_a_backend_that_is_down_is_unavailable_for_now(stranded_site, task_id, path):
    reply = stranded_site.get(f"/task/{stranded_site.token(task_id)}/{path}/")
    assert_refused(reply, "backend_unavailable", status=503)
    assert reply.headers["Retry-After"] == "5"
    assert "Traceback" not in stranded_site.log.read_text()


@under("asgi")
@pytest.mark.parametrize("path", ["status", "events"])
@pytest.mark.parametrize(
    "stored",
    [b"no JSON", b'{"status": "SUCCESS", "result": %s}' % (b"9" * 5000), b"{}"],
    ids=["no JSON", "an integer of 5,000 digits", "no state"],
)
def test_a_status_that_cannot_be_read_is_not_taken_for_an_outage(server, open_site, task_id, stored, path):
    site = open_site(server, stream=True)
    site.app.backend.set(site.app.backend.get_key_for_task(task_id), stored)
    reply = site.get(f"/task/{site.token(task_id)}/{path}/")
    assert_refused(reply, "unreadable_state", status=422)


@under("asgi")
def test_an_app_without_a_backend_is_an_error_of_the_site(server, open_site, task_id):
    site = open_site(server, conf={"result_backend": None})
    assert status(site, site.token(task_id)).status == 500
    wait_until(lambda: "has no result backend" in site.log.read_text(), what="a log of the mistake")


def test_numbers_are_what_json_allows(site, task_id):
    site.app.backend.set(
        site.app.backend.get_key_for_task(task_id),
        json.dumps({"status": "PROGRESS", "result": {"progress_percent": float("nan")}}),
    )
    reply = status(site, site.token(task_id))
    assert b"NaN" not in reply.body
    assert reply.json()["task"]["result"] == {"progress_percent": None}
