"""What those learn of a task who do not see it, from Chromium's own accessibility tree."""

from __future__ import annotations

import pytest

from tests.support.web.browser import ELEMENT, INSIDE, new_id, progress


@pytest.fixture(scope="module")
def site(open_site):
    return open_site("asgi", authorize="everybody")


def tree(page, role):
    """The only node with *role*: its name, and its properties."""
    nodes = page.cdp("Accessibility.getFullAXTree")["nodes"]
    (node,) = [node for node in nodes if not node["ignored"] and node["role"]["value"] == role]
    properties = {item["name"]: item["value"].get("value") for item in node["properties"]}
    return {"name": node["name"]["value"], "value": node.get("value", {}).get("value"), **properties}


def value_text(page):
    """In place of the number; Chromium tells it to assistive technology, but not to its driver."""
    return page.run(f"return {INSIDE}.querySelector('[role=progressbar]').getAttribute('aria-valuetext')")


def test_a_known_percent_is_a_value_between_0_and_100(site, page):
    task_id = new_id()
    site.store(task_id, progress(42.9, 130, message="Fetching"), "PROGRESS")
    page.open(f"{site.url}/page/{task_id}?label=Yearly+report")
    page.shows(percent="42%")
    bar = tree(page, "progressbar")
    assert bar["name"] == "Yearly report"
    assert (bar["valuemin"], bar["value"], bar["valuemax"]) == (0, 42, 100)
    assert value_text(page) == "42%, About 2 minutes left"


def test_an_unknown_one_has_no_value(site, page):
    page.open(f"{site.url}/page/{new_id()}")
    page.shows(status="PENDING")
    bar = tree(page, "progressbar")
    assert bar["name"] == "Progress"
    assert bar["value"] is None
    assert value_text(page) == "Waiting to start"


def test_a_new_label_is_told_at_once(site, page):
    page.open(f"{site.url}/page/{new_id()}?label=One")
    page.shows(status="PENDING")
    page.run(f"{ELEMENT}.setAttribute('label', 'Two')")
    page.shows(status="PENDING")
    assert tree(page, "progressbar")["name"] == "Two"


def test_the_start_each_quarter_and_the_end_are_announced_and_nothing_else(site, page):
    task_id = new_id()
    page.open(f"{site.url}/page/{task_id}?interval=100&label=Report")
    page.shows(status="PENDING")
    page.run(
        f"const status = {INSIDE}.querySelector('[role=status]');"
        "window.spoken = [status.textContent];"
        "new MutationObserver(() => spoken.push(status.textContent)).observe(status, {childList: true})"
    )
    assert tree(page, "status")["live"] == "polite"
    for percent in (0, 1, 10, 24, 25, 30, 20, 26, 51, 99, 100):
        site.store(task_id, progress(percent, message=f"At {percent}"), "PROGRESS")
        page.shows(percent=f"{percent}%")
    site.app.backend.mark_as_done(task_id, None)
    page.shows(state="success")
    assert page.run("return spoken") == [
        "Report: Waiting to start",
        "Report: 0%",
        "Report: 25%",
        "Report: 51%",
        "Report: 99%",
        "Report: 100%",
        "Report: Done.",
    ]


@pytest.mark.parametrize(
    ("end", "words"), [("mark_as_failure", "It failed."), ("mark_as_revoked", "It was cancelled.")]
)
def test_an_end_without_success_is_announced(site, page, end, words):
    task_id = new_id()
    getattr(site.app.backend, end)(task_id, ValueError("end"))
    page.open(f"{site.url}/page/{task_id}")
    assert page.shows(state="failure")["spoken"] == words
    assert value_text(page) == words


def test_nothing_moves_for_those_who_do_not_want_it(site, page):
    page.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    page.open(f"{site.url}/page/{new_id()}")
    page.shows(status="PENDING", state="waiting", moving=False)
    track = f"{INSIDE}.querySelector('[part=track]')"
    waiting, width = page.run(
        f"return [getComputedStyle({track}, '::before').width, getComputedStyle({track}).width]"
    )
    assert waiting == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colours_have_contrast(site, page, scheme):
    page.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    task_id = new_id()
    site.store(task_id, progress(42, 130), "PROGRESS")
    head = '<meta name=color-scheme content="light dark"><script type=module src=/task/progress.js></script>'
    element = f'<jobtastic-progress src="/task/{task_id}/status/" interval="100"></jobtastic-progress>'
    page.open(site.put(f"{scheme}.html", f"<!doctype html>{head}{element}"))
    page.shows(percent="42%")
    assert min(contrasts(page, "message", "percent", "foot", "color")) >= 4.5
    assert min(contrasts(page, "bar", "backgroundColor")) >= 3
    site.app.backend.mark_as_failure(task_id, ValueError("end"))
    page.shows(state="failure")
    assert min(contrasts(page, "bar", "backgroundColor")) >= 3


def contrasts(page, *parts_and_property):
    """The contrast of a property's colour to the page, for each part, as WCAG 2 computes it."""
    *parts, name = parts_and_property
    script = """
    const canvas = new OffscreenCanvas(1, 1).getContext("2d");
    const luminance = (...colors) => {
      for (const color of colors) {
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
      }
      const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) =>
        value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.backgroundColor = "Canvas";
    const ground = getComputedStyle(probe).backgroundColor;
    const root = document.querySelector("jobtastic-progress").shadowRoot;
    return arguments[0].map((part) => {
      const color = getComputedStyle(root.querySelector(`[part=${part}]`))[arguments[1]];
      const [low, high] = [luminance(ground), luminance(ground, color)].sort((a, b) => a - b);
      return (high + 0.05) / (low + 0.05);
    });
    """
    found = page.run(script, parts, name)
    print(parts_and_property, found)
    return found
