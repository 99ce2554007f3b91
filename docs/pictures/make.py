"""Make the pictures of the README from the tutorial's own program: ``tox -e pictures``.

It starts a worker and the page, asks for three reports, and takes one picture of the element in Chromium and
one of ``jobtastic watch`` in a terminal. Then it stops all of them.
"""

from __future__ import annotations

import os
import pty
import re
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyte
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from tests.support.pages import DOCS, ROOT, write_files
from tests.support.servers import accepts, need, reserve_port, running, wait_until
from tests.support.web.browser import ARGUMENTS

HERE = Path(__file__).parent
COLUMNS, LINES = 80, 8

#: At least this much is done when a picture is taken.
PERCENT = 40

TERMINAL = """<!doctype html><meta charset="utf-8"><style>
html, body {{ margin: 0; background: #fff }}
div {{ display: inline-block; padding: 14px 18px; border-radius: 8px; background: #1e2127; color: #d7dae0 }}
pre {{ margin: 0; font: 13px/1.5 "DejaVu Sans Mono", monospace }}
</style><div><pre>{}</pre></div>"""
COLOURS = {
    "default": "#d7dae0",
    "magenta": "#d55fde",
    "cyan": "#2bbac5",
    "green": "#89ca78",
    "red": "#ef596f",
}


def main() -> None:
    """Make both pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), reserve_port()
        write_files(DOCS / "tutorial.md", folder)
        os.chdir(folder)
        environment = {"PYTHONPATH": f"{folder}:{ROOT}", "XDG_CACHE_HOME": str(folder / "cache")}
        celery = [sys.executable, "-m", "celery", "-A", "proj"]
        worker = [*celery, "worker", "--loglevel=INFO", "--concurrency=2"]
        web = [sys.executable, "-m", "flask", "--app", "web", "run", "--port", str(port)]
        log = folder / "worker.log"
        with (
            running(worker, log, environment),
            running(web, folder / "web.log", environment),
            browser() as driver,
        ):
            wait_until(
                lambda: b" ready." in log.read_bytes() and accepts(("127.0.0.1", port)), what="the servers"
            )
            address = f"http://127.0.0.1:{port}/report/"
            for customer in ("globex", "acme"):
                urllib.request.urlopen(address + customer).close()
            screen = watched({**os.environ, **environment})
            take_element(driver, address + "initech")
            take_terminal(driver, screen)


@contextmanager
def browser() -> Iterator[Chrome]:
    """Yield a Chromium without a window, for pictures at twice the size."""
    options = ChromeOptions()
    options.binary_location = need("chromium")
    for argument in (*ARGUMENTS, "--force-device-scale-factor=2", "--window-size=800,600"):
        options.add_argument(argument)
    driver = Chrome(options, ChromeService(need("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def take_element(driver: Chrome, address: str) -> None:
    """Take the element when some of the report is done."""
    driver.get(address)
    element = driver.find_element("tag name", "jobtastic-progress")
    script = "return document.querySelector('jobtastic-progress').task?.result?.progress_percent ?? 0"
    wait_until(lambda: driver.execute_script(script) >= PERCENT, what="progress")
    driver.execute_script(
        "arguments[0].style.cssText = 'display: block; width: 24rem; padding: 1rem; font-family: sans-serif'",
        element,
    )
    (HERE / "element.png").write_bytes(element.screenshot_as_png)


def take_terminal(driver: Chrome, screen: pyte.Screen) -> None:
    """Draw what the terminal showed."""
    page = Path("terminal.html").absolute()
    rows = [row for row in map(str.rstrip, screen.display) if row]
    drawn = "\n".join(
        "".join(map(drawn_cell, (screen.buffer[y][x] for x in range(COLUMNS)))) for y in range(len(rows))
    )
    page.write_text(TERMINAL.format(f"$ celery -A proj jobtastic watch proj.report\n{drawn}"))
    driver.get(page.as_uri())
    (HERE / "terminal.png").write_bytes(driver.find_element("tag name", "div").screenshot_as_png)


def drawn_cell(cell: pyte.screens.Char) -> str:
    """Return one character as HTML."""
    colour = COLOURS.get(cell.fg, f"#{cell.fg}" if len(cell.fg) == 6 else COLOURS["default"])
    text = {"<": "&lt;", "&": "&amp;"}.get(cell.data, cell.data)
    return f'<span style="color:{colour}">{text}</span>'


def watched(environment: dict[str, str]) -> pyte.Screen:
    """Return the screen of ``jobtastic watch`` when both runs are under way."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    child, terminal = pty.fork()
    if child == 0:
        size = {"COLUMNS": str(COLUMNS), "LINES": str(LINES), "TERM": "xterm-256color"}
        command = [sys.executable, "-m", "celery", "-A", "proj", "jobtastic", "watch", "proj.report"]
        os.execvpe(command[0], command, {**environment, **size})
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            stream.feed(os.read(terminal, 65536))
            if (
                sum(int(percent) >= PERCENT for percent in re.findall(r"(\d+) %", "".join(screen.display)))
                >= 2
            ):
                return screen
        raise TimeoutError("\n".join(screen.display))
    finally:
        os.kill(child, 2)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
