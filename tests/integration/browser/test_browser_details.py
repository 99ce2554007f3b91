"""What people see before a task moves, after it has ended, and when the answer is not a status."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.support.rare import rare
from tests.support.servers import wait_until
from tests.support.web.browser import ELEMENT, INSIDE, Page, progress
from tests.support.web.stub import Stub, stub

RUNNING = {"status": "PROGRESS", "result": progress(42, 130, message="Fetching")}
WORDS = "Fetching " + "rows " * 99 + "at last"
#: All that differs in height, or might.
STATES: dict[str, dict[str, Any]] = {
    "waiting": {"status": "PENDING"},
    "started": {"status": "PROGRESS", "result": progress(0)},
    "running": RUNNING,
    "a long message": {"status": "PROGRESS", "result": progress(43, 9, message=WORDS)},
    "a long word": {"status": "PROGRESS", "result": progress(44, message="x" * 999)},
    "unknown total": {"status": "PROGRESS", "result": progress(0, completed=12_345)},
    "host lost": {**RUNNING, "notice": "host_lost"},
    "ignored": {"status": "PENDING", "notice": "ignored"},
    "failed": {"status": "FAILURE", "message": "The file has no rows. Choose another one, and try again."},
}
SIGN_IN = "Reload this page to sign in again."

PERCENT = f"{ELEMENT}.task.result?.progress_percent"
#: Keeps the width of the bar in each frame.
FILM = f"""
window.film = [];
const bar = {INSIDE}.querySelector("[part=bar]");
const frame = () => {{ film.push(bar.getBoundingClientRect().width); requestAnimationFrame(frame); }};
frame();
"""


@pytest.fixture
def site():
    with stub() as site:
        yield site


def quiet(site: Stub, page: Page) -> bool:
    """Whether the element asks nothing for a second, which is ten intervals."""
    before = len(site.asked)
    page.driver.execute_async_script("setTimeout(arguments[0], 1000)")
    return len(site.asked) == before


# The bar


def test_the_bar_never_runs_backwards_when_a_task_starts(site, page):
    page.open(f"{site.url}/page")
    page.shows(status="PENDING", moving=True, width=0)
    page.run(FILM)
    for percent in (0, 3, 50):
        site.answer(status="PROGRESS", result=progress(percent))
        wait_until(lambda percent=percent: page.run(f"return {PERCENT}") == percent, what=f"{percent} %")
        wait_until(
            lambda: page.run(f"return {INSIDE}.getAnimations().length") == 0, what="the end of a growth"
        )
    film = page.run("return film")
    assert film[-1] > film[0] == 0
    assert all(earlier <= later for earlier, later in itertools.pairwise(film))


@pytest.mark.parametrize("width", [360, rare(1200)])
def test_it_is_as_high_in_each_state(site, page, width):
    site.content = "Yearly report"
    page.cdp("Emulation.setDeviceMetricsOverride", width=width, height=640, deviceScaleFactor=1, mobile=False)
    page.open(f"{site.url}/page")
    heights = {}
    for name, task in STATES.items():
        site.answer(**task)
        page.shows(task={"id": "t", **task})
        heights[name] = page.run("return document.querySelector('hr').getBoundingClientRect().top")
    print(heights)
    assert len(set(heights.values())) == 1
    assert page.run("return document.documentElement.scrollWidth") == width


def test_a_message_that_is_too_long_is_cut_with_its_whole_text_at_hand(site, page):
    site.answer(status="PROGRESS", result=progress(42, message=WORDS))
    page.open(f"{site.url}/page")
    page.shows(percent="42%", message=WORDS)
    message = f"{INSIDE}.querySelector('[part=message]')"
    assert page.run(f"return {message}.title") == WORDS
    assert page.run(f"return {message}.clientHeight < {message}.scrollHeight")


# The label


def test_what_is_in_the_element_is_its_label(site, page):
    site.content = "Report of <em>2026</em>"
    page.open(f"{site.url}/page")
    page.shows(status="PENDING")
    assert page.run(f"return {ELEMENT}.innerText") == "Report of 2026"
    assert page.run(f"return {ELEMENT}.querySelector('em').checkVisibility()")
    assert name_of(page) == "Report of 2026"
    page.run(f"{ELEMENT}.setAttribute('label', 'For screen readers')")
    assert name_of(page) == "For screen readers"


@pytest.mark.parametrize("content", ["", " \n "])
def test_an_element_without_a_label_takes_no_room_for_one(site, page, content):
    site.content = content
    page.open(f"{site.url}/page")
    page.shows(status="PENDING")
    assert not page.run(f"return {INSIDE}.querySelector('[part=label]').checkVisibility()")
    assert name_of(page) == "Progress"


def name_of(page: Page) -> str:
    return page.run(f"return {INSIDE}.querySelector('[role=progressbar]').ariaLabel")


# Ends


def test_a_message_for_people_says_why_it_failed(site, page):
    site.answer(status="FAILURE", state="FAILURE", message="The file has no rows.", result="NoRows(<secret>)")
    page.open(f"{site.url}/page")
    page.shows(state="failure", message="The file has no rows.", foot="", spoken="The file has no rows.")


def test_a_result_that_was_there_already_shows_its_age(site, page):
    site.answer(status="SUCCESS", result=None, age=299.7)
    page.open(f"{site.url}/page")
    page.shows(state="success", message="Done.", foot="Finished 5 minutes ago")
    page.run(
        f"const now = Date.now(); Date.now = () => now + 55 * 60_000; {ELEMENT}.setAttribute('label', 'x')"
    )
    page.shows(foot="Finished 1 hour ago")


def test_a_new_result_and_one_that_people_waited_for_show_no_age(site, page):
    site.answer(status="SUCCESS", result=None, age=59)
    page.open(f"{site.url}/page")
    page.shows(state="success", message="Done.", foot="")
    site.answer(**RUNNING)
    page.open(f"{site.url}/page")
    page.shows(percent="42%")
    site.answer(status="SUCCESS", result=None, age=90)
    page.shows(state="success", message="Done.", foot="")


# Notices


def test_a_host_that_is_lost_is_reported_until_the_task_moves_again(site, page):
    site.answer(**RUNNING)
    page.open(f"{site.url}/page")
    page.shows(percent="42%", foot="About 2 minutes left")
    site.answer(**RUNNING, notice="host_lost")
    words = page.shows(percent="42%", message="Fetching", foot="The worker does not answer")["spoken"]
    assert words == "42%, The worker does not answer"
    site.answer(**RUNNING)
    page.shows(percent="42%", foot="About 2 minutes left")


def test_nothing_pretends_to_move_while_the_host_is_lost(site, page):
    site.answer(status="STARTED", result=None, notice="host_lost")
    page.open(f"{site.url}/page")
    page.shows(state="waiting", message="Just started", foot="The worker does not answer", moving=False)


def test_a_task_that_ignores_its_result_is_not_waited_for(site, page):
    site.answer(status="PENDING", result=None, notice="ignored")
    page.open(f"{site.url}/page")
    page.shows(message="This task does not report its progress.", foot="", moving=False, width=0)


def test_a_notice_of_a_later_version_is_not_shown(site, page):
    site.answer(**RUNNING, notice="constructor")
    page.open(f"{site.url}/page")
    page.shows(percent="42%", message="Fetching", foot="About 2 minutes left")


# Answers that are no status


def test_a_redirect_to_a_page_for_signing_in_is_reported_once(site, page):
    site.answer(**RUNNING)
    page.open(f"{site.url}/page")
    page.shows(percent="42%")
    site.refuse(302, Location="/login")
    page.shows(state="error", message=SIGN_IN, foot="", moving=False)
    assert quiet(site, page)
    refused = {"status": 200, "retrying": False, "redirected": True}
    assert [event["detail"] for event in page.told("error")] == [refused]


def test_a_redirect_to_another_site_is_reported_once(site, page):
    # Another host is another site, and its page may not be read from here.
    site.refuse(302, Location=site.url.replace("127.0.0.1", "localhost") + "/login")
    page.open(f"{site.url}/page")
    page.shows(state="error", message=SIGN_IN)
    assert quiet(site, page)
    refused = {"status": 0, "retrying": False, "redirected": True}
    assert [event["detail"] for event in page.told("error")] == [refused]


def test_a_stream_that_is_redirected_is_reported_once(site, page):
    site.attributes = "stream"
    site.refuse(302, "/events/", Location="/login")
    site.refuse(302, Location="/login")
    page.open(f"{site.url}/page")
    page.shows(state="error", message=SIGN_IN)
    assert quiet(site, page)
    assert len(page.told("error")) == 1


def test_a_page_instead_of_a_status_is_reported_once(site, page):
    site.answers["/status/"] = 200, {"Content-Type": "text/html; charset=utf-8"}, b"<!doctype html>Log in"
    page.open(f"{site.url}/page")
    page.shows(state="error", message=SIGN_IN)
    assert quiet(site, page)
    assert len(page.told("error")) == 1


def test_401_says_that_people_have_to_sign_in(site, page):
    site.refuse(401)
    page.open(f"{site.url}/page")
    page.shows(state="error", message=SIGN_IN)
    assert [event["detail"] for event in page.told("error")] == [{"status": 401, "retrying": False}]


def test_a_status_that_has_moved_is_followed(site, page):
    site.answer(**RUNNING)
    site.refuse(307, Location="/moved/t")
    page.open(f"{site.url}/page")
    page.shows(percent="42%")
    assert not page.told("error")


def test_an_answer_that_is_neither_a_page_nor_a_status_is_asked_for_again(site, page):
    site.answers["/status/"] = 200, {"Content-Type": "application/json"}, b"[]"
    page.open(f"{site.url}/page")
    page.shows(state="waiting", foot="Connection lost, trying again")
    site.answer(**RUNNING)
    page.shows(percent="42%")


def test_429_for_a_stream_means_to_poll(site, page):
    site.attributes = 'stream interval="100"'
    site.refuse(429, "/events/")
    site.answer(**RUNNING)
    page.open(f"{site.url}/page")
    page.shows(percent="42%")
    site.answer(status="SUCCESS", result=None)
    page.shows(state="success")
    assert [path for path in site.asked if "/events/" in path] == ["/t/events/"]
    assert not page.told("error")
