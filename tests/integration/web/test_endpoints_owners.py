"""Who may see a task: everybody who asked for it, in every framework."""

from __future__ import annotations

import http.cookies
import uuid

import pytest

from jobtastic_signals.web import owners
from tests.support.rare import rare


class Visitor:
    """A browser with its cookies."""

    def __init__(self, site, **cookies):
        self._site, self.cookies = site, cookies

    def get(self, path):
        header = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        reply = self._site.get(path, headers={"Cookie": header} if header else {})
        for line in reply.headers.get_all("Set-Cookie", []):
            for name, morsel in http.cookies.SimpleCookie(line).items():
                self.cookies[name] = morsel.value
        return reply

    def ask(self, task_id):
        assert self.get(f"/ask/{task_id}").body == b"remembered"

    def sees(self, reference):
        return self.get(f"/task/{reference}/status/").status == 200


@pytest.fixture(params=["flask", "django", rare("django-asgi"), "asgi"])
def server(request):
    return request.param


@pytest.fixture
def site(server, open_site):
    return open_site(server, authorize="owners")


@pytest.fixture
def task_id():
    return str(uuid.uuid4())


def test_everybody_who_asked_for_a_task_sees_it_and_nobody_else(site, task_id):
    first, second, other = Visitor(site), Visitor(site), Visitor(site)
    first.ask(task_id)
    second.ask(task_id)  # The call joined: it has the same task id.
    other.ask("another")
    references = (task_id, site.token(task_id))
    seen = [[visitor.sees(reference) for reference in references] for visitor in (first, second, other)]
    assert seen == [[True, True], [True, True], [False, False]]


def test_a_visitor_sees_several_tasks(site, task_id):
    visitor = Visitor(site)
    visitor.ask(task_id)
    visitor.ask("another")
    assert (visitor.sees(task_id), visitor.sees("another"), visitor.sees("a-third")) == (True, True, False)


@pytest.mark.parametrize("server", ["flask", "django", rare("django-asgi")])
def test_the_next_user_of_a_session_does_not_see_the_tasks_of_the_one_before(site, task_id):
    visitor = Visitor(site)
    visitor.ask("before-signing-in")
    visitor.cookies["user"] = "ada"
    visitor.ask(task_id)
    assert (visitor.sees(task_id), visitor.sees("before-signing-in")) == (True, True)
    visitor.cookies["user"] = "bob"
    assert not visitor.sees(task_id)
    del visitor.cookies["user"]
    assert not visitor.sees(task_id)


def test_a_full_session_fits_into_a_cookie(site):
    visitor = Visitor(site)
    for number in range(owners.MOST + 1):
        visitor.ask(f"{'x' * 200}-{number}")
    assert sum(len(value) for value in visitor.cookies.values()) < 2_000
    assert visitor.sees(f"{'x' * 200}-{owners.MOST}")
    assert not visitor.sees(f"{'x' * 200}-0"), "the oldest is forgotten"


# The record, in any mapping


def test_a_task_that_is_asked_for_again_is_not_the_oldest_any_more():
    session = {}
    owners.remember(session, "again")
    for number in range(owners.MOST - 1):
        owners.remember(session, f"other-{number}")
    owners.remember(session, "again")
    owners.remember(session, "last")
    assert owners.may_see(session, "again")
    assert not owners.may_see(session, "other-0")


def test_a_session_notices_each_record():
    session = {}
    owners.remember(session, "a")
    before = dict(session)
    owners.remember(session, "b")
    assert all(session[name] is not before[name] for name in before)


@pytest.mark.parametrize("foreign", [None, 7, "text", {"a": 1}])
def test_what_something_else_keeps_in_the_session_under_our_name_shows_nothing(foreign):
    session = {"jobtastic": foreign}
    assert not owners.may_see(session, "a")
    owners.remember(session, "a")
    assert owners.may_see(session, "a")


def test_an_id_and_a_user_cannot_be_confused_with_others():
    session = {}
    owners.remember(session, "a", user="b")
    assert not owners.may_see(session, "a", user="")
    assert not owners.may_see(session, "a")
    assert not owners.may_see(session, "a~b")


@pytest.mark.parametrize("task_id", ["", "a~b", "a b", "x" * 256])
def test_what_is_no_task_id_is_not_remembered(task_id):
    with pytest.raises(ValueError, match="is not a task id"):
        owners.remember({}, task_id)
