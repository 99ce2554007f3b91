"""What the README, the other pages and the docstrings show is true."""

from __future__ import annotations

import dataclasses
import doctest
import itertools
import json
import os
import pkgutil
import re
import shutil
import socket
import subprocess
import sys
import urllib.request
import venv
from pathlib import Path

import pytest

import jobtastic_signals
from tests.support.pages import DOCS, ROOT, blocks_of, write_files
from tests.support.rare import rare
from tests.support.servers import redis_server, reserve_port, running, wait_until
from tests.support.unit_apps import nothing_shared
from tests.support.workers.projects import ENDS_BY

README = (ROOT / "README.md").read_text()


def first_example() -> str:
    return re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]  # type: ignore[index]


def test_the_first_example_is_short():
    lines = [line for line in first_example().splitlines() if line.strip()]
    assert len(lines) <= 15


BLOB = "https://github.com/jobtastic-signals/jobtastic-signals/blob/main/"
RAW = "https://raw.githubusercontent.com/jobtastic-signals/jobtastic-signals/main/"


def test_all_links_of_the_readme_work_on_pypi():
    """They are absolute, and those into this repository lead to a file that is there."""
    targets = re.findall(r"\]\(([^)]+)\)|^\[[^]]+\]: (\S+)|src=\"(http[^\"]+)\"", README, re.MULTILINE)
    links = {target for each in targets for target in each if target}
    assert [link for link in links if not link.startswith("https://")] == []
    for link in links:
        if link.startswith((BLOB, RAW)):
            assert (ROOT / link.removeprefix(BLOB).removeprefix(RAW).partition("#")[0]).is_file(), link
    used = {label.lower() for pair in re.findall(r"\[([^]]+)\](?:\[([^]]+)\])?", README) for label in pair}
    defined = {label.lower() for label in re.findall(r"^\[([^]]+)\]: ", README, re.MULTILINE)}
    assert defined - used == set()


@pytest.mark.thorough
def test_the_first_screen_works_as_typed_in_a_new_environment(tmp_path: Path):
    """As typed, but for the place of the package and the port: two visits share a run, which ends."""
    first_screen = README.partition("These commands")[0]
    blocks = re.findall(r"```(\w*)\n(.*?)```", first_screen, re.DOTALL)
    (_, install), _, _, (_, worker), (_, web) = blocks
    assert [kind for kind, _ in blocks] == ["", "python", "python", "console", "console"]
    environment = in_new_environment(tmp_path, install)
    write_files(ROOT / "README.md", tmp_path)
    port, log = reserve_port(), tmp_path / "worker.log"
    address = f"http://127.0.0.1:{port}"
    page = [*in_shell(tmp_path, web), "--port", str(port)]
    with (
        running(in_shell(tmp_path, worker), log, environment, by=ENDS_BY),
        running(page, tmp_path / "web.log", environment),
    ):
        wait_until(lambda: b" ready." in log.read_bytes() and is_open(port), what="the worker and the page")
        pages = [read(f"{address}/report/acme") for _ in range(2)]
        status, other = (re.findall(r'src="(/task/[^"]+/status/)"', page)[0] for page in pages)
        assert status.partition("~")[0] == other.partition("~")[0]
        wait_until(lambda: '"SUCCESS"' in read(address + status), what="the end of the run")
    assert log.read_text().count(" succeeded in ") == 1


@pytest.mark.thorough
def test_the_tutorial_works_as_typed(tmp_path: Path):
    """As typed, but for the port: calls that join, a bar that is followed to its end, and a leak warning."""
    page = DOCS / "tutorial.md"
    write_files(page, tmp_path)
    lines = [block.code for block in blocks_of(page) if block.language == "console"]
    worker, _, watch, web, leaking = lines
    (calls,) = [block.code for block in blocks_of(page) if "first.id" in block.code]
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    port, log = reserve_port(), tmp_path / "worker.log"
    address = f"http://127.0.0.1:{port}"
    site = [*in_shell(tmp_path, web), "--port", str(port)]
    with (
        running(in_shell(tmp_path, worker), log, environment, by=ENDS_BY),
        running(site, tmp_path / "web.log", environment),
    ):
        wait_until(lambda: b" ready." in log.read_bytes() and is_open(port), what="the worker and the page")
        assert in_folder(tmp_path, "-c", calls).stdout == "True\n"
        watching = tmp_path / "watch.log"
        with running(in_shell(tmp_path, watch), watching, environment, by=ENDS_BY):
            # The command may start after the end of a run, but not after the end of all.
            numbers = itertools.count()
            wait_until(
                lambda: read(f"{address}/report/{next(numbers)}") and "adding up" in watching.read_text(),
                what="the progress in the terminal",
                every=3,
            )
        status = re.findall(r'src="(/task/[^"]+/status/)"', read(f"{address}/report/globex"))[0]
        wait_until(lambda: '"SUCCESS"' in read(address + status), what="the end of the run", timeout=180)
    log = tmp_path / "leaking.log"
    with running(in_shell(tmp_path, leaking), log, environment, by=ENDS_BY):
        wait_until(lambda: b" ready." in log.read_bytes(), what="the worker")
        in_folder(tmp_path, "-c", "from leaking import leak\nfor _ in range(4): leak.delay()")
        wait_until(lambda: b"memleak_detected" in log.read_bytes(), what="the warning")
    assert log.read_text().count("warm_up") == 3


def in_shell(folder: Path, line: str) -> list[str]:
    """The command of a line that a page shows, in *folder*."""
    return ["sh", "-c", f"cd '{folder}' && exec {line.removeprefix('$ ').strip()} \"$@\"", "sh"]


def read(url: str) -> str:
    with urllib.request.urlopen(url) as reply:
        text: str = reply.read().decode()
        return text


def in_new_environment(folder: Path, install: str) -> dict[str, str]:
    """The environment of commands that have what *install* installs, with this package from a wheel."""
    (folder / "checkout").mkdir()
    shutil.copytree(ROOT / "jobtastic_signals", folder / "checkout" / "jobtastic_signals")
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder / "checkout")
    venv.create(folder / "venv", with_pip=True)
    pip = {**os.environ, "PATH": f"{folder}/venv/bin:{os.environ['PATH']}", "PYTHONPATH": ""}
    typed("pip wheel --quiet --no-deps --wheel-dir wheels ./checkout", folder, pip)
    (wheel,) = (folder / "wheels").iterdir()
    typed(install.replace("jobtastic-signals", str(wheel)), folder, pip)
    return {**pip, "XDG_CACHE_HOME": f"{folder}/cache"}


def typed(line: str, folder: Path, environment: dict[str, str]) -> str:
    """What a command prints in *folder*."""
    done = subprocess.run(
        line, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def in_folder(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with *arguments* in *folder*, with this package and nothing of the user's cache."""
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("shown", "tests", "outcome"),
    [
        rare(0, ["test_proj.py"], "1 failed, 3 passed"),
        (1, ["test_logged.py", "-k", "release"], r"1 failed, \d+ passed"),
    ],
    ids=["keys", "stores"],
)
def test_the_page_on_testing_shows_what_pytest_says(
    tmp_path: Path, shown: int, tests: list[str], outcome: str
):
    page = DOCS / "how-to" / "testing.md"
    write_files(page, tmp_path)
    done = in_folder(tmp_path, "-m", "pytest", "-p", "no:cacheprovider", "-rN", *tests)
    assert re.search(outcome, done.stdout), done.stdout
    says = re.findall(r"```text\n(.*?)```", page.read_text(), re.DOTALL)[shown]
    errors = [line.removeprefix("E       ") for line in done.stdout.splitlines() if line.startswith("E  ")]
    assert errors == says.splitlines()


@pytest.mark.parametrize("part", [["-k", "result"], rare([])], ids=["a part", "the whole suite"])
def test_the_store_of_the_page_on_extending_passes_the_suite(tmp_path: Path, part: list[str]):
    write_files(DOCS / "how-to" / "extending.md", tmp_path)
    done = in_folder(tmp_path, "-m", "pytest", "-p", "no:cacheprovider", "-q", "test_sqlite_store.py", *part)
    assert re.search(r"^\d+ passed(, \d+ deselected)? in", done.stdout, re.MULTILINE), done.stdout


SITES = {
    "flask": ["flask", "--app", "flask_site", "run", "--port"],
    "django": ["django", "runserver", "--settings", "settings", "--pythonpath", ".", "--noreload"],
    "fastapi": ["uvicorn", "fastapi_site:app", "--port"],
}


@pytest.mark.parametrize("framework", SITES)
def test_the_sites_that_pages_show_tell_the_status(framework: str, tmp_path: Path):
    """As typed, but for the place of Redis."""
    write_files(DOCS / "how-to" / f"{framework}.md", tmp_path)
    port, log = str(reserve_port()), tmp_path / "site.log"
    address = f"http://127.0.0.1:{port}"
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    with redis_server(tmp_path) as url:
        for file in tmp_path.glob("*.py"):
            text = file.read_text().replace("redis://localhost", url)
            file.write_text(text.replace('"db.sqlite3"', repr(str(tmp_path / "db.sqlite3"))))
        if framework == "django":
            migrated = in_folder(tmp_path, "-m", "django", "migrate", "--settings", "settings")
            assert migrated.returncode == 0, migrated.stderr
        with running([sys.executable, "-m", *SITES[framework], port], log, environment):
            wait_until(lambda: is_open(int(port)), what="the site")
            start = urllib.request.Request(f"{address}/reports?customer=acme", b"customer=acme")
            with urllib.request.urlopen(start) as reply:
                status = json.load(reply)["status"]
            with urllib.request.urlopen(address + status) as reply:
                task = json.load(reply)["task"]
            with urllib.request.urlopen(f"{address}/reports/acme") as reply:
                page = reply.read().decode()
            with urllib.request.urlopen(f"{address}/task/progress.js") as reply:
                assert b"customElements" in reply.read()
    assert (task["status"], len(task["id"])) == ("PENDING", 36), log.read_text()
    assert f'src="{status.partition("~")[0]}~' in page  # the same id: this call joined


OWNERS = """
from flask_owners import app, celery_app

celery_app.conf.update(broker_url="memory://", result_backend="cache+memory://", jobtastic_store="memory://")
one, other, stranger = app.test_client(), app.test_client(), app.test_client()
ids = {client.post("/reports", data={"customer": "acme"}).json["id"] for client in (one, other)}
path = f"/task/{ids.pop()}/status/"
print(len(ids), *(client.get(path).status_code for client in (one, other, stranger)))
"""


def test_the_site_with_owners_that_a_page_shows_admits_all_who_asked(tmp_path: Path):
    write_files(DOCS / "reference" / "http.md", tmp_path)
    done = in_folder(tmp_path, "-c", OWNERS)
    assert done.stdout == "0 200 200 403\n", done.stderr


OPERATORS = """
import base64, json
import itsdangerous
from django.conf import settings

settings.configure(ROOT_URLCONF="urls", ALLOWED_HOSTS=["testserver"], MIDDLEWARE=["django_user.signed_in"])
import django

django.setup()
from django.test import Client
from fastapi_operators import app as fastapi_app
from flask_operators import app as flask_app
from proj import celery_app
from tests.support.web.asgi_site import body_of

celery_app.conf.update(broker_url="memory://", result_backend="cache+memory://", jobtastic_store="memory://")
flask_client = flask_app.test_client()
seen = [flask_client.get("/jobtastic/").status_code]
with flask_client.session_transaction() as session:
    session["role"] = "support"
seen.append(flask_client.get("/jobtastic/").status_code)
headers = [{"user": user} for user in ("nobody", "staff")]
seen += [Client().get("/jobtastic/", headers=each).status_code for each in headers]
role = base64.b64encode(json.dumps({"role": "operations"}).encode())
cookie = itsdangerous.TimestampSigner("of your own").sign(role)
for headers in ([], [(b"cookie", b"session=" + cookie)]):
    seen.append(b"Nothing runs or waits." in body_of(fastapi_app, "/jobtastic/", headers))
print(*seen)
"""

DJANGO_USER = """
from types import SimpleNamespace

def signed_in(get_response):
    def answer(request):
        is_staff = request.headers["user"] == "staff"
        request.user = SimpleNamespace(is_staff=is_staff, is_superuser=False)
        return get_response(request)
    return answer
"""


def test_the_operator_pages_that_a_page_shows_admit_whom_they_say(tmp_path: Path):
    write_files(DOCS / "how-to" / "operator-page.md", tmp_path)
    (tmp_path / "django_user.py").write_text(DJANGO_USER)
    done = in_folder(tmp_path, "-c", OPERATORS)
    assert done.stdout == "403 200 403 200 False True\n", done.stderr


CANCELLING = """
import flask_cancel, proj

proj.celery_app.conf.update(broker_url="memory://", result_backend="cache+memory://", jobtastic_store="memory://")
client = flask_cancel.app.test_client()
status = client.post("/reports", data={"customer": "ada"}).json["status"]
cancel = status.replace("/status/", "/cancel/")
replies = [client.post(cancel), client.post(cancel, headers={"X-Jobtastic": "cancel"})]
print(*(reply.status_code for reply in replies), replies[-1].json["revoked"])
"""


def test_the_site_that_cancels_revokes_what_nobody_wants(tmp_path: Path):
    write_files(DOCS / "reference" / "http.md", tmp_path)
    done = in_folder(tmp_path, "-c", CANCELLING)
    assert done.stdout == "403 200 True\n", done.stderr


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


USES_OF_EVENTS = """
import breadcrumbs, leaks, metrics
import sentry_sdk
from celery.app.trace import build_tracer
from jobtastic_signals import events
from prometheus_client import REGISTRY
from proj import app, report

app.conf.update(broker_url="memory://", result_backend="cache+memory://", jobtastic_store="memory://")
crumbs = []
keep = lambda crumb, hint: crumbs.append(crumb) or crumb
sentry_sdk.init(dsn="http://key@127.0.0.1:1/1", before_breadcrumb=keep, transport=lambda event: None)

first = report.delay("ada")
tracer = build_tracer(report.name, app.tasks[report.name], app=app)
tracer(first.id, ("ada",), {}, {"id": first.id})
assert report.delay("ada").id == first.id
counted = {
    outcome: REGISTRY.get_sample_value("task_calls_total", {"task": "proj.report", "outcome": outcome})
    for outcome in ("published", "cached")
}
assert counted == {"published": 1.0, "cached": 1.0}, counted

tracer("other", ("ada",), {}, {"id": "other"})
[crumb] = [crumb for crumb in crumbs if crumb["category"] == "jobtastic"]
assert crumb["message"] == "proj.report other" and crumb["data"]["owner"] == first.id, crumb

leak = {"growth": 60_000_000, "leak": True, "task_kwargs": {"customer": "ada"}}
events.memory_leak_detected.send(app.tasks[report.name], **leak)
assert leaks.mails == ["proj.report leaks 60 MB with {'customer': 'ada'}"], leaks.mails
"""


def test_the_uses_of_events_that_a_page_shows_work(tmp_path: Path):
    write_files(DOCS / "reference" / "events.md", tmp_path)
    (tmp_path / "uses.py").write_text(USES_OF_EVENTS)
    done = in_folder(tmp_path, "-W", "error::DeprecationWarning:jobtastic_signals", "uses.py")
    assert done.returncode == 0, done.stderr


WHILE_THE_BROKER_IS_DOWN = """
from proj import app
app.conf.update(
    broker_url="redis://127.0.0.1:1/0", result_backend="cache+memory://", jobtastic_store="memory://"
)
import asyncio
from async_views import start_async
from canvases import start_both
from signatures import start_slowly
from views import count, start
assert start("acme").state == "FAILURE"
assert count("acme").get() == 4
assert [call("acme").state for call in (start_slowly, start_both)] == ["FAILURE"] * 2
assert asyncio.run(start_async("acme")).state == "FAILURE"
"""


def test_the_views_that_the_page_on_brokers_shows_answer_without_one(tmp_path: Path):
    write_files(DOCS / "how-to" / "broker.md", tmp_path)
    (tmp_path / "uses.py").write_text(WHILE_THE_BROKER_IS_DOWN)
    done = in_folder(tmp_path, "uses.py")
    assert done.returncode == 0, done.stderr


EXPORTS_OF_NUMBERS = """
import os
os.environ["PROMETHEUS_MULTIPROC_DIR"] = "."
import exporter, multiprocess_metrics, telemetry
from prometheus_client import REGISTRY
from proj import report

report.delay("acme")
assert REGISTRY.get_sample_value("jobtastic_observed_calls_total", {"task": "proj.report"}) == 1
assert b'jobtastic_observed_calls_total{task="proj.report"} 1.0' in multiprocess_metrics.metrics()
"""


def test_the_exports_that_the_page_on_stats_shows_work(tmp_path: Path):
    write_files(DOCS / "how-to" / "observability.md", tmp_path)
    (tmp_path / "uses.py").write_text(EXPORTS_OF_NUMBERS)
    done = in_folder(tmp_path, "uses.py")
    assert done.returncode == 0, done.stderr


def test_the_page_on_stats_names_all_numbers():
    page = (DOCS / "how-to" / "observability.md").read_text()
    numbers = [field.name for field in dataclasses.fields(jobtastic_signals.TaskStats)]
    assert [name for name in numbers if f"`{name}`" not in page] == []


def test_the_commands_for_a_fresh_machine_stand_there():
    assert "pip install tox && tox -e demo\npip install tox && tox\n" in README


def modules() -> list[str]:
    """All modules but those of the demo and of the Django app, which need a project around them."""
    found = pkgutil.walk_packages(jobtastic_signals.__path__, "jobtastic_signals.")
    names = ["jobtastic_signals", *(module.name for module in found)]
    return [name for name in names if not re.match(r"jobtastic_signals\.(demo|django)\b", name)]


@pytest.mark.parametrize("name", modules())
def test_the_examples_in_docstrings_run(name: str):
    with nothing_shared():
        assert doctest.testmod(pkgutil.resolve_name(name)).failed == 0
