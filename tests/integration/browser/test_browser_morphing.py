"""Pages that are rendered again and morphed: by Turbo, htmx with idiomorph, idiomorph, and morphdom.

Phoenix LiveView patches pages with morphdom, so morphdom stands for it here.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest

from jobtastic_signals.web.tokens import SecretSigner
from tests.support.rare import mainly, rare
from tests.support.servers import wait_until
from tests.support.web.browser import ELEMENT, INSIDE, new_id, progress
from tests.support.web.npm import npm_file
from tests.support.web.site import SECRET
from tests.support.web.stub import stub


@dataclass(frozen=True)
class Morpher:
    """How a page is morphed: its scripts, and what it runs with ``next``, the HTML of the next version."""

    scripts: dict[str, tuple[str, str]]
    run: str


TURBO = ("turbo", "dist/turbo.es2017-umd.js")
IDIOMORPH = ("idiomorph", "dist/idiomorph.js")
MORPHERS = {
    "turbo": Morpher(
        {"turbo.js": TURBO},
        """
        document.addEventListener("turbo:morph", () => done(), {once: true});
        Turbo.visit(location.href, {action: "replace"});
        """,
    ),
    "htmx": Morpher(
        {
            "htmx.js": ("htmx", "dist/htmx.js"),
            "idiomorph-ext.js": ("idiomorph", "dist/idiomorph-ext.js"),
        },
        """
        const swap = {target: "main", swap: "morph:outerHTML", select: "main"};
        htmx.ajax("GET", location.href, swap).then(() => done());
        """,
    ),
    "idiomorph": Morpher(
        {"idiomorph.js": IDIOMORPH},
        'Idiomorph.morph(document.querySelector("main"), next); done();',
    ),
    "morphdom": Morpher(
        {"morphdom.js": ("morphdom", "dist/morphdom-umd.js")},
        'morphdom(document.querySelector("main"), next); done();',
    ),
}
#: Runs a morpher with the next version of the page, unless it fetches the page itself.
MORPH = """
const [url, done] = arguments;
fetch(url, {cache: "no-store"}).then((reply) => reply.text()).then((text) => {
  const next = new DOMParser().parseFromString(text, "text/html").querySelector("main").outerHTML;
  %s
});
"""
#: Keeps what the element shows from now on, however briefly.
WATCH = f"""
window.element = {ELEMENT};
window.shown = new Set();
const look = () => shown.add(`${{element.getAttribute("state")}}: ${{
  element.shadowRoot.querySelector("[part=message]").textContent}}`);
look();
new MutationObserver(look).observe(element.shadowRoot, {{subtree: true, childList: true, attributes: true}});
"""
COLOUR = f"getComputedStyle({INSIDE}.querySelector('[part=bar]')).backgroundColor"
PREVIEW = "document.documentElement.hasAttribute('data-turbo-preview')"
COUNT_STREAMS = """
window.streams = 0;
window.EventSource = class extends EventSource { constructor(...given) { super(...given); streams++; } };
"""


class Morphed:
    """A page with one task, which is morphed into later versions of itself."""

    def __init__(self, site, page, morpher: Morpher, attributes: str = "") -> None:
        self.site, self.page, self.morpher, self.attributes = site, page, morpher, attributes
        self.name = f"{new_id()}.html"
        for name, file in morpher.scripts.items():
            site.put(name, npm_file(*file))

    def open(self, token: str) -> None:
        self.page.open(self.put(token))
        self.page.run(WATCH)

    def morph(self, token: str) -> None:
        url = self.put(token)
        self.page.driver.execute_async_script(MORPH % self.morpher.run, url)
        source = self.page.run(f"return {ELEMENT}.getAttribute('src')")
        assert source == f"/task/{token}/status/"
        assert self.page.run(f"return element === {ELEMENT}")

    def put(self, token: str) -> str:
        scripts = "".join(f'<script src="/file/{name}"></script>' for name in self.morpher.scripts)
        return self.site.put(
            self.name,
            f"""<!doctype html>
            <meta name="turbo-refresh-method" content="morph">
            <script type="module" src="/task/progress.js"></script>{scripts}
            <body hx-ext="morph"><main id="main"><h1>Reports</h1>
            <jobtastic-progress src="/task/{token}/status/" {self.attributes}>Report</jobtastic-progress>
            </main>
            """,
        )


@pytest.fixture(scope="module")
def site(open_site):
    return open_site("asgi", stream=True)


# The first two of them run idiomorph too.
@pytest.fixture(params=["turbo", rare("htmx"), rare("idiomorph"), rare("morphdom")])
def morpher(request):
    return MORPHERS[request.param]


def tokens(task_id):
    """Yield different tokens of one task, as a page has that is rendered again after hours."""
    signer = SecretSigner(SECRET)
    for _ in itertools.count():
        token = signer.sign(task_id)
        yield token
        wait_until(lambda token=token: signer.sign(task_id) != token, what="the next second")


@pytest.mark.parametrize("morpher", mainly("turbo", "morphdom", of=MORPHERS), indirect=True)
def test_a_new_token_for_the_same_task_restarts_nothing(site, page, morpher):
    task_id = new_id()
    first, second = itertools.islice(tokens(task_id), 2)
    site.store(task_id, progress(42, message="Fetching"), "PROGRESS")
    morphed = Morphed(site, page, morpher, 'interval="100"')
    morphed.open(first)
    page.shows(percent="42%")
    page.run("shown.clear()")
    morphed.morph(second)
    wait_until(lambda: page.requests(second), what="a request with the new token")
    before = len(page.requests(first))
    site.store(task_id, progress(63, message="Fetching"), "PROGRESS")
    page.shows(state="progress", percent="63%", width=63)
    assert page.run("return [...shown]") == ["progress: Fetching"]
    assert len(page.requests(first)) == before


def test_success_is_reported_once_and_stays_in_sight(site, page, morpher):
    task_id = new_id()
    morphed = Morphed(site, page, morpher, 'interval="100"')
    first, *others = itertools.islice(tokens(task_id), 3)
    morphed.open(first)
    page.shows(status="PENDING")
    site.app.backend.mark_as_done(task_id, "rows")
    page.shows(state="success", width=100)
    colour = page.run(f"return {COLOUR}")
    page.run("shown.clear()")
    for token in others:
        morphed.morph(token)
        page.shows(state="success", message="Done.", width=100)
        assert page.run(f"return {COLOUR}") == colour
    assert [event["detail"]["result"] for event in page.told("success")] == ["rows"]
    assert page.requests(others[-1]) == []
    assert page.run("return [...shown]") in ([], ["success: Done."])


def test_an_open_stream_stays_open(site, page, morpher):
    task_id = new_id()
    first, second = itertools.islice(tokens(task_id), 2)
    page.cdp("Page.addScriptToEvaluateOnNewDocument", source=COUNT_STREAMS)
    morphed = Morphed(site, page, morpher, "stream")
    morphed.open(first)
    page.shows(status="PENDING")
    morphed.morph(second)
    site.store(task_id, progress(42), "PROGRESS")
    page.shows(percent="42%")
    assert page.run("return streams") == 1


def test_another_task_starts_anew(site, page, morpher):
    first, second = new_id(), new_id()
    site.app.backend.mark_as_done(first, "first")
    site.store(second, progress(42), "PROGRESS")
    morphed = Morphed(site, page, morpher)
    morphed.open(site.token(first))
    page.shows(state="success")
    morphed.morph(site.token(second))
    page.shows(state="progress", percent="42%", width=42)
    site.app.backend.mark_as_done(second, "second")
    page.shows(state="success")
    assert [event["detail"]["result"] for event in page.told("success")] == ["first", "second"]


def test_a_fresh_token_helps_an_element_whose_token_was_refused(site, page, morpher):
    task_id = new_id()
    morphed = Morphed(site, page, morpher)
    morphed.open(SecretSigner("of another site").sign(task_id))
    page.shows(state="error", message="The progress cannot be shown.")
    morphed.morph(site.token(task_id))
    page.shows(state="waiting", message="Waiting to start")


def test_an_element_in_a_preview_of_turbo_asks_nothing(page):
    with stub() as site:
        site.head = '<script src="/turbo.js"></script>'
        site.answers["/turbo.js"] = 200, {"Content-Type": "text/javascript"}, npm_file(*TURBO)
        site.answer(status="SUCCESS", result="rows")
        page.open(f"{site.url}/page")
        wait_until(lambda: len(page.told("success")) == 1, what="a success")
        page.run("Turbo.visit('/elsewhere')")
        wait_until(lambda: len(page.told("success")) == 2, what="a success elsewhere")
        with site.holding("/page"):
            page.run("Turbo.visit('/page')")
            wait_until(lambda: page.run(f"return {PREVIEW}"), what="a preview")
            page.driver.execute_async_script("setTimeout(arguments[0], 500)")
            assert site.asked.count("/t/status/") == 2
        wait_until(lambda: len(page.told("success")) == 3, what="a success of the page itself")
