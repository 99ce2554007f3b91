"""Results and exceptions of any kind have a status. None is an error of the server, in particular no 503."""

from __future__ import annotations

import uuid

import pytest

from tests.support import foreign, foreign_errors
from tests.support.web.servers import Site

#: A Celery with this carries objects of any class.
PICKLE = {"result_serializer": "pickle", "result_accept_content": ["pickle"]}


@pytest.fixture
def site(open_site) -> Site:
    opened: Site = open_site("flask")
    return opened


@pytest.fixture
def pickling_site(open_site) -> Site:
    opened: Site = open_site("flask", conf=PICKLE)
    return opened


def task_of(site: Site, task_id: str):
    reply = site.get(f"/task/{site.token(task_id)}/status/")
    assert reply.status == 200, reply.body
    return reply.json()["task"]


def stored(site: Site, value: object, state: str) -> str:
    task_id = str(uuid.uuid4())
    site.store(task_id, value, state)
    return task_id


@pytest.mark.parametrize("kind", foreign_errors.ERRORS)
@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_a_failure_whose_exception_has_no_text_is_a_failure(site, pickling_site, kind, serializer):
    site = {"json": site, "pickle": pickling_site}[serializer]
    task = task_of(site, stored(site, kind("first", "second", "third"), "FAILURE"))
    assert (task["status"], task["exc"]) == ("FAILURE", f"tests.support.foreign_errors.{kind.__name__}")
    assert task["result"].startswith(f"{kind.__name__}(")


@pytest.mark.parametrize("kind", ["no text", "wrong text"])
def test_a_result_that_cannot_be_shown_is_a_success(pickling_site, kind):
    value = foreign.OBJECTS[kind]()
    task = task_of(pickling_site, stored(pickling_site, [value, {1: value, "1": 10**5000}], "SUCCESS"))
    assert task["status"] == "SUCCESS"
    shown, mapping = task["result"]
    assert mapping == {"1": shown, "1 (2)": hex(10**5000)}


def test_a_large_integer_in_json_is_shown(site):
    """It is below the limit of the worker, which is 4300 digits, and above that of some other reader."""
    task = task_of(site, stored(site, [10**4000, "\ud800"], "SUCCESS"))
    assert task["result"] == [hex(10**4000), "\\ud800"]


def test_a_state_that_the_site_cannot_decode_is_refused_for_good_and_the_log_says_why(site, pickling_site):
    task_id = stored(pickling_site, {1, 2}, "SUCCESS")
    raw = pickling_site.app.backend
    site.app.backend.client.set(raw.get_key_for_task(task_id), raw.client.get(raw.get_key_for_task(task_id)))
    reply = site.get(f"/task/{site.token(task_id)}/status/")
    assert (reply.status, reply.json()["error"]["code"]) == (422, "unreadable_state")
    assert "result_accept_content" in site.log.read_text()
