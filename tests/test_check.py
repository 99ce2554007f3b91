"""What ``celery -A proj jobtastic check`` finds in an app and its store, and how it tells it."""

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery import Task
from kombu.transport import memory as memory_transport

from jobtastic_signals import Middleware
from jobtastic_signals.cli.check import store as store_check
from jobtastic_signals.cli.check.base import Verdict, View
from jobtastic_signals.cli.check.check import check_app, load_tasks
from jobtastic_signals.cli.check.folder import check_folder
from jobtastic_signals.cli.check.store import StoreHere
from jobtastic_signals.cli.check.workers import check_worker
from jobtastic_signals.control import how_it_shares
from jobtastic_signals.options import Option
from jobtastic_signals.settings import Settings
from jobtastic_signals.stores.disk import DiskStore
from jobtastic_signals.stores.memory import MemoryStore

from . import unit_apps
from .commands import COMMAND, WITHOUT_RICH, environment, run, started, without_codes
from .unit_apps import store_of

new_app = unit_apps.new_app


class Record(View):
    """Keeps what it is to show."""

    def __init__(self):
        self.tasks, self.findings, self.to_mend = {}, [], None

    def show_tasks(self, tasks):
        self.tasks = dict(tasks)

    def show(self, finding):
        self.findings.append(finding)

    def conclude(self, to_mend):
        self.to_mend = to_mend

    def about(self, subject, verdict=None):
        """The findings about *subject*, each as its text and remedy."""
        told = [each for each in self.findings if each.subject == subject and verdict in (None, each.verdict)]
        return [f"{each.text} {each.remedy}".strip() for each in told]


def checked(app):
    """What a check of *app* finds, where no worker can answer."""
    record = Record()
    wrong = load_tasks(app)
    to_mend = check_app(app, record, timeout=0.01, wrong=wrong)
    assert to_mend == record.to_mend == sum(each.verdict is Verdict.MEND for each in record.findings)
    return record


@pytest.fixture
def folder(tmp_path):
    """The folder of a store, which has been used."""
    store = DiskStore(f"disk://{tmp_path}/store")
    assert store.identity
    store.close()
    return tmp_path / "store"


@pytest.fixture
def app(new_app, folder):
    return new_app(jobtastic_store=f"disk://{folder}")


# The app


def test_an_app_that_is_well_has_nothing_to_mend(app):
    record = checked(app)
    assert record.to_mend == 0
    assert record.about("plugin") == ["on"]
    assert record.about("settings") == ["valid"]
    assert record.about("backend") == ["cache+memory://"]
    assert record.about("task") == []


def test_an_app_without_the_plugin_is_told_how_to_switch_it_on(new_app, folder):
    app = new_app(plugin=False, jobtastic_store=f"disk://{folder}")

    @app.task(name="report", cache_duration=60, shared=False)
    def report():
        pass

    record = checked(app)
    (off,) = record.about("plugin", Verdict.MEND)
    assert "Jobtastic(app)" in off
    assert 'task_annotations = ["jobtastic_signals:Jobtastic"]' in off
    assert record.about("task", Verdict.MEND) == ["without the plugin the options of report do nothing"]
    assert record.tasks == {"report": {"cache_duration": "60"}}
    # The store is looked at all the same.
    assert len(record.about("store", Verdict.OK)) == 3


def test_the_plugin_is_found_where_the_configuration_names_it(new_app, folder):
    app = new_app(plugin=False, jobtastic_store=f"disk://{folder}")
    app.conf.task_annotations = ["jobtastic_signals:Jobtastic"]
    record = checked(app)
    assert (record.about("plugin"), record.to_mend) == (["on"], 0)


@pytest.mark.parametrize(
    ("wrong", "subject", "reason"),
    [
        ({"jobtastic_stroe": "x"}, "settings", "did you mean 'jobtastic_store'?"),
        ({"jobtastic_namespace": "a/b"}, "settings", "letters, digits and . _ -"),
        ({"jobtastic_store": "disk://host/path"}, "store", "names no folder"),
        ({"jobtastic_store": "disk:///srv/x?size_limit=no"}, "store", "not a positive number"),
    ],
)
def test_a_wrong_setting_is_told_and_the_rest_is_looked_at(new_app, wrong, subject, reason):
    record = checked(new_app(**wrong))
    (told,) = record.about(subject, Verdict.MEND)
    assert reason in told
    assert (record.about("plugin"), len(record.about("worker")), record.to_mend) == (["on"], 1, 1)


@pytest.mark.parametrize(
    ("backend", "verdict", "told"),
    [
        ("disabled://", Verdict.NOTE, "nobody can read what it returns"),
        ("rpc://", Verdict.NOTE, "lets only the caller read a result"),
        ("nosuch://", Verdict.MEND, "No module named 'nosuch'"),
    ],
)
def test_a_result_backend_that_others_cannot_read_is_told_of(new_app, folder, backend, verdict, told):
    record = checked(new_app(jobtastic_store=f"disk://{folder}", result_backend=backend))
    (finding,) = record.about("backend", verdict)
    assert told in finding
    assert record.to_mend == (verdict is Verdict.MEND)


def test_a_store_of_each_process_shares_nothing_with_a_worker(new_app):
    (told,) = checked(new_app(jobtastic_store="memory://")).about("settings", Verdict.MEND)
    assert "callers and workers share nothing" in told


def test_eager_tasks_need_no_more_than_a_store_of_this_process(new_app):
    record = checked(new_app(jobtastic_store="memory://", task_always_eager=True))
    (told,) = record.about("settings", Verdict.NOTE)
    assert "task_always_eager" in told
    assert record.to_mend == 0


# Tasks


def test_tasks_are_told_with_the_options_that_they_set(new_app, folder):
    class Own(Middleware):
        options = (Option("urgency", default=0, accepts="a number", parse=int),)

    app = new_app(jobtastic_store=f"disk://{folder}", middleware=(Own(),))
    options = {"significant_kwargs": ["a", ("b", str)], "cache_prefix": "x", "urgency": 3}

    @app.task(name="with_options", shared=False, **options)
    def with_options(a, b):
        pass

    @app.task(name="without", shared=False)
    def without():
        pass

    assert checked(app).tasks == {
        "with_options": {
            "significant_kwargs": "['a', ('b', str)]",
            "cache_prefix": "'x'",
            "urgency": "3",
        }
    }


def test_a_misspelt_option_is_told_as_one_finding(app):
    @app.task(name="report", shared=False, cache_duratoin=60)
    def report():
        pass

    (told,) = checked(app).about("task", Verdict.MEND)
    assert "unknown option cache_duratoin=60; did you mean 'cache_duration'?" in told


class Plain(Task):
    name = "plain"

    def run(self):
        pass


def register(app, base, name, **options):
    """A class task on *app*."""
    return app.register_task(type(name.title(), (base,), {"name": name, **options})())


def test_a_task_that_bound_unseen_is_told_of_before_it_is_looked_at(app):
    base = type(register(app, Plain, "base"))
    register(app, base, "late", cache_duration=60)
    (told,) = checked(app).about("task", Verdict.NOTE)
    assert told.startswith("late bound unseen")
    assert checked(app).about("task") == []


def test_a_task_that_bound_unseen_and_shares_all_the_same_is_not(app):
    base = type(register(app, Plain, "base", cache_duration=60))
    register(app, base, "late")
    record = checked(app)
    assert (list(record.tasks), record.about("task")) == (["base", "late"], [])


def test_a_wrong_option_of_a_task_that_bound_unseen_is_told(app):
    base = type(register(app, Plain, "base"))
    register(app, base, "late", cache_duration="soon")
    (told,) = checked(app).about("task", Verdict.MEND)
    assert "cache_duration='soon' is not accepted" in told


class Careful(Task):
    """Goes on to the next class, as it should."""

    def apply_async(self, *args, **kwargs):
        return super().apply_async(*args, **kwargs)

    def __call__(self, *args, **kwargs):
        return super().__call__(*args, **kwargs)


def test_methods_that_were_there_before_the_plugin_are_no_trouble(app):
    class Careless(Task):
        def apply_async(self, *args, **kwargs):
            return None

        def __call__(self, *args, **kwargs):
            return self.run()

    for base in (Careful, Careless):

        @app.task(name=base.__name__, base=base, shared=False, cache_duration=60)
        def task():
            pass

    record = checked(app)
    assert (len(record.tasks), record.about("task")) == (2, [])


@pytest.fixture
def report(app):
    @app.task(name="report", shared=False, cache_duration=60)
    def report():
        pass

    return app.tasks["report"]


@pytest.mark.parametrize(
    ("method", "harm"),
    [("apply_async", "published without a look at what is there"), ("__call__", "run what they could serve")],
)
def test_a_method_that_took_the_place_of_ours_is_named_with_what_may_be_lost(app, report, method, harm):
    setattr(type(report), method, Careful.__dict__[method])
    (told,) = checked(app).about("task", Verdict.MEND)
    assert told.startswith(f"report: tests.test_check.Careful.{method} replaced {method}")
    assert harm in told


def test_so_is_one_on_the_task_itself(app, report):
    report.apply_async = functools.partial(report.apply_async)
    (told,) = checked(app).about("task", Verdict.MEND)
    assert told.startswith("report: functools.partial replaced apply_async")


def test_one_that_says_that_it_wraps_ours_is_believed(app, report):
    ours = type(report).apply_async

    @functools.wraps(ours)
    def traced(*args, **kwargs):
        return ours(*args, **kwargs)

    type(report).apply_async = traced
    assert checked(app).about("task") == []


# The store


def test_a_store_is_told_with_its_identity_its_folder_and_its_speed(app, folder):
    url, facts, speed = checked(app).about("store", Verdict.OK)
    assert re.fullmatch(rf"disk://{folder} \(disk:[0-9a-f]{{32}}\)", url)
    assert re.fullmatch(rf"the folder is drwx------ of {folder.owner()}, with [0-9.]+ [GM]B free", facts)
    assert re.fullmatch(r"\d+\.\d\d ms to claim, settle, look up and forget \(median\)", speed)


def test_nothing_is_left_in_the_store(app, folder):
    checked(app)
    store = DiskStore(f"disk://{folder}")
    assert list(store.entries()) == []
    store.close()


def test_a_folder_that_is_not_there_is_not_made(new_app, tmp_path):
    record = checked(new_app(jobtastic_store=f"disk://{tmp_path}/not/there"))
    (told,) = record.about("store")
    assert told.startswith(f"{tmp_path}/not/there is not there yet")
    assert (record.to_mend, list(tmp_path.iterdir())) == (0, [])


@pytest.mark.parametrize(
    ("mode", "verdict", "told"),
    [
        (0o707, Verdict.MEND, "everybody on this host can write there"),
        (0o770, Verdict.NOTE, "its group can write there"),
    ],
)
def test_a_folder_where_others_can_write_is_told_of(app, folder, mode, verdict, told):
    folder.chmod(mode)
    (finding,) = checked(app).about("store", verdict)
    assert told in finding
    assert len(checked(app).about("store", Verdict.OK)) == 3


def test_little_room_is_told_of(folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=99_000_000))
    facts, room = check_folder(folder)
    assert facts.text.endswith("with 99 MB free")
    assert room.verdict is Verdict.NOTE


#: The imports are made before the user changes, since that one may not be able to read them.
AS_NOBODY = COMMAND.replace(
    "main()",
    """
import os, celery.backends.cache, kombu.transport.memory, proj
from jobtastic_signals.checking import check, plain
from jobtastic_signals.stores import disk
proj.app.backend
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
main()
""",
)

PROJECT = """
import os
from celery import Celery
from jobtastic_signals import Jobtastic
app = Celery("proj", broker="memory://", backend="cache+memory://")
app.conf.jobtastic_store = os.environ.get("STORE", "disk://")
Jobtastic(app)
@app.task(cache_duration=60, herd_avoidance_timeout=5)
def report(): pass
"""


@pytest.mark.parametrize("inside", ["", "/inside"])
def test_a_folder_of_another_user_is_told_of(inside):
    with tempfile.TemporaryDirectory() as outer:
        Path(outer).chmod(0o755)
        (Path(outer) / "proj.py").write_text(PROJECT)
        taken = Path(outer) / "taken"
        taken.mkdir(mode=0o755 if os.geteuid() == 0 else 0o555)
        env = {"program": ("-c", AS_NOBODY), "STORE": f"disk://{taken}{inside}"}
        status, printed, errors = run(Path(outer), "jobtastic", "check", **env)
    assert (status, errors) == (1, "")
    (told,) = [line for line in printed.splitlines() if " store " in line]
    assert told.startswith("mend")
    assert f" of {Path.home().owner()}" in told
    assert ("cannot make it" if inside else "cannot write in") in told


class Forgetful(MemoryStore):
    """Says that it settles."""

    def settle(self, *args, **kwargs):
        return True


class Broken(MemoryStore):
    """Cannot be read."""

    def lookup(self, key):
        raise ConnectionError("gone away")


class Stuck(MemoryStore):
    """Does not answer for longer than anybody waits."""

    def admit(self, *args, **kwargs):
        time.sleep(1)


@pytest.mark.parametrize(
    ("store", "reason"),
    [
        (Forgetful(), "what was put there is not what was found there"),
        (Broken(), "ConnectionError: gone away"),
        (Stuck(), "TimeoutError: no answer within 0.2 s"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_store_that_does_not_work_is_told_with_the_reason_in_time(new_app, monkeypatch, store, reason):
    monkeypatch.setattr(store_check, "DEADLINE", 0.2)
    monkeypatch.setattr(store_check, "open_store", lambda url, **options: store)
    (told,) = checked(new_app()).about("store")
    assert told == f"memory:// does not work, so nothing is shared: {reason}"
    assert (store._claims, store._results) == ({}, {})


def test_a_slow_store_is_not_tried_for_long(monkeypatch):
    class Slow(MemoryStore):
        def lookup(self, key):
            time.sleep(0.1)
            return super().lookup(key)

    monkeypatch.setattr(store_check, "LONGEST", 0.3)
    monkeypatch.setattr(store_check, "open_store", lambda url, **options: Slow())
    start = time.monotonic()
    (_, speed) = StoreHere(settings("memory://")).check()
    assert time.monotonic() - start < 1
    assert float(speed.text.split()[0]) > 100


def settings(store, namespace=""):
    return Settings(store, {}, namespace, True, 0.1)


def test_passwords_are_not_told(new_app, monkeypatch):
    def refuse(url, **options):
        raise ConnectionError("refused")

    monkeypatch.setattr(store_check, "open_store", refuse)
    (told,) = StoreHere(settings("redis://me:s3cret@host/0?password=s3cret")).check()
    assert told.text.startswith("redis://**@host/0?password=** does not work")
    record = checked(new_app(broker_url="redis://:s3cret@127.0.0.1:1/0"))
    assert "redis://**@127.0.0.1:1/0" in str(record.findings)
    assert "s3cret" not in str(record.findings)


# Workers, as they answer


def here(url="disk:///srv/a", identity="disk:1", namespace=""):
    store = StoreHere(settings(url, namespace))
    store.identity = identity
    return store


def answer(url="disk:///srv/a", identity="disk:1", namespace=""):
    return {"plugin": True, "url": url, "identity": identity, "namespace": namespace, "tasks": ["report"]}


@pytest.mark.parametrize(
    ("there", "own", "verdict", "told"),
    [
        (answer(), here(), Verdict.OK, "w shares this store"),
        (answer("disk:///mnt/a"), here(), Verdict.OK, "w shares this store, as disk:///mnt/a"),
        (answer(), here(identity=None), Verdict.NOTE, "w has the store disk:///srv/a (disk:1)"),
        (answer(), None, Verdict.NOTE, "w has the store disk:///srv/a (disk:1)"),
        (answer(identity=None), here(), Verdict.MEND, "gets no answer of its store disk:///srv/a"),
        (answer(identity=None), None, Verdict.MEND, "gets no answer of its store disk:///srv/a"),
        (answer(namespace="r2"), here(), Verdict.MEND, "jobtastic_namespace='r2', and this process has ''"),
        (answer(identity="disk:2"), here(), Verdict.MEND, "The same URL leads to two stores"),
        (answer("disk:///b", "disk:2"), here(), Verdict.MEND, "another store, disk:///b (disk:2)"),
        (answer("disk:///b", "disk:2"), here(), Verdict.MEND, "disk:// alone is one folder for each user"),
        (answer("redis://b", "redis:2"), here(), Verdict.MEND, "Give both the same jobtastic_store"),
        (answer("memory://", "memory:2"), here(), Verdict.MEND, "each process has a memory:// of its own"),
        ({"plugin": False}, here(), Verdict.MEND, "has not the plugin"),
        ({"error": "KeyError('jobtastic')"}, None, Verdict.MEND, "has not the plugin"),
        ({"plugin": True, "wrong": "setting x"}, here(), Verdict.MEND, "wrong settings: setting x"),
    ],
)
def test_what_a_worker_answers_is_held_against_this_process(there, own, verdict, told):
    for tasks in ([], ["other", "report"]):
        finding = check_worker("w", there, own, tasks)
        assert finding.verdict is verdict
        assert told in f"{finding.text}. {finding.remedy}"


def test_a_worker_of_another_project_may_have_another_store():
    finding = check_worker("w", answer("disk:///b", "disk:2"), here(), ["other"])
    assert (finding.verdict, finding.text[:40]) == (Verdict.NOTE, "w runs no task that shares here: it is a")


def test_a_worker_tells_of_its_own_app(new_app, folder, report):
    well, bare = [how_it_shares(SimpleNamespace(app=app)) for app in (report.app, new_app(plugin=False))]
    assert well == {
        "plugin": True,
        "url": f"disk://{folder}",
        "identity": well["identity"],
        "namespace": "",
        "tasks": ["report"],
    }
    assert bare == {"plugin": False}


@pytest.mark.parametrize("wrong", [{"jobtastic_stroe": "x"}, {"jobtastic_store": "disk://host/path"}])
def test_a_worker_with_wrong_settings_tells_which(new_app, wrong):
    told = how_it_shares(SimpleNamespace(app=new_app(**wrong)))
    assert "jobtastic_store" in told["wrong"]


def test_a_worker_whose_store_fails_tells_that(new_app, tmp_path):
    (tmp_path / "file").touch()
    told = how_it_shares(SimpleNamespace(app=new_app(jobtastic_store=f"disk://{tmp_path}/file")))
    assert (told["plugin"], told["identity"]) == (True, None)


def test_a_worker_whose_store_failed_lately_tells_that(app, folder):
    assert how_it_shares(SimpleNamespace(app=app))["identity"] is not None
    store = store_of(app)
    store._store.lookup = Broken().lookup
    store.lookup("key")
    assert how_it_shares(SimpleNamespace(app=app))["identity"] is None


class BuslessTransport(memory_transport.Transport):
    """As SQS, it cannot tell all."""

    implements = memory_transport.Transport.implements.extend(exchange_type=frozenset(["direct"]))


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ({}, "none answered within 0.01 s"),
        ({"worker_enable_remote_control": False}, "worker_enable_remote_control is off"),
        ({"broker_transport": f"{__name__}:BuslessTransport"}, "the broker memory:// has no control bus"),
    ],
)
def test_workers_that_cannot_be_asked_are_no_error(new_app, folder, conf, told):
    record = checked(new_app(jobtastic_store=f"disk://{folder}", **conf))
    (finding,) = record.about("worker", Verdict.NOTE)
    assert told in finding
    assert record.to_mend == 0


def test_a_broker_of_an_unknown_kind_is_one_finding(new_app, folder):
    record = checked(new_app(jobtastic_store=f"disk://{folder}", broker_url="nosuch://host"))
    (told,) = record.about("worker", Verdict.MEND)
    assert told.startswith("the broker nosuch://host cannot be reached: ")


# The command

CHECK = ("jobtastic", "check", "--timeout", "0.01")


@pytest.fixture
def project(tmp_path):
    """Where the command runs; the store's folder is there."""
    (tmp_path / "proj.py").write_text(PROJECT)
    return tmp_path


@pytest.fixture
def store(project):
    store = DiskStore(f"disk://{project}/store")
    assert store.identity
    store.close()
    return store.url


def test_a_pipe_gets_a_line_for_each_task_and_finding(project, store):
    status, printed, errors = run(project, *CHECK, STORE=store)
    assert (status, errors) == (0, "")
    *lines, last = printed.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["ok", "task"],
        ["ok", "plugin"],
        ["ok", "settings"],
        ["ok", "backend"],
        ["ok", "store"],
        ["ok", "store"],
        ["ok", "store"],
        ["note", "worker"],
    ]
    assert lines[0] == "ok    task      proj.report  herd_avoidance_timeout=5  cache_duration=60"
    assert last == "Nothing to mend."


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_gets_columns_that_fit(project, store, columns):
    status, printed, errors = run(project, *CHECK, columns=columns, STORE=store)
    assert (status, errors) == (0, "")
    lines = without_codes(printed).splitlines()
    assert max(map(len, lines)) <= columns
    assert lines[0].split() == ["task", "its", "options"]
    assert lines[1].split() == ["proj.report", "herd_avoidance_timeout=5"]
    assert lines[2].split() == ["cache_duration=60"]
    assert [line[0] for line in lines if line[:1] in "✓!✗" and line] == list("✓✓✓✓✓✓!")
    assert lines[-1] == "Nothing to mend."


@pytest.mark.parametrize("columns", [None, 80])
def test_what_is_to_mend_makes_the_exit_status(project, columns):
    status, printed, errors = run(project, *CHECK, columns=columns, STORE="disk://host/path")
    assert (status, errors) == (1, "")
    assert without_codes(printed).rstrip().endswith("1 thing to mend.")
    assert "Traceback" not in printed


EVIL = r"\x1b[2J[red]\x07\u202e"


@pytest.mark.parametrize("columns", [None, 200])
def test_what_a_project_says_stays_text(project, columns):
    with (project / "proj.py").open("a") as file:
        file.write(f'app.conf.jobtastic_namespace = "{EVIL}"\n')
        file.write(f'@app.task(name="{EVIL}", cache_prefix="{EVIL}")\ndef other(): pass\n')
    status, printed, _ = run(project, *CHECK, columns=columns)
    assert status == 1
    assert not re.search("\x1b\\[2J|\x07|\u202e", printed)
    assert printed.count(EVIL) == 3


def test_without_rich_a_terminal_gets_lines(project, store):
    status, printed, errors = run(project, *CHECK, columns=80, program=("-c", WITHOUT_RICH), STORE=store)
    assert (status, printed.splitlines()[-1]) == (0, "Nothing to mend.")
    assert printed.startswith("ok    task      proj.report")
    assert "pip install 'jobtastic-signals[cli]'" in errors


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_it_has_no_colours_where_none_are_wanted(project, store, env):
    status, printed, _ = run(project, *CHECK, columns=80, STORE=store, **env)
    assert status == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", printed)


@pytest.mark.parametrize(
    "arguments", [("jobtastic", "check", "--timeout=0"), ("jobtastic", "check", "x")], ids=str
)
def test_wrong_usage_is_an_error(project, arguments):
    status, printed, errors = run(project, *arguments)
    assert (status, printed) == (2, "")
    assert "Error: " in errors


def test_an_app_that_cannot_be_loaded_is_an_error(project):
    status, printed, errors = run(project, *CHECK, app="nosuch")
    assert (status, printed) == (2, "")
    assert "The module nosuch was not found" in errors
    with (project / "proj.py").open("a") as file:
        file.write('app.conf.include = ["nosuch"]\n')
    status, printed, errors = run(project, *CHECK)
    assert (status, printed) == (2, "")
    assert errors == "The tasks cannot be loaded: ModuleNotFoundError: No module named 'nosuch'\n"


def test_ctrl_c_leaves_quietly(project, store):
    with started(project, "jobtastic", "check", "--timeout=60", STORE=store) as command:
        command.wait_for("backend")
        command.process.send_signal(signal.SIGINT)
        assert command.end() == (130, "")


def test_it_ends_though_nothing_of_it_does(project, store):
    """A thread that hangs keeps nobody."""
    program = COMMAND.replace(
        "main()",
        "import time\nfrom jobtastic_signals.stores.disk import DiskStore\n"
        "from jobtastic_signals.checking import store\nstore.DEADLINE = 0.1\n"
        "DiskStore.admit = lambda *_, **__: time.sleep(60)\nmain()",
    )
    status, printed, errors = run(project, *CHECK, program=("-c", program), STORE=store)
    assert (status, errors) == (1, "")
    assert "no answer within 0.1 s" in printed


def test_modules_of_the_check_are_not_imported_by_other_commands(project):
    program = (
        "import sys, jobtastic_signals, jobtastic_signals.cli, proj;"
        "print(*[m for m in sys.modules if 'checking' in m or m == 'celery.worker.control'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(project), capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr
