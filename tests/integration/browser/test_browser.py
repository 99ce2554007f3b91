"""What people see in a browser, with each framework's server and a real Redis behind it."""

from __future__ import annotations

import pytest

from tests.support.rare import rare
from tests.support.web.browser import INSIDE, Page, new_id, progress

MALICIOUS = '<img src=x onerror="window.ran=1"><script>window.ran=2</script>&lt;b&gt; {{7*7}}'


@pytest.fixture(scope="module", params=[rare("django"), "asgi"])
def site(request, open_site):
    return open_site(request.param, authorize="everybody")


def test_a_bar_moves_from_waiting_through_percents_to_success(site, page):
    task_id = new_id()
    page.open(f"{site.url}/page/{task_id}?interval=100")
    page.shows(
        status="PENDING", state="waiting", message="Waiting to start", percent="", now=None, moving=True
    )
    site.store(task_id, None, "STARTED")
    page.shows(state="waiting", message="Just started", now=None, moving=True)
    site.store(task_id, progress(0), "PROGRESS")
    page.shows(
        state="progress", message="Just started", percent="0%", now="0", width=0, moving=False, foot=""
    )
    site.store(task_id, progress(12.5, 300, message="Fetching"), "PROGRESS")
    page.shows(percent="12%", now="12", width=12, message="Fetching", foot="About 5 minutes left")
    site.store(task_id, progress(99.99, 1, completed=2999, total=3000), "PROGRESS")
    page.shows(percent="99%", width=99, foot="A few seconds left", title="2,999 of 3,000", message="Running")
    site.app.backend.mark_as_done(task_id, {"rows": 3000})
    shown = page.shows(
        state="success", message="Done.", percent="", now="100", width=100, moving=False, foot=""
    )
    assert [event["detail"] for event in page.told("success")] == [shown["task"]]
    assert shown["task"].pop("age") >= 0
    assert shown["task"] == {"id": task_id, "status": "SUCCESS", "result": {"rows": 3000}}
    assert [event["detail"]["status"] for event in page.told("progress")] == [
        "PENDING",
        "STARTED",
        *["PROGRESS"] * 3,
    ]
    assert not page.told("failure", "error")
    assert not page.complaints()


def test_a_failure_says_so_and_tells_no_secrets_to_who_looks(site, page):
    task_id = new_id()
    site.store(task_id, progress(42), "PROGRESS")
    page.open(f"{site.url}/page/{task_id}?interval=100")
    page.shows(percent="42%")
    site.app.backend.mark_as_failure(task_id, ValueError("the password is swordfish"))
    shown = page.shows(state="failure", message="It failed.", percent="", now=None, moving=False, foot="")
    assert shown["title"] == ""
    assert [event["detail"]["exc"] for event in page.told("failure")] == ["builtins.ValueError"]
    assert not page.told("success", "error")
    assert "swordfish" not in page.run(f"return {INSIDE}.innerHTML + document.body.outerHTML")


def test_a_revoked_task_was_cancelled(site, page):
    task_id = new_id()
    page.open(f"{site.url}/page/{task_id}?interval=100")
    page.shows(status="PENDING")
    site.app.backend.mark_as_revoked(task_id, "revoked")
    page.shows(state="failure", message="It was cancelled.", moving=False)
    assert [event["detail"]["state"] for event in page.told("failure")] == ["REVOKED"]


def test_a_retried_task_waits_and_goes_on(site, page):
    task_id = new_id()
    site.store(task_id, progress(42), "PROGRESS")
    page.open(f"{site.url}/page/{task_id}?interval=100")
    page.shows(percent="42%")
    site.app.backend.mark_as_retry(task_id, ValueError("again"))
    page.shows(state="waiting", message="Waiting to try again", percent="", now=None, moving=True)
    site.store(task_id, progress(7), "PROGRESS")
    page.shows(state="progress", percent="7%", width=7)


def test_a_message_with_markup_stays_text_and_runs_nothing(site, page):
    task_id = new_id()
    site.store(task_id, progress(42, message=MALICIOUS), "PROGRESS")
    page.open(f"{site.url}/page/{task_id}?interval=100")
    page.shows(message=MALICIOUS, percent="42%")
    site.app.backend.mark_as_done(task_id, MALICIOUS)
    page.shows(state="success", message="Done.")
    assert page.run("return window.ran ?? null") is None
    assert page.run(f"return {INSIDE}.querySelectorAll('img, script, b').length") == 0
    # Nor had the policy to prevent anything.
    assert not page.complaints()


def test_an_unknown_total_is_counted(site, page):
    task_id = new_id()
    site.store(task_id, progress(0, completed=12345, message="Fetching"), "PROGRESS")
    page.open(f"{site.url}/page/{task_id}")
    page.shows(state="progress", percent="12,345 so far", now=None, moving=True, message="Fetching", foot="")


@pytest.mark.parametrize(
    ("percent", "seconds", "words"),
    [
        (0, 300, "Estimating the time left"),
        rare(0, -1, ""),
        rare(42, -1, ""),
        (42, 0, "A few seconds left"),
        rare(42, 4.9, "A few seconds left"),
        rare(42, 5, "About 5 seconds left"),
        (42, 43, "About 45 seconds left"),
        rare(42, 56, "About 1 minute left"),
        rare(42, 89, "About 1 minute left"),
        (42, 130, "About 2 minutes left"),
        rare(42, 3599, "About 1 hour left"),
        (42, 5000, "About 1.5 hours left"),
        rare(42, 86399, "About 1 day left"),
        rare(42, 1e6, "About 11.5 days left"),
    ],
)
def test_the_time_left_is_said_as_people_say_it(site_of_words, page, percent, seconds, words):
    task_id = new_id()
    site_of_words.store(task_id, progress(percent, seconds), "PROGRESS")
    page.open(f"{site_of_words.url}/page/{task_id}")
    page.shows(percent=f"{percent}%", foot=words)


@pytest.fixture(scope="module")
def site_of_words(open_site):
    return open_site("asgi", authorize="everybody")


def test_words_can_be_translated_for_one_element_and_for_all(site_of_words, page):
    site, task_id = site_of_words, new_id()
    site.store(task_id, progress(42, 130), "PROGRESS")
    site.put(
        "german.js",
        """
        import { JobtasticProgress } from "/task/progress.js";
        JobtasticProgress.texts = {locale: "de", running: "Läuft", remaining: (time) => `Noch etwa ${time}`};
        document.querySelector("jobtastic-progress").texts.running = "Der Bericht entsteht";
        """,
    )
    element = f'<jobtastic-progress src="/task/{task_id}/status/"></jobtastic-progress>'
    page.open(
        site.put(
            "german.html", f"<!doctype html><script type=module src=/file/german.js></script>{element * 2}"
        )
    )
    page.shows(0, message="Der Bericht entsteht", percent="42\N{NO-BREAK SPACE}%", foot="Noch etwa 2 Minuten")
    page.shows(1, message="Läuft", foot="Noch etwa 2 Minuten")


def test_the_first_words_are_translated_already(site_of_words, page):
    site_of_words.put(
        "waiting.js",
        """
        import { JobtasticProgress } from "/task/progress.js";
        JobtasticProgress.texts.waiting = "Wartet";
        """,
    )
    head = "<!doctype html><script type=module src=/file/waiting.js></script>"
    element = f'<jobtastic-progress src="/task/{new_id()}/status/"></jobtastic-progress>'
    page.open(site_of_words.put("waiting.html", head + element))
    assert page.shows(status="PENDING", message="Wartet")["spoken"] == "Wartet"


def test_two_elements_and_two_tabs_that_watch_one_task_see_the_same(site, page, browser):
    task_id = new_id()
    element = f'<jobtastic-progress src="/task/{task_id}/status/" interval="100"></jobtastic-progress>'
    url = site.put(
        "two.html", f"<!doctype html><script type=module src=/task/progress.js></script>{element * 2}"
    )
    page.open(url)
    everywhere = [(tab, index) for tab in (page, Page(browser).open(url)) for index in (0, 1)]
    for percent in (7, 63):
        site.store(task_id, progress(percent, 40, message="Fetching"), "PROGRESS")
        seen = [tab.shows(index, percent=f"{percent}%") for tab, index in everywhere]
        assert all(one == seen[0] for one in seen)
    site.app.backend.mark_as_done(task_id, None)
    for tab, index in everywhere:
        tab.shows(index, state="success")


def test_a_page_can_style_the_parts_and_states(site_of_words, page):
    task_id = new_id()
    site_of_words.store(task_id, progress(42), "PROGRESS")
    site_of_words.put(
        "style.css",
        """
        jobtastic-progress { --jobtastic-height: 20px; --jobtastic-color: rgb(1, 2, 3); }
        jobtastic-progress::part(percent) { color: rgb(4, 5, 6); }
        jobtastic-progress[state=success] { --jobtastic-success: rgb(7, 8, 9); }
        """,
    )
    element = f'<jobtastic-progress src="/task/{task_id}/status/" interval="100"></jobtastic-progress>'
    head = "<link rel=stylesheet href=/file/style.css><script type=module src=/task/progress.js></script>"
    page.open(site_of_words.put("style.html", f"<!doctype html>{head}{element}"))
    page.shows(percent="42%")
    assert style(page, "bar", "height") == "20px"
    assert style(page, "bar", "backgroundColor") == "rgb(1, 2, 3)"
    assert style(page, "percent", "color") == "rgb(4, 5, 6)"
    site_of_words.app.backend.mark_as_done(task_id, None)
    page.shows(state="success")
    assert style(page, "bar", "backgroundColor") == "rgb(7, 8, 9)"


def style(page, part, name):
    return page.run(f"return getComputedStyle({INSIDE}.querySelector('[part={part}]')).{name}")
