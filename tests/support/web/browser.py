"""Headless Chromium as Debian installs it, and what a page with our element shows."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from tests.support.servers import need, wait_until

ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

#: The first of our elements in a page, and what is in it.
ELEMENT = "document.querySelector('jobtastic-progress')"
INSIDE = f"{ELEMENT}.shadowRoot"

#: What a page shows, with the animations' ends in place of their course.
LOOK = """
const element = document.querySelectorAll("jobtastic-progress")[arguments[0]];
const part = (name) => element.shadowRoot.querySelector(`[part=${name}]`);
const [bar, track] = [part("bar"), part("track")];
element.shadowRoot.getAnimations().forEach((animation) => animation.transitionProperty && animation.finish());
return {
  state: element.getAttribute("state"),
  message: part("message").textContent,
  percent: part("percent").textContent,
  foot: part("foot").textContent,
  title: track.title,
  spoken: part("spoken").textContent,
  now: track.getAttribute("aria-valuenow"),
  width: Math.round(100 * bar.getBoundingClientRect().width / track.getBoundingClientRect().width),
  moving: track.getAnimations({subtree: true}).some(({playState}) => playState === "running"),
  task: element.task,
  status: element.task?.status,
  hidden: document.hidden,
};
"""

#: Keeps every event of our elements, from before the first one.
LISTEN = """
window.told = [];
for (const name of ["progress", "success", "failure", "error", "cancel", "left"]) {
  document.addEventListener(`jobtastic-${name}`, ({type, detail}) => told.push({type, detail}));
}
"""


#: When the requests to paths that contain something began, in milliseconds.
REQUESTS = """
const entries = performance.getEntriesByType("resource").filter(({name}) => name.includes(arguments[0]));
return entries.map(({startTime}) => startTime);
"""


def new_id() -> str:
    """A task id that no other test uses."""
    return str(uuid.uuid4())


def progress(percent: float, time_remaining: float = -1, **more: Any) -> dict[str, Any]:
    """The meta of a run in progress."""
    meta = {"progress_percent": percent, "time_remaining": time_remaining}
    return {**meta, "completed": None, "total": None, "message": None, **more}


class Page:
    """A tab or window of its own, and what our elements in it show and tell."""

    def __init__(self, driver: Chrome, kind: str = "tab") -> None:
        driver.switch_to.new_window(kind)
        self.driver = driver
        self.handle = driver.current_window_handle
        self.cdp("Page.addScriptToEvaluateOnNewDocument", source=LISTEN)
        driver.get_log("browser")

    def close(self) -> None:
        self.driver.switch_to.window(self.handle)
        self.driver.close()
        self.driver.switch_to.window(self.driver.window_handles[0])

    def open(self, url: str) -> Page:
        self.driver.switch_to.window(self.handle)
        self.driver.get(url)
        return self

    def run(self, script: str, *arguments: Any) -> Any:
        self.driver.switch_to.window(self.handle)
        return self.driver.execute_script(script, *arguments)

    def cdp(self, command: str, **parameters: Any) -> dict[str, Any]:
        self.driver.switch_to.window(self.handle)
        return self.driver.execute_cdp_cmd(command, parameters)

    def requests(self, part: str = "/status/") -> list[float]:
        """When the answered requests to paths with *part* began, in milliseconds."""
        return self.run(REQUESTS, part)

    def look(self, index: int = 0) -> dict[str, Any]:
        return self.run(LOOK, index)

    def shows(self, index: int = 0, **expected: Any) -> dict[str, Any]:
        """Wait until the element shows *expected*; all that it shows then."""
        seen: dict[str, Any] = {}

        def shown() -> bool:
            seen.update(self.look(index))
            return all(seen[name] == value for name, value in expected.items())

        try:
            wait_until(shown, what=f"{expected}")
        finally:
            print(seen)
        return seen

    def told(self, *names: str) -> list[dict[str, Any]]:
        """The element's events so far, or those named so."""
        events = self.run("return told")
        return [event for event in events if not names or event["type"].removeprefix("jobtastic-") in names]

    def complaints(self) -> list[str]:
        """What the browser's log has against the page, other than requests that the test lets fail."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["source"] != "network" and entry["level"] in ("WARNING", "SEVERE")
        ]


@contextmanager
def chromium(folder: Path) -> Iterator[Chrome]:
    """A browser with a profile of its own in *folder*."""
    options = ChromeOptions()
    options.binary_location = need("chromium")
    for argument in (*ARGUMENTS, f"--user-data-dir={folder}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options, ChromeService(need("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()
