"""``python -m jobtastic_signals.migrate`` finds other libraries in small projects, and says what to write."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import jobtastic_signals
from jobtastic_signals import Jobtastic
from jobtastic_signals.migrate.__main__ import main
from jobtastic_signals.migrate.base import Advice, Entries, Library
from jobtastic_signals.migrate.libraries import LIBRARIES
from jobtastic_signals.migrate.search import search
from jobtastic_signals.settings import SETTINGS
from tests.support.unit_apps import installed_on

ROOT = Path(jobtastic_signals.__file__).parents[1]

#: For each library a project, and what is found there: the file and line, and what to write there.
PROJECTS: dict[str, tuple[dict[str, str], list[str]]] = {
    "jobtastic": (
        {
            "tasks.py": """
from jobtastic import JobtasticTask

class Report(JobtasticTask):
    significant_kwargs = [("customer", str)]
    herd_avoidance_timeout = 60
    cache_duration: int = 0

    def calculate_result(self, customer, **kwargs):
        self.update_progress(1, 2)

    def warn_of_memory_leak(self, *usage): ...

Report.delay_or_run(customer="acme")
""",
            "settings.py": 'JOBTASTIC_CACHE = "shared"\n',
            "page.js": 'jQuery("#bar").djcelery({task_id: id});\n',
        },
        [
            "page.js:1 unchanged with status_routes",
            'settings.py:1 jobtastic_store: "django://alias"',
            "tasks.py:2 from jobtastic_signals.compat import JobtasticTask",
            "tasks.py:4 the same class of jobtastic_signals.compat",
            "tasks.py:5 significant_kwargs=[('customer', str)], unchanged",
            "tasks.py:6 herd_avoidance_timeout=60, unchanged",
            "tasks.py:7 cache_duration=0, unchanged",
            "tasks.py:9 unchanged with the base class",
            "tasks.py:10 unchanged; update_progress(done",
            "tasks.py:12 unchanged with the base class; otherwise a receiver",
            "tasks.py:14 delay_or_eager",
        ],
    ),
    "celery-once": (
        {
            "tasks.py": """
import celery_once
from celery_once import AlreadyQueued, QueueOnce

app.conf.ONCE = {
    "backend": "celery_once.backends.Redis",
    "settings": {"url": "redis://:secret@localhost/0", "blocking": True},
}

@app.task(base=QueueOnce, once={"keys": ["a"], "graceful": True})
def add(a, b): ...

class Slow(celery_once.QueueOnce):
    once = {"timeout": 60, "unlock_before_run": True}

add.apply_async((1, 2), once=choose())
""",
            "requirements.txt": "celery\ncelery_once>=3\njobtastic-signals\n",
        },
        [
            "requirements.txt:2 jobtastic-signals",
            "tasks.py:2 remove it",
            "tasks.py:3 DuplicateCallError",
            "tasks.py:3 no base class",
            "tasks.py:6 nothing; the URL of jobtastic_store",
            "tasks.py:7 nothing; no call waits",
            "tasks.py:7 jobtastic_store='redis://**@localhost/0'",
            "tasks.py:10 no base class; set options on the task, and call Jobtastic(app) once; herd",
            "tasks.py:10 herd_avoidance_timeout=3600 was the default",
            'tasks.py:10 on_duplicate="drop"',
            "tasks.py:10 significant_kwargs=['a']",
            "tasks.py:13 no base class",
            "tasks.py:14 herd_avoidance_timeout=60",
            'tasks.py:14 on_duplicate="rerun"',
            "tasks.py:16 one for each of keys, timeout, graceful, unlock_before_run",
        ],
    ),
    "celery-singleton": (
        {
            "proj/tasks.py": """
from celery_singleton import Singleton, clear_locks

@app.task(base=Singleton, unique_on=["a"], lock_expiry=10, raise_on_duplicate=True)
def add(a, b): ...

class Custom(Singleton):
    def on_duplicate(self, existing_task_id): ...

clear_locks(app)
app.conf["singleton_key_prefix"] = "locks"
app.conf.update(singleton_backend_url="redis://localhost/1")
""",
            "proj/settings.py": "CELERY_SINGLETON_LOCK_EXPIRY = 30\n",
        },
        [
            "proj/settings.py:1 herd_avoidance_timeout=30 on the tasks",
            "proj/tasks.py:2 no base class",
            "proj/tasks.py:2 nothing; claims end",
            "proj/tasks.py:4 no base class; set options on the task, and call Jobtastic(app) once; herd",
            "proj/tasks.py:4 herd_avoidance_timeout=10",
            'proj/tasks.py:4 on_duplicate="raise"',
            "proj/tasks.py:4 significant_kwargs=['a']",
            "proj/tasks.py:7 no base class",
            "proj/tasks.py:8 the option on_duplicate",
            "proj/tasks.py:10 nothing; claims end",
            "proj/tasks.py:11 jobtastic_namespace='locks'",
            "proj/tasks.py:12 jobtastic_store='redis://localhost/1'",
        ],
    ),
    "celery-heimdall": (
        {
            "tasks.py": """
from celery_heimdall import HeimdallTask, RateLimit

app.conf.heimdall_unique_timeout = 60

@app.task(
    base=HeimdallTask,
    heimdall={
        "unique": True,
        "key": lambda args, kwargs: args[0],
        "unique_wait_for_expiry": True,
        "rate_limit": RateLimit((2, 10)),
    },
)
def add(a, b):
    if add.only_after("hourly", 3600): ...
""",
        },
        [
            "tasks.py:2 no base class",
            "tasks.py:2 nothing; it has no counterpart. Celery's rate_limit",
            "tasks.py:4 herd_avoidance_timeout=60",
            "tasks.py:7 no base class",
            "tasks.py:9 herd_avoidance_timeout",
            "tasks.py:10 significant_kwargs with the arguments that lambda args, kwargs: args[0] uses",
            "tasks.py:11 cache_duration",
            "tasks.py:12 nothing; it has no counterpart. Celery's rate_limit",
            "tasks.py:16 nothing; call a task of its own",
        ],
    ),
    "celery-progress": (
        {
            "tasks.py": """
from celery_progress.backend import ProgressRecorder

@app.task(bind=True)
def count(self):
    recorder = ProgressRecorder(self)
    recorder.set_progress(1, 10, "counting")
    recorder.increment_progress()
""",
            "settings.py": 'INSTALLED_APPS = ["celery_progress"]\n',
            "urls.py": 'path("progress/", include("celery_progress.urls"))\n',
            "page.html": """
<script src="{% static 'celery_progress/celery_progress.js' %}"></script>
CeleryProgressBar.initProgressBar("{% url 'celery_progress:task_status' id %}");
""",
        },
        [
            "page.html:2 <script",
            "page.html:3 the address that the view passes",
            "settings.py:1 nothing; remove it",
            "tasks.py:2 from jobtastic_signals import update_progress",
            "tasks.py:7 update_progress(done, total",
            "tasks.py:8 track(iterable)",
            "urls.py:1 status_routes of jobtastic_signals.web.django",
        ],
    ),
}


def write(files: dict[str, str], folder: Path) -> None:
    for name, source in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(source)


@pytest.mark.parametrize("name", PROJECTS)
def test_all_uses_of_a_library_are_found_with_what_to_write_instead(name, tmp_path):
    files, expected = PROJECTS[name]
    write(files, tmp_path)
    found = search([tmp_path])
    places = [f"{each.path.relative_to(tmp_path)}:{each.line} {each}" for each in found.findings]
    assert {each.library for each in found.findings} == {name}
    assert len(places) == len(expected), "\n".join(places)
    for place in expected:
        where, _, instead = place.partition(" ")
        lines = [each for each in places if each.startswith(f"{where} ")]
        assert any(f"\n    {instead}" in each for each in lines), (place, lines)


def test_a_project_without_them_is_left_alone(tmp_path, capsys):
    write({"tasks.py": "heimdall = {'unique': True}\nonce(timeout=3)\nbase.set_progress(1, 2)\n"}, tmp_path)
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("Nothing of jobtastic, celery-once, ")


def test_a_requirement_is_found_and_shown_as_it_is_spelt_and_our_own_is_none(tmp_path):
    write({"requirements.txt": "jobtastic_signals[redis]>=1\njobtastic-signals\ncelery_once==3\n"}, tmp_path)
    assert [(each.line, each.found) for each in search([tmp_path]).findings] == [(3, "celery_once==3")]


def test_other_peoples_code_is_not_read(tmp_path):
    for folder in ("venv", ".tox", "node_modules", "site-packages"):
        write({f"{folder}/tasks.py": "import celery_once\n"}, tmp_path)
    assert search([tmp_path]).findings == []


def test_findings_are_printed_with_file_and_line_and_without_passwords(tmp_path, capsys):
    write(PROJECTS["celery-once"][0], tmp_path)
    assert main([str(tmp_path / "tasks.py")]) == 0
    out = capsys.readouterr().out
    assert f"{tmp_path}/tasks.py:10: celery-once: once['keys'] = ['a']\n    significant_kwargs=['a']\n" in out
    assert "secret" not in out


def test_a_file_that_cannot_be_read_is_reported_and_the_others_are_read(tmp_path, capsys):
    write({"old.py": "print 'Python 2'\n", "tasks.py": "import celery_once\n"}, tmp_path)
    assert main([str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "tasks.py:1: celery-once" in printed.out
    assert re.search(r"old\.py: cannot be read: .*line 1", printed.err)


def test_a_path_that_is_not_there_is_wrong_usage(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path / "nowhere")])
    assert "there is no " in capsys.readouterr().err


def texts(advice: Advice) -> list[str]:
    if isinstance(advice, str):
        return [advice]
    return [text for each in [*advice.known.values(), *advice.absent.values()] for text in texts(each)]


def tables(library: Library) -> list[dict[str, Advice]]:
    return [dict(getattr(library, name)) for name in ("imports", "bases", "options", "settings", "methods")]


def suggestions(library: Library) -> list[str]:
    advice = [*library.texts.values(), *(each for table in tables(library) for each in table.values())]
    return [text for each in advice for text in texts(each)]


def test_whatever_is_suggested_exists(new_app):
    app = new_app()
    known = {option.name for option in installed_on(app).known_options}
    known |= {setting.name for setting in SETTINGS} | {"message", "src", "type"}
    for library in LIBRARIES:
        for advice in [
            *library.texts.values(),
            *(each for table in tables(library) for each in table.values()),
        ]:
            for text in texts(advice):
                assert set(re.findall(r"(\w+)=", text)) <= known, text
                for module, name in re.findall(r"from (\S+) import (\w+)", text):
                    assert hasattr(__import__(module, fromlist=[name]), name), text
    Jobtastic().uninstall(app)


def names_of(library: Library) -> set[str]:
    names = {name for table in tables(library) for name in table}
    for table in tables(library):
        for advice in table.values():
            while isinstance(advice, Entries):
                names |= advice.known.keys()
                advice = next((each for each in advice.known.values() if isinstance(each, Entries)), "")
    return names


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_the_page_on_migrating_has_every_name_in_its_tables(library):
    (page,) = (ROOT / "docs").rglob("migrating.md")
    section = page.read_text().partition(f"\n## From {library.name}\n")[2].partition("\n## ")[0]
    missing = [name for name in names_of(library) if not re.search(rf"\b{re.escape(name)}\b", section)]
    assert missing == []
