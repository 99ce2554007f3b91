"""The demo, run as its users run it: in a process of its own, with a real worker."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from celery import Celery

import jobtastic_signals
from jobtastic_signals.demo.results import Backend
from tests.support.rare import rare
from tests.support.servers import wait_until

pytest.importorskip("rich", reason="the demo needs the extra 'demo'")

ROOT = Path(jobtastic_signals.__file__).parents[1]
DEMO = ("-m", "jobtastic_signals.demo")
SCENES = (
    "A double click",
    "The same question later",
    "Equal jobs in a batch",
    "A killed process",
    "A dead broker",
    "A leak",
)

PHONE = {"width": 360, "height": 640, "deviceScaleFactor": 1, "mobile": True}
LAYOUT = """
const all = (selector) => [...document.querySelectorAll(selector)];
const scrolls = (part) =>
  part.scrollWidth > part.clientWidth + 1 && getComputedStyle(part).overflowX !== "visible";
return [
  all("section, .more").map((part) => part.getBoundingClientRect().bottom + scrollY),
  all("*").filter(scrolls).map(({tagName}) => tagName),
];
"""

#: Seconds after which a demo that hangs is given up.
PATIENCE = 120


@contextmanager
def starting(*arguments, folder):
    environment = {
        name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "TTY_COMPATIBLE")
    }
    # A broker that somebody has in the environment is not for a demo.
    environment.update(
        TMPDIR=str(folder), COLUMNS="80", PYTHONUTF8="1", CELERY_BROKER_URL="amqp://nowhere.invalid"
    )
    demo = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        text=True,
        encoding="utf-8",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield demo
    finally:
        demo.kill()
        demo.wait()
        for process in left_in(folder):
            process.kill()


def run(*arguments, folder):
    """Run the demo to its end; its exit status, what it printed, and what it printed as errors."""
    start = time.monotonic()
    with starting(*arguments, folder=folder) as demo:
        printed, errors = demo.communicate(timeout=PATIENCE)
        print(printed, errors, f"The demo took {time.monotonic() - start:.1f} s.")
        assert left_in(folder) == []
        assert list(folder.iterdir()) == []
    return demo.returncode, printed, errors


def left_in(folder):
    """The processes that belong to a demo in *folder*."""
    return [process for process in psutil.process_iter() if is_of_demo_in(folder, process)]


def is_of_demo_in(folder, process):
    try:
        return process.environ().get("JOBTASTIC_DEMO_FOLDER", "").startswith(str(folder))
    except psutil.Error:
        return False


def verdicts(printed):
    """The lines of the summary, by their scene."""
    _, _, summary = printed.partition("Summary ")
    return {scene: line for scene in SCENES for line in summary.splitlines() if line.startswith(f"{scene}  ")}


def part(printed, scene):
    """What is printed of *scene* before the summary, as one line."""
    _, _, shown = printed.partition(f". {scene} ")
    return " ".join(re.split(r"^(?:\d\. .*|Summary) ─", shown, maxsplit=1, flags=re.MULTILINE)[0].split())


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return run(*DEMO, folder=tmp_path_factory.mktemp("demo"))


def test_everything_happens_as_promised(demo):
    status, printed, _ = demo
    assert status == 0
    assert "✘" not in printed
    lines = verdicts(printed)
    assert set(lines) == set(SCENES)
    assert all(line.rstrip().endswith("✔ yes") for line in lines.values())


def test_prints_nothing_but_the_show(demo):
    """No warning of Celery's, no control codes into a pipe, and nothing wider than the terminal."""
    _, printed, errors = demo
    assert errors == ""
    assert "\x1b" not in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_shows_the_very_program_that_runs(demo):
    _, printed, _ = demo
    source = (ROOT / "jobtastic_signals/demo/tasks.py").read_text()
    shown = "\n".join(line.removeprefix("    ") for line in printed.splitlines())
    assert source[source.index("app = Celery(") :].strip() in shown


def test_tells_what_a_call_comes_to_while_the_broker_is_down(demo):
    _, printed, _ = demo
    shown = part(printed, "A dead broker")
    assert re.search(r"✔ delay_or_fail gave a failed result after [\d.]+ m?s", shown)
    assert re.search(r'✔ whoever reads it by its id gets "\[Errno \d+\] Connection refused"', shown)
    assert re.search(r"✔ 3 more calls, which took [\d.]+ m?s together, gave a failed result", shown)
    assert '✔ delay_or_eager gave "the August report" after' in shown
    assert "the calling process had 1 run" in shown


def test_quotes_the_warning_of_the_task_that_leaks_and_has_none_of_the_other(demo):
    _, printed, _ = demo
    shown = part(printed, "A leak")
    warning = r'"leaky\[[\w-]{36}\]: Jobtastic:memleak memleak_detected\. memory_increase=0000[6-9] unit=MB"'
    assert re.search(rf"✔ 10 runs of leaky: the worker's log has {warning}", shown)
    assert "✔ 10 runs of tidy: the log has no warning" in shown


@pytest.mark.thorough
def test_is_not_as_promised_without_the_plugin(tmp_path):
    """What plain Celery does right has its tick, and no scene as a whole has."""
    status, printed, errors = run(*DEMO, "--without-plugin", folder=tmp_path)
    assert (status, errors) == (1, "")
    assert "✘ 2 clicks within" in printed
    assert '✔ both got "the May report"' in printed
    outage = part(printed, "A dead broker")
    assert len(re.findall(r"✘ delay raised OperationalError after [\d.]+ s", outage)) == 2
    assert "✘ there is no id to read it by" in outage
    leak = part(printed, "A leak")
    assert "✘ 10 runs of leaky: the worker's log has no warning" in leak
    assert "✔ 10 runs of tidy: the log has no warning" in leak
    lines = verdicts(printed)
    assert set(lines) == set(SCENES)
    assert all(line.rstrip().endswith("✘ no") for line in lines.values())
    assert f"Not as promised: {SCENES[0]}" in printed


@pytest.mark.parametrize("signum", [signal.SIGINT, rare(signal.SIGTERM)])
def test_tidies_up_when_interrupted(tmp_path, signum):
    if signal.getsignal(signum) is signal.SIG_IGN:
        pytest.skip("the demo ignores what its parent ignores, as under nohup")
    with starting(*DEMO, folder=tmp_path) as demo:
        while not left_in(tmp_path) and demo.poll() is None:
            time.sleep(0.05)
        time.sleep(0.5)
        demo.send_signal(signum)
        demo.send_signal(signum)
        printed, errors = demo.communicate(timeout=PATIENCE)
        assert (demo.returncode, errors) == (130, "")
        assert "Interrupted" in printed
        assert left_in(tmp_path) == []
        assert list(tmp_path.iterdir()) == []


def test_shows_the_log_of_a_worker_that_does_not_start(tmp_path):
    program = (
        "import sys; from jobtastic_signals.demo import run, worker;"
        "worker._COMMAND = (sys.executable, '-c', 'raise SystemExit(\"no work today\")');"
        "sys.exit(run.perform(plugin=True))"
    )
    status, printed, errors = run("-c", program, folder=tmp_path)
    assert (status, errors) == (1, "")
    assert "✘ the worker ended with status 1 before it was ready" in printed
    assert "no work today" in printed
    assert "Not as promised: " + ", ".join(SCENES) in " ".join(printed.split())


def test_names_the_extra_when_rich_is_missing(tmp_path):
    program = (
        "import sys; sys.modules['rich'] = None; from jobtastic_signals.demo.__main__ import main; main([])"
    )
    status, printed, errors = run("-c", program, folder=tmp_path)
    assert (status, printed) == (2, "")
    assert "pip install 'jobtastic-signals[demo]'" in errors


def test_refuses_an_option_that_it_does_not_have(tmp_path):
    status, _, errors = run(*DEMO, "--with-fireworks", folder=tmp_path)
    assert status == 2
    assert "--with-fireworks" in errors


class Site:
    """The demo's page, as its browser and other programs reach it."""

    def __init__(self, process):
        self.process = process
        self.printed = ""
        while not (address := re.search(r"http://127\.0\.0\.1:\d+/", self.printed)):
            line = process.stdout.readline()
            assert line, (self.printed, process.stderr.read())
            self.printed += line
        self.url = address[0]

    def request(self, path, method="GET", **headers):
        """The status, the headers, and the text or the JSON."""
        request = urllib.request.Request(self.url + path.lstrip("/"), method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                status, head, text = answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                status, head, text = error.code, error.headers, error.read().decode()
        return status, head, json.loads(text) if head.get_content_type() == "application/json" else text

    def click(self):
        return self.request("report", "POST")[2]

    def forget(self):
        return self.request("forget", "POST")[2]["forgotten"]

    def tally(self):
        return self.request("tally")[2]

    def task(self, click):
        return self.request(click["status"])[2]["task"]

    def end(self, signum=signal.SIGTERM):
        self.process.send_signal(signum)
        printed, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, self.printed + printed, errors


@contextmanager
def serving(*options, folder):
    pytest.importorskip("flask", reason="the demo's page needs the extra 'demo'")
    with starting(*DEMO, "--web", *options, folder=folder) as process:
        yield Site(process)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    with serving(folder=folder) as site:
        yield site
        assert site.end()[0] == 0


def test_the_page_may_run_nothing_but_its_own_files(site):
    status, head, page = site.request("/")
    assert status == 200
    assert head["Content-Security-Policy"].startswith("default-src 'self';")
    assert "Make the report" in page
    assert "herd_avoidance_timeout" in page
    own = re.findall(r'(?:src|href)="(/[^"]+)"', page)
    assert len(own) == 3
    for path in [*own, "/task/progress.js"]:
        assert site.request(path)[0] == 200
    assert site.request("/static/page.py")[0] == 404


def test_clicks_share_a_run_and_then_its_result(site):
    site.forget()
    before = site.tally()
    first, second = site.click(), site.click()
    assert (first["how"], second["how"]) == ("started", "joined")
    assert first["id"] == second["id"]
    seen = []

    def ended():
        seen.append(site.task(first))
        return seen[-1]["status"] == "SUCCESS"

    wait_until(ended, timeout=40, what="the report", every=0.1)
    running = [task["result"] for task in seen if task["status"] == "PROGRESS"]
    percents = [progress["progress_percent"] for progress in running]
    assert percents == sorted(percents)
    assert len(set(percents)) > 20
    assert {"Adding up January", "Adding up December"} <= {progress["message"] for progress in running}
    third = site.click()
    assert (third["how"], third["id"]) == ("cached", first["id"])
    after = site.tally()
    assert (after["clicks"] - before["clicks"], after["runs"] - before["runs"]) == (3, 1)
    assert (site.forget(), site.forget()) == (True, False)


@pytest.mark.thorough
def test_two_tabs_watch_one_run(site, tmp_path):
    pytest.importorskip("selenium")
    from tests.support.web.browser import Page, chromium

    site.forget()
    with chromium(tmp_path) as driver:
        tabs = [Page(driver).open(site.url)]
        driver.switch_to.new_window("window")
        tabs.append(Page(driver).open(site.url))
        tabs[1].cdp("Emulation.setDeviceMetricsOverride", **PHONE)
        before = [layout(tab) for tab in tabs]
        for tab, what in zip(tabs, ["started a run", "joined the run in progress"], strict=True):
            tab.run("document.getElementById('make').click()")
            wait_until(lambda tab=tab: log(tab), what="the answer to the click")
            assert what in log(tab)
        for percent in (0, 20, 40):
            for tab in tabs:
                seen = wait_until(lambda tab=tab, percent=percent: beyond(tab, percent), what=f"{percent} %")
                assert seen["width"] == pytest.approx(int(seen["now"]), abs=1)
                assert seen["message"].startswith("Adding up ")
            assert [layout(tab) for tab in tabs] == before
        for tab in tabs:
            wait_until(lambda tab=tab: tab.look()["state"] == "success", timeout=40, what="the end")
            wait_until(lambda tab=tab: "12 months, all is well." in text(tab), what="the report")
            tab.run("document.getElementById('make').click()")
            wait_until(lambda tab=tab: "answered from the cache" in log(tab), what="the cached answer")
            assert tab.complaints() == []
        # Nothing has jumped, and nothing scrolls sideways.
        assert [layout(tab) for tab in tabs] == before
        assert [sideways for _, sideways in before] == [[], []]
        assert len({re.search(r"[0-9a-f]{8}", log(tab))[0] for tab in tabs}) == 1  # type: ignore[index]


def beyond(tab, percent):
    """What the element in *tab* shows, if that is more than *percent*."""
    seen = tab.look()
    return seen["now"] is not None and int(seen["now"]) > percent and seen


def layout(tab):
    """Where the parts of the page end, and what scrolls sideways."""
    return tab.run(LAYOUT)


def log(tab):
    return tab.run("return document.getElementById('log').innerText")


def text(tab):
    return tab.run("return document.body.innerText")


@pytest.mark.parametrize(
    ("headers", "refused"),
    [({"Origin": "https://example.com"}, 403), ({"Origin": "null"}, 403), ({"Host": "example.com"}, 400)],
)
def test_another_site_cannot_click(site, headers, refused):
    before = site.tally()
    assert site.request("report", "POST", **headers)[0] == refused
    assert site.tally() == before
    assert site.request("tally", Origin=site.url.rstrip("/"))[0] == 200


@pytest.mark.parametrize("signum", [signal.SIGINT, rare(signal.SIGTERM)])
def test_the_page_ends_tidily_in_the_midst_of_a_report(tmp_path, signum):
    if signal.getsignal(signum) is signal.SIG_IGN:
        pytest.skip("the demo ignores what its parent ignores, as under nohup")
    with serving(folder=tmp_path) as site:
        first = site.click()
        wait_until(lambda: site.task(first)["status"] == "PROGRESS", what="the report begun")
        status, printed, errors = site.end(signum)
        assert (status, errors) == (0, "")
        assert "The worker has been stopped, and its folder removed." in printed
        assert "\x1b" not in printed
        assert left_in(tmp_path) == []
        assert list(tmp_path.iterdir()) == []


def test_without_the_plugin_each_click_is_a_run(tmp_path):
    with serving("--without-plugin", folder=tmp_path) as site:
        assert site.click()["id"] != site.click()["id"]
        wait_until(lambda: site.tally() == {"clicks": 2, "runs": 2}, what="two runs")
        assert site.request("forget", "POST")[0] == 404
        assert "Forget the result" not in site.request("/")[2]
        assert site.end()[0] == 0


def test_names_the_extra_when_flask_is_missing(tmp_path):
    program = (
        "import sys; sys.modules['flask'] = None;"
        "from jobtastic_signals.demo.__main__ import main; main(['--web'])"
    )
    status, printed, errors = run("-c", program, folder=tmp_path)
    assert (status, printed) == (2, "")
    assert "flask: pip install 'jobtastic-signals[demo]'" in errors


def test_a_result_is_never_seen_by_halves(tmp_path):
    backend = Backend(app=Celery(), url=f"file://{tmp_path}")
    values = [b"a" * 100_000, b"b" * 50_000]
    seen = set()
    backend.set(b"result", values[0])

    def read():
        while not over.is_set():
            seen.add(backend.get(b"result"))

    over = threading.Event()
    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(300):
        backend.set(b"result", values[turn % 2])
    over.set()
    reader.join()
    assert seen == set(values)
    assert [path.name for path in tmp_path.iterdir()] == ["result"]
