"""Pages with many elements that stream: browsers open six connections to a host with HTTP/1.1."""

from __future__ import annotations

import pytest

from tests.support.rare import rare
from tests.support.servers import wait_until
from tests.support.web.browser import Page, new_id, progress

#: Knows the streams that are open, before any script of the page runs.
COUNT = """
window.streams = new Set();
window.EventSource = class extends EventSource {
  constructor(...given) { super(...given); streams.add(this); }
  close() { streams.delete(this); super.close(); }
};
"""
PING = """
const done = arguments[0];
fetch("/token/x", {signal: AbortSignal.timeout(30_000)})
  .then(({status}) => done(status), (error) => done(`${error}`));
"""
#: How browsers behave on a site without HTTPS.
NO_LOCKS = 'Object.defineProperty(Navigator.prototype, "locks", {get() {}});'


@pytest.fixture(scope="module")
def site(open_site):
    return open_site("asgi", authorize="everybody", stream=True)


def open_tasks(site, page: Page, tasks: list[str], *, scripts: str = COUNT) -> Page:
    page.cdp("Page.addScriptToEvaluateOnNewDocument", source=scripts)
    elements = "".join(
        f'<jobtastic-progress src="/task/{task}/status/" stream interval="100"></jobtastic-progress>'
        for task in tasks
    )
    head = "<!doctype html><script type=module src=/task/progress.js></script>"
    return page.open(site.put(f"{new_id()}.html", head + elements))


def streams(*pages: Page) -> int:
    return sum(page.run("return streams.size") for page in pages)


@pytest.mark.parametrize("scripts", [COUNT, rare(COUNT + NO_LOCKS)], ids=["locks", "no locks"])
def test_eight_elements_all_move_and_the_site_still_answers(site, page, scripts):
    tasks = [new_id() for _ in range(8)]
    for percent in (10, 50, 60):
        for task in tasks:
            site.store(task, progress(percent), "PROGRESS")
        if percent == 10:
            open_tasks(site, page, tasks, scripts=scripts)
        for index in range(8):
            page.shows(index, percent=f"{percent}%")
        assert page.driver.execute_async_script(PING) == 200
        assert streams(page) == 2


def test_another_element_streams_when_one_has_ended(site, page):
    tasks = [new_id() for _ in range(3)]
    open_tasks(site, page, tasks)
    wait_until(lambda: streams(page) == 2, what="two streams")
    urls = "return [...streams].map(({url}) => url.split('/').at(-3))"
    before = page.run(urls)
    (waiting,) = set(tasks) - set(before)
    site.app.backend.mark_as_done(before[0], None)
    wait_until(lambda: set(page.run(urls)) == {before[1], waiting}, what="the stream of another element")


def test_windows_share_four_streams_and_a_closed_window_gives_its_own_back(site, page):
    windows = [page, Page(page.driver, "window"), Page(page.driver, "window")]
    try:
        for window in windows:
            open_tasks(site, window, [new_id(), new_id(), new_id()])
        wait_until(lambda: streams(*windows) == 4, what="four streams")
        assert [window.run("return document.hidden") for window in windows] == [False] * 3
        assert streams(windows[2]) == 0
        windows.pop(1).close()
        wait_until(lambda: streams(windows[1]) == 2, what="streams of the third window")
    finally:
        for window in windows[1:]:
            window.close()
