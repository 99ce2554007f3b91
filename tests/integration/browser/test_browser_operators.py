"""The page for operators in a browser: it keeps itself up to date, and releases and forgets."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Keys

from jobtastic_signals.results import payload
from tests.support.servers import wait_until
from tests.support.web.browser import Page
from tests.support.web.servers import Site
from tests.support.workers.project import let_go
from tests.support.workers.rigs import Rig

WORKER = "celery@elsewhere~0f/5a"

#: The texts of the rows of a table, as people see them.
ROWS = """
const rows = [...document.querySelectorAll(`#${arguments[0]} tbody tr`)];
return rows.map((row) => [...row.cells].map((cell) => cell.innerText));
"""


@pytest.fixture(scope="module")
def rig(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A project with a worker that the page shows."""
    conf = {"broker_url": f"{redis_url}/13", "result_backend": f"{redis_url}/13"}
    with ExitStack() as stack:
        rig = Rig(tmp_path_factory.mktemp("operated"), stack, {**conf, "jobtastic_progress_interval": 0.1})
        rig.start()
        yield rig


@pytest.fixture
def open_page(open_site: Callable[..., Site], rig: Rig, page: Page) -> Callable[..., Page]:
    """Opens the page as somebody with a *role*, with only the rows of one task."""

    def open_page(task: str = "", *, role: str = "operator", server: str = "flask") -> Page:
        site = open_site(server, conf=rig.made["conf"], journal=rig.made["journal"], operator=True)
        page.open(f"{site.url}/page/nothing")
        page.run(f"document.cookie = 'role={role}; path=/'")
        page.open(f"{site.url}/jobtastic/{f'?task={task}' if task else ''}")
        page.site = site  # type: ignore[attr-defined]
        return page

    return open_page


@pytest.fixture
def task() -> str:
    """The prefix of keys that no other test has."""
    return f"proj.{uuid.uuid4().hex}"


def key_in(task: str) -> str:
    return f"v1:{task}:{uuid.uuid4().hex}{'0' * 8}"


def rows(page: Page, table: str = "in_flight") -> list[list[str]]:
    found: list[list[str]] = page.run(ROWS, table)
    return found


def polled(page: Page) -> int:
    return len(page.requests("rows.json"))


def is_live(page: Page) -> bool:
    """Whether the script has shown an answer; what the server has rendered has no buttons."""
    text: str = page.run("return document.getElementById('updated').textContent")
    return text.startswith("Updated")


def next_poll(page: Page) -> None:
    """Until the page has asked again."""
    before = polled(page)
    wait_until(lambda: polled(page) > before, what="the next request")


def status(page: Page) -> str:
    text: str = page.run("return document.getElementById('status').textContent")
    return text


def press(page: Page, *keys: str) -> None:
    ActionChains(page.driver).send_keys(*keys).perform()


FRAMEWORKS = ["flask", *(pytest.param(each, marks=pytest.mark.thorough) for each in ("django", "asgi"))]


@pytest.mark.parametrize("server", FRAMEWORKS)
def test_operators_see_a_run_go_on_and_free_what_is_stuck(open_page, rig, server):
    """With a real worker: its progress moves without reloading, and its claim can be released."""
    token = uuid.uuid4().hex
    result = rig.client.told.delay(token, 4)
    key = rig.client.key("told", token, 4)
    page = open_page(rig.client.told.name, server=server)

    def row() -> dict[str, Any]:
        script = "return [...document.querySelectorAll('#in_flight tr')].map(({facts}) => facts ?? null)"
        return next((each for each in page.run(script) if each and each["owner"] == result.id), {})

    def shows(percent: str) -> bool:
        return any(percent in line[2] for line in rows(page)) and row().get("state") == "running"

    wait_until(lambda: row().get("state") == "running", what="the run")
    assert row()["worker"].startswith("w")
    for step, percent in ((1, "25 %"), (2, "50 %")):
        let_go(rig.folder / "journal", token, step)
        wait_until(lambda percent=percent: shows(percent), what=percent)
    assert any(f"step {3}" in line[2] for line in rows(page))
    assert page.run("return document.querySelector('#in_flight progress').value") == 50
    page.run("document.querySelector('#in_flight .action button').focus()")
    press(page, Keys.ENTER, Keys.TAB, Keys.ENTER)
    wait_until(lambda: status(page) == "The claim was released.", what="the release")
    assert rig.store.lookup(key) is None or rig.store.lookup(key).owner == result.id
    for step in (3, 4):
        let_go(rig.folder / "journal", token, step)
    assert result.get(timeout=60) == 4
    wait_until(lambda: not row(), what="the end of the run")
    assert not page.complaints()


def test_a_result_is_forgotten_after_a_question(open_page, rig, task, page):
    key = key_in(task)
    rig.store.complete(key, "one", None, payload.dumps(rig.client.app, 42), ttl=600)
    open_page(task)
    wait_until(lambda: is_live(page) and rows(page, "results"), what="the result")
    button = "document.querySelector('#results .action button')"
    page.run(f"{button}.focus()")
    press(page, Keys.ENTER)
    assert page.run("return document.querySelector('dialog').open")
    assert page.run("return document.getElementById('ask-title').textContent") == (
        f"Forget the result of {task}?"
    )
    press(page, Keys.ESCAPE)
    assert page.run(f"return document.activeElement === {button}")
    press(page, Keys.ENTER, Keys.ENTER)  # The first button keeps it.
    assert page.run(f"return document.activeElement === {button}")
    next_poll(page)
    assert rig.store.lookup(key).owner == "one"
    press(page, Keys.ENTER, Keys.TAB, Keys.ENTER)
    wait_until(lambda: status(page) == "The result was forgotten.", what="the answer")
    wait_until(lambda: not rows(page, "results"), what="the row going")
    assert rig.store.lookup(key) is None
    assert page.run("return document.activeElement.id") == "results-title"


def test_a_viewer_has_no_buttons_that_change_anything(open_page, rig, task, page):
    rig.store.claim(key_in(task), "one", WORKER, 300)
    open_page(task, role="viewer")
    wait_until(lambda: is_live(page) and rows(page), what="the row")
    assert page.run("return document.querySelectorAll('.action, [data-action]').length") == 0


def test_what_sharing_would_save_appears_by_itself(open_page, rig, task, page):
    rig.store.claim(key_in(task), "one", WORKER, 300)
    open_page(task)
    wait_until(lambda: is_live(page) and rows(page), what="the row")
    summary = "const line = document.getElementById('forecast-summary'); return line.innerText"
    assert page.run(summary) == ""
    rig.store.count(f"counts:{task}", {"observed_calls": 3, "observed_joins": 2}, ttl=600)
    wait_until(lambda: "2 of 3 calls would have needed" in page.run(summary), what="the forecast")
    page.run("document.getElementById('forecast-summary').click()")
    assert [cell for cell in rows(page, "forecast")[0] if cell] == [task, "3", "2"]
    assert not page.complaints()


def test_what_has_the_focus_keeps_it_while_rows_come_and_go(open_page, rig, task, page):
    for owner in ("one", "two"):
        rig.store.claim(key_in(task), owner, WORKER, 300)
    open_page(task)
    wait_until(lambda: is_live(page) and len(rows(page)) == 2, what="the rows")
    page.run("document.querySelector('[data-full=one]').focus()")
    gone = key_in(task)
    rig.store.claim(gone, "three", WORKER, 300)
    wait_until(lambda: len(rows(page)) == 3, what="the new row")
    rig.store.release(gone, "three", "")
    wait_until(lambda: len(rows(page)) == 2, what="the row going")
    assert page.run("return document.activeElement.dataset.full") == "one"


@pytest.mark.parametrize("has_clipboard", [True, False], ids=["https", "http"])
def test_a_press_copies_the_whole_key(open_page, rig, task, page, has_clipboard):
    """Browsers give a clipboard only to sites with HTTPS, and to this machine."""
    key = key_in(task)
    rig.store.claim(key, "one", WORKER, 300)
    open_page(task)
    wait_until(lambda: is_live(page) and rows(page), what="the row")
    page.cdp("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    page.run("window.board = navigator.clipboard")
    if not has_clipboard:
        page.run("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.run("document.querySelectorAll('.copy')[1].focus()")
    press(page, Keys.ENTER)
    wait_until(lambda: status(page) == f"Copied {key}", what="the copy")
    assert page.driver.execute_async_script("board.readText().then(arguments[0], arguments[0])") == key
    assert page.run("return document.activeElement.className") == "copy"
    assert page.run("return document.querySelectorAll('.copy')[1].title") == key


def test_hostile_text_is_only_text(open_page, rig, page):
    hostile = f"<img src=x onerror=window.hacked=1>{uuid.uuid4().hex}"
    key = key_in(hostile)
    rig.store.claim(key, hostile, f"{hostile}~0f/5a", 300)
    rig.store.complete(key, hostile, None, payload.dumps(rig.client.app, 42), ttl=600)
    message = {"progress_percent": 5, "message": f"{hostile}\u202e"}
    rig.client.app.backend.store_result(hostile, message, "PROGRESS")
    rig.store.count(f"counts:{hostile}", {"calls": 1}, ttl=60)
    open_page()

    def seen() -> bool:
        text = page.run("return document.getElementById('in_flight').innerText")
        return f"{hostile}\\u202e" in text

    wait_until(lambda: is_live(page) and seen(), what="the text")
    next_poll(page)
    assert page.run("return [document.images.length, window.hacked ?? null]") == [0, None]
    assert not page.complaints()


def test_it_can_be_read_without_javascript(open_page, rig, task, page):
    rig.store.claim(key_in(task), "one", WORKER, 300)
    open_page(task)
    page.cdp("Emulation.setScriptExecutionDisabled", value=True)
    wait_until(lambda: task in _read_again(page), what="the row")
    text = page.driver.find_element("tag name", "body").text
    page.cdp("Emulation.setScriptExecutionDisabled", value=False)
    assert "running" in text
    assert "celery@elsewhere" in text
    assert "Show all" in text


def _read_again(page: Page) -> str:
    page.driver.refresh()
    return page.driver.find_element("css selector", "#in_flight table").text


def test_a_hidden_tab_asks_nothing_and_a_paused_one_neither(open_page, page):
    open_page()
    next_poll(page)
    page.driver.minimize_window()
    wait_until(lambda: page.run("return document.hidden"), what="a hidden tab")
    before = polled(page)
    page.driver.execute_async_script("setTimeout(arguments[0], 2500)")
    assert polled(page) == before
    page.driver.set_window_rect(0, 0, 800, 600)
    next_poll(page)
    page.run("document.getElementById('pause').click()")
    page.driver.minimize_window()
    wait_until(lambda: page.run("return document.hidden"), what="a hidden tab")
    before = polled(page)
    page.driver.set_window_rect(0, 0, 800, 600)
    page.driver.execute_async_script("setTimeout(arguments[0], 2500)")
    assert polled(page) == before
    page.run("document.getElementById('pause').click()")
    next_poll(page)


@pytest.mark.thorough
def test_a_site_that_fails_is_asked_again_and_said_once(open_page, page):
    open_page()
    wait_until(lambda: is_live(page), what="the first answer")
    page.site.fail("rows.json", times=2, status=502)
    wait_until(lambda: "does not answer" in status(page), what="the failure")
    wait_until(lambda: status(page) == "The site answers again.", what="the recovery")


def test_whoever_may_see_it_no_more_is_asked_to_reload(open_page, page):
    open_page()
    wait_until(lambda: is_live(page), what="the first answer")
    page.run("document.cookie = 'role=; path=/'")
    wait_until(lambda: "Reload it" in status(page), what="the refusal")
    before = polled(page)
    page.driver.execute_async_script("setTimeout(arguments[0], 2500)")
    assert polled(page) == before


def test_its_tables_are_tables_on_every_screen(open_page, rig, task, page):
    """A narrow screen shows cards, and lies about none of that to assistive technology."""
    rig.store.claim(key_in(task), "one", WORKER, 300)
    open_page(task)
    wait_until(lambda: is_live(page) and rows(page), what="the row")
    for width, cells in ((1280, 10), (360, 8)):  # A card leaves out what is empty.
        page.cdp(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        nodes = page.cdp("Accessibility.getFullAXTree")["nodes"]
        roles = [node["role"]["value"] for node in nodes if not node["ignored"]]
        assert (roles.count("cell"), roles.count("columnheader")) == (cells, 10)
        assert page.run("return document.documentElement.scrollWidth <= innerWidth")
    page.cdp("Emulation.clearDeviceMetricsOverride")
