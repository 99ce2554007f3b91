"""The page for operators over HTTP, in every framework: who sees it, what it sends, and who may change it."""

from __future__ import annotations

import uuid
from urllib.parse import quote, urlencode, urlsplit

import pytest

from jobtastic_signals.installation import installation_on
from jobtastic_signals.results import payload
from tests.support.servers import wait_until
from tests.support.web.foreign import foreign_posts

SERVERS = ["flask", "django", "django-asgi", "asgi"]
NOBODY: dict[str, str] = {}
VIEWER = {"Cookie": "role=viewer"}
OPERATOR = {"Cookie": "role=operator"}
OURS = {"X-Jobtastic": "release"}
READS = ["", "rows.json"]
CHANGES = ["release", "forget"]
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&"


@pytest.fixture(params=SERVERS)
def server(request):
    return request.param


@pytest.fixture
def site(server, open_site, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "operator-store"
    return open_site(server, operator=True, conf={"jobtastic_store": f"disk://{folder}"})


@pytest.fixture
def store(site):
    return installation_on(site.app).store


@pytest.fixture
def key():
    return f"v1:proj.{uuid.uuid4().hex}:{uuid.uuid4().hex}{'0' * 8}"


@pytest.fixture
def claimed(store, key):
    """What a page sends to release this claim."""
    store.claim(key, "one", "celery@web1~0f/5a", 300)
    return {"key": key, "owner": "one", "state": "running"}


def ask(site, path="", *, role=VIEWER, method="GET", headers=NOBODY, **query):
    where = f"/jobtastic/{path}{f'?{urlencode(query)}' if query else ''}"
    return site.get(where, method=method, headers={**role, **headers})


def wait_for(site, task):
    """Until the page shows *task*; what it shows can be a second old."""

    def rows():
        return ask(site, "rows.json", task=task).json()["in_flight"]["rows"]

    wait_until(rows, what="the row")


def change(site, path, wanted, *, role=OPERATOR, headers=OURS):
    return ask(site, path, role=role, method="POST", headers=headers, **wanted)


def code(reply):
    return reply.status, reply.json()["error"]["code"]


# Who sees it


@pytest.mark.parametrize("path", READS)
def test_it_is_refused_to_whom_authorize_refuses_it(site, path):
    reply = ask(site, path, role=NOBODY)
    assert (reply.status, b"you may not see this page" in reply.body) == (403, True)


@pytest.mark.parametrize("path", CHANGES)
def test_nothing_is_changed_for_those_who_may_not_see_it(site, store, claimed, path):
    assert code(change(site, path, claimed, role=NOBODY)) == (403, "forbidden")
    assert store.lookup(claimed["key"]).owner == "one"


@pytest.mark.parametrize("name", ["operator.js", "operator.css"])
def test_its_script_and_style_are_public_and_kept_by_browsers(site, name):
    reply = ask(site, name, role=NOBODY)
    kind = {"operator.js": "text/javascript", "operator.css": "text/css"}[name]
    assert (reply.status, reply.headers.get_content_type()) == (200, kind)
    again = ask(site, name, role=NOBODY, headers={"If-None-Match": reply.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize("path", ["nothing", "static/operator.html", "../task/progress.js"])
def test_there_is_nothing_else(site, path):
    assert ask(site, path).status == 404


def test_without_its_last_slash_it_is_found(site):
    reply = site.get("/jobtastic", headers=VIEWER)
    assert reply.status in (301, 307, 308)
    assert urlsplit(reply.headers["Location"]).path == "/jobtastic/"


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
def test_it_is_only_read(site, path, method):
    reply = ask(site, path, method=method, headers=OURS)
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")


def test_head_has_the_headers_of_get(site):
    raw = site.head("/jobtastic/operator.css")
    assert b"200 OK" in raw
    assert raw.partition(b"\r\n\r\n")[2] == b""


# What it sends


def test_the_page_is_whole_and_lets_nothing_in_from_elsewhere(site, claimed):
    task = claimed["key"].split(":")[1]
    wait_for(site, task)
    reply = ask(site, task=task)
    page = reply.body.decode()
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert reply.headers["Cache-Control"] == "no-store"
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert "celery@web1" in page
    assert 'title="one"' in page
    assert "<style" not in page
    assert "style=" not in page
    assert page.count("<script") == 1


def test_the_rows_as_json(site, claimed, store):
    task = claimed["key"].split(":")[1]
    wait_for(site, task)
    reply = ask(site, "rows.json", task=task)
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    assert reply.headers["Cache-Control"] == "no-store"
    view = reply.json()
    assert set(view) == {
        "may_change", "task", "state", "tasks", "states", "in_flight", "results", "stats", "forecast",
        "notices",
    }  # fmt: skip
    (row,) = view["in_flight"]["rows"]
    assert set(row) == {
        "task", "key", "state", "owner", "age", "worker", "lease_left", "waiting", "is_awaited", "next",
        "is_forgotten", "hits", "size", "expires_in", "progress", "shown",
    }  # fmt: skip
    assert (row["task"], row["owner"], row["worker"]) == (task, "one", "celery@web1")
    assert (view["may_change"], view["notices"], view["results"]) == (False, [], {"rows": [], "left_out": 0})
    assert ask(site, "rows.json", role=OPERATOR).json()["may_change"] is True


def test_hostile_text_is_no_markup(site, store):
    key = f"v1:{HOSTILE}:{uuid.uuid4().hex}{'0' * 8}"
    store.claim(key, HOSTILE, f"{HOSTILE}~0f/5a", 300)
    wait_for(site, HOSTILE)
    for query in ({}, {"task": HOSTILE}):
        page = ask(site, role=OPERATOR, **query).body.decode()
        assert "<img" not in page
        assert "&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;&amp;" in page
    rows = ask(site, "rows.json", task=HOSTILE).json()["in_flight"]["rows"]
    assert rows[0]["owner"] == HOSTILE
    assert ask(site, f"{quote(HOSTILE)}").status == 404


def test_what_was_malformed_is_said_to_people_and_to_programs(site):
    assert code(ask(site, "rows.json", state="no")) == (400, "malformed_state")
    assert ask(site, state="no").headers["Content-Type"] == "text/plain; charset=utf-8"


# Who changes what


def test_an_operator_releases_a_claim(site, store, claimed):
    assert change(site, "release", claimed).json() == {"done": True}
    assert store.lookup(claimed["key"]) is None
    assert change(site, "release", claimed).json() == {"done": False}


def test_an_operator_forgets_a_result(site, store, key):
    store.complete(key, "one", None, payload.dumps(site.app, 42), ttl=60)
    assert change(site, "forget", {"key": key}).json() == {"done": True}
    assert store.lookup(key) is None


@pytest.mark.parametrize("path", CHANGES)
def test_others_who_see_it_change_nothing(site, store, claimed, path):
    assert code(change(site, path, claimed, role=VIEWER)) == (403, "read_only")
    assert store.lookup(claimed["key"]).owner == "one"
    assert 'data-action="release"' not in ask(site).body.decode()
    assert 'data-action="release"' in ask(site, role=OPERATOR).body.decode()


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_only_post_changes_anything(site, store, claimed, method):
    for path in CHANGES:
        reply = ask(site, path, role=OPERATOR, method=method, headers=OURS, **claimed)
        assert (code(reply), reply.headers["Allow"]) == ((405, "method_not_allowed"), "POST")
    assert store.lookup(claimed["key"]).owner == "one"


@pytest.mark.parametrize(("headers", "expected"), foreign_posts(OURS))
def test_other_sites_change_nothing(site, store, claimed, headers, expected):
    for path in CHANGES:
        assert code(change(site, path, claimed, headers=headers)) == (403, expected)
    assert store.lookup(claimed["key"]).owner == "one"


def test_the_page_itself_may(site, store, claimed):
    headers = {**OURS, "Origin": f"http://{urlsplit(site.url).netloc}", "Sec-Fetch-Site": "same-origin"}
    assert change(site, "release", claimed, headers=headers).json() == {"done": True}


def test_what_is_no_key_is_refused(site):
    assert code(change(site, "forget", {"key": "outcome:5"})) == (400, "malformed_key")
