"""The button to cancel: what it does to the task, to the page, and for people without a mouse or a screen."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from celery.result import AsyncResult
from selenium.webdriver import ActionChains, Keys

from tests.integration.browser.test_browser_accessibility import tree
from tests.support.servers import wait_until
from tests.support.web.browser import INSIDE, Page, progress
from tests.support.web.servers import Site
from tests.support.web.stub import Stub, stub
from tests.support.workers.rigs import Rig, go_on

BUTTON = f"{INSIDE}.querySelector('button')"
SHOWN = f"return !{BUTTON}.hidden"
RUNNING = {"status": "PROGRESS", "result": progress(42, 130, message="Fetching")}


def press(page: Page) -> None:
    wait_until(lambda: page.run(SHOWN), what="the button")
    page.run(f"{BUTTON}.focus()")
    ActionChains(page.driver).send_keys(Keys.ENTER).perform()


# With a worker


@pytest.fixture(scope="module")
def rig(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    conf = {"broker_url": f"{redis_url}/14", "result_backend": f"{redis_url}/14"}
    with ExitStack() as stack:
        rig = Rig(tmp_path_factory.mktemp("rig"), stack, conf)
        rig.start()
        yield rig


@pytest.fixture(scope="module", params=["flask"])
def site(request, open_site: Callable[..., Site], rig: Rig) -> Site:
    return open_site(request.param, conf=rig.made["conf"], journal=rig.made["journal"], cancel=True)


def start(site: Site, rig: Rig, token: str) -> tuple[str, AsyncResult]:
    """The URL of a page that waits for a run, and the result of that run."""
    reference = site.get(f"/held/{token}").body.decode()
    wait_until(lambda: rig.client.runs("held", token), what="the run")
    return f"{site.url}/page/{reference}?interval=100&cancel=", rig.client.held.AsyncResult(
        reference.split("~")[0]
    )


def test_the_last_page_that_cancels_ends_the_run(site, rig, page):
    token = uuid.uuid4().hex
    (first, run), (second, _) = start(site, rig, token), start(site, rig, token)
    page.open(first)
    press(page)
    page.shows(state="cancelled", message="It was cancelled.", moving=False)
    wait_until(lambda: page.told("left"), what="the event")
    assert [event["detail"] for event in page.told("left")] == [{"revoked": False}]
    assert not run.ready()
    page.open(second)
    press(page)
    page.shows(state="cancelled")
    wait_until(lambda: run.state == "REVOKED", what="the end of the run")
    assert [line["what"][1] for line in rig.client.runs("held", token)] == ["begins"]
    assert not page.complaints()


def test_the_run_goes_on_for_others_and_this_page_asks_no_more(site, rig, page):
    token = uuid.uuid4().hex
    (url, run), _other = start(site, rig, token), start(site, rig, token)
    page.open(url)
    press(page)
    page.shows(state="cancelled")
    asked = len(page.requests())
    go_on(rig.client, token)
    assert run.get(timeout=60) == [token, run.id]
    page.driver.execute_async_script("setTimeout(arguments[0], 1000)")
    assert len(page.requests()) == asked
    page.shows(state="cancelled")


# With any answer


@pytest.fixture
def stubbed() -> Iterator[Stub]:
    with stub() as site:
        site.attributes = 'interval="100" cancel label="Yearly report"'
        site.answer(**RUNNING)
        site.answers["/cancel/"] = json(b'{"revoked": true}')
        yield site


def json(body: bytes) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, body


def test_without_the_attribute_there_is_no_button(stubbed, page):
    stubbed.attributes = 'interval="100"'
    page.open(f"{stubbed.url}/page").shows(percent="42%")
    assert not page.run(SHOWN)


def test_what_has_ended_has_no_button(stubbed, page):
    page.open(f"{stubbed.url}/page").shows(percent="42%")
    assert page.run(SHOWN)
    stubbed.answer(status="SUCCESS", result=7)
    page.shows(state="success")
    assert not page.run(SHOWN)


def test_the_button_has_a_name_and_says_of_what_it_is(stubbed, page):
    page.open(f"{stubbed.url}/page").shows(percent="42%")
    assert tree(page, "button")["name"] == "Cancel: Yearly report"
    assert page.run(f"return {BUTTON}.textContent") == "Cancel"


def test_its_text_can_be_that_of_another_language(stubbed, page):
    stubbed.attributes = 'cancel="Abbrechen"'
    page.open(f"{stubbed.url}/page").shows(percent="42%")
    assert tree(page, "button")["name"] == "Abbrechen"


def test_the_keyboard_reaches_it_and_goes_on_from_the_message(stubbed, page):
    page.open(f"{stubbed.url}/page").shows(percent="42%")
    ActionChains(page.driver).send_keys(Keys.TAB).perform()
    assert page.run(f"return {INSIDE}.activeElement === {BUTTON}")
    ActionChains(page.driver).send_keys(Keys.SPACE).perform()
    assert page.shows(state="cancelled")["spoken"] == "Yearly report: It was cancelled."
    assert page.run(f"return {INSIDE}.activeElement.part.value") == "message"


def test_while_it_is_under_way_it_keeps_the_focus_and_cannot_be_pressed_again(stubbed, page):
    page.open(f"{stubbed.url}/page").shows(percent="42%")
    with stubbed.holding("/t/cancel/"):
        press(page)
        wait_until(lambda: "/t/cancel/" in stubbed.asked, what="the request")
        assert page.run(f"return [{BUTTON}.ariaDisabled, {BUTTON}.textContent]") == ["true", "Cancelling"]
        assert page.run(f"return {INSIDE}.activeElement === {BUTTON}")
        press(page)
    page.shows(state="cancelled")
    assert stubbed.asked.count("/t/cancel/") == 1


def test_a_page_can_ask_before(stubbed, page):
    page.open(f"{stubbed.url}/page").shows(percent="42%")
    page.run("document.addEventListener('jobtastic-cancel', (event) => event.preventDefault(), {once: true})")
    press(page)
    press(page)
    page.shows(state="cancelled")
    assert [event["detail"]["status"] for event in page.told("cancel")] == ["PROGRESS"] * 2
    assert stubbed.asked.count("/t/cancel/") == 1


@pytest.mark.parametrize("status", [403, 503])
def test_what_cannot_be_cancelled_goes_on_and_says_so(stubbed, page, status):
    stubbed.refuse(status, "/cancel/")
    page.open(f"{stubbed.url}/page").shows(percent="42%")
    press(page)
    shown = page.shows(state="progress", foot="It could not be cancelled. Try again.")
    assert "It could not be cancelled. Try again." in shown["spoken"]
    assert [event["detail"] for event in page.told("error")] == [
        {"status": status, "retrying": False, "cancelling": True}
    ]
    stubbed.answer(status="PROGRESS", result=progress(43, 130))
    page.shows(percent="43%", foot="About 2 minutes left")
    stubbed.answers["/cancel/"] = json(b'{"revoked": true}')
    press(page)
    page.shows(state="cancelled")


def test_what_ended_meanwhile_is_shown(stubbed, page):
    stubbed.attributes = 'interval="600000" cancel'
    stubbed.answers["/cancel/"] = json(b'{"revoked": false}')
    page.open(f"{stubbed.url}/page").shows(percent="42%")
    stubbed.answer(status="SUCCESS", result=7)
    press(page)
    page.shows(state="success", message="Done.")
    assert not page.told("left")


def test_another_task_has_its_own_button(stubbed, page):
    page.open(f"{stubbed.url}/page").shows(percent="42%")
    press(page)
    page.shows(state="cancelled")
    page.run("document.querySelector('jobtastic-progress').setAttribute('src', '/u/status/')")
    page.shows(state="progress", percent="42%")
    assert page.run(SHOWN)


def test_it_is_as_high_before_and_after(stubbed, page):
    page.open(f"{stubbed.url}/page").shows(percent="42%")
    height = "return document.querySelector('hr').getBoundingClientRect().top"
    before = page.run(height)
    press(page)
    page.shows(state="cancelled")
    assert page.run(height) == before
