"""The commands that show what is shared: list, show, explain, stats and top."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobtastic_signals.cli.operate import listing, top
from jobtastic_signals.cli.operate.site import Site
from jobtastic_signals.cli.operate.tables import Screen
from jobtastic_signals.results import payload
from jobtastic_signals.sharing.inventory import Row, rows
from jobtastic_signals.stores.memory import MemoryStore
from tests.support.unit_apps import installed_on, key_of, use_store

from .conftest import WORKER

OWNERS = [f"7c9e6679-7425-40de-944b-e07fc1f90ae{n}" for n in range(6)]


@pytest.fixture
def full(app, store, key, clock):
    """A store with one run, two calls that joined it, a message behind it, and two results."""
    store.claim(key, OWNERS[0], WORKER, 30)
    store.lookup_or_claim(key, OWNERS[1], 30)
    store.lookup_or_claim(key, OWNERS[2], 30, rerun=True)
    store.count("counts:proj.total", {"hits": 41}, ttl=60)
    total = app.tasks["proj.total"]
    value = payload.dumps(app, [1, 2])
    store.complete(key_of(total, [1]), OWNERS[3], None, value, ttl=3600)
    error = payload.dumps(app, app.backend.prepare_exception(ValueError("no rows")))
    store.complete(key_of(total, [2]), OWNERS[4], None, error, ttl=None, state="FAILURE")
    clock.advance(12)
    return store


# list


def test_a_pipe_gets_one_table_whose_lines_have_all_words(run, full, key):
    answer = run("list")
    assert (answer.status, answer.errors) == (0, "")
    header, *lines = answer.lines
    assert ",".join(header.split()) == "TASK,KEY,STATE,OWNER,WORKER,AGE,LEASE,EXPIRES,WAITING,HITS,SIZE"
    assert lines[0].split() == [
        "proj.report",
        key,
        "running",
        OWNERS[0],
        "celery@web1",
        *("12", "s", "18", "s", "-", "3", "-", "-"),
    ]
    assert [line.split()[2] for line in lines] == ["running", "waiting", "cached", "failed"]
    assert lines[2].split()[4:] == ["-", "12", "s", "-", "60", "min", "-", "41", "36", "B"]
    assert lines[3].split()[4:9] == ["-", "12", "s", "-", "never"]


def test_columns_without_any_text_are_left_out(run, store, key):
    store.lookup_or_claim(key, "one", 30)
    assert run("list").lines[0].split() == ["TASK", "KEY", "STATE", "OWNER", "AGE", "LEASE"]


def test_json_has_all_that_is_known(run, full, key):
    answer = run("list", "--json")
    assert answer.json[0] == {
        "task": "proj.report",
        "key": key,
        "state": "running",
        "owner": OWNERS[0],
        "age": 12.0,
        "worker": "celery@web1",
        "lease_left": 18.0,
        "waiting": 3,
        "is_awaited": False,
        "next": OWNERS[2],
        "is_forgotten": False,
        "hits": 0,
        "size": None,
        "expires_in": None,
    }
    assert len(answer.json) == 4


def test_rows_can_be_chosen_by_task_and_by_state(run, full):
    assert {row["task"] for row in run("list", "--json", "--task", "proj.total").json} == {"proj.total"}
    wanted = run("list", "--json", "--state", "failed", "--state", "running").json
    assert [row["state"] for row in wanted] == ["running", "failed"]


@pytest.mark.parametrize("arguments", [(), ("--task", "proj.total"), ("--task", "nosuch")])
def test_a_list_of_nothing_is_a_failure_as_for_grep(run, store, arguments):
    answer = run("list", *arguments)
    assert (answer.status, answer.printed) == (1, "")
    assert answer.errors.count("\n") == 1
    answer = run("list", "--json", *arguments)
    assert (answer.status, answer.json, answer.errors) == (1, [], "")


@pytest.mark.parametrize("width", [72, 80, 100, 250])
def test_a_terminal_gets_a_table_of_claims_and_one_of_results_that_fit(app, full, key, width):
    found = rows(installed_on(app))
    lines = list(listing.lines_of(found, Screen(width)))
    assert max(map(len, lines)) <= width
    claims, results = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert claims[0].split() == ["TASK", "KEY", "STATE", "OWNER", "WORKER", "AGE", "LEASE", "WAITING"]
    assert results[0].split() == ["TASK", "KEY", "STATE", "OWNER", "AGE", "EXPIRES", "HITS", "SIZE"]
    shown_key, shown_owner = (key, OWNERS[0]) if width == 250 else (key[-40:][:8], OWNERS[0][:8])
    if width <= 80 or width == 250:
        assert claims[1].split()[1:4] == [shown_key, "running", shown_owner]


def test_names_that_are_too_long_lose_their_less_telling_part():
    row = Row(
        "proj.tasks.reports.yearly_summary", "v1:x:0", "running", "x" * 50, 5, "celery@web1.example.com"
    )
    line = list(listing.lines_of([row], Screen(80)))[1]
    assert len(line) <= 80
    task, _, _, owner, worker, *_ = line.split()
    assert task[0] == "…"
    assert task.endswith("summary")
    assert owner[-1] == worker[-1] == "…"
    assert worker.startswith("celery@")


def test_states_have_colors_where_those_are_wanted():
    row = Row("report", "v1:x:0", "running", "one", 5)
    assert "\x1b[32mrunning" in list(listing.lines_of([row], Screen(80, has_color=True)))[1]
    assert "\x1b" not in "".join(listing.lines_of([row], Screen(80)))


@pytest.mark.parametrize("screen", [Screen(), Screen(80)])
def test_wide_and_evil_characters_do_not_break_the_table(screen):
    lines = list(
        listing.lines_of(
            [
                Row("報告", "v1:x:0", "running", "one", 5),
                Row("\x1b[2J", "v1:x:0", "queued", "two", 5),
            ],
            screen,
        )
    )
    assert r"\x1b[2J" in lines[2]
    # Each of the two takes two places.
    assert lines[1].index("v1:x:0") + 2 == lines[2].index("v1:x:0") == lines[0].index("KEY")


# show


def test_all_about_a_claim(run, full, key):
    answer = run("show", "proj.report", "acme")
    assert (answer.status, answer.errors) == (0, "")
    assert answer.printed == (
        f"task      proj.report\nkey       {key}\n"
        f"\nstate     running, for 12 s\nowner     {OWNERS[0]}\nworker    celery@web1\n"
        f"lease     18 s left\nwaiting   3 calls\nnext      {OWNERS[2]} is queued behind it\n"
        f"\nstate     waiting, for 12 s\nowner     {OWNERS[2]}\nlease     18 s left\n"
    )


def test_all_about_a_result(app, run, full):
    key = key_of(app.tasks["proj.total"], [2])
    answer = run("show", key)
    assert answer.lines[3:] == [
        "state     failed, for 12 s",
        f"owner     {OWNERS[4]}",
        "expires   never",
        "size      110 B",
        "value     ValueError('no rows')",
    ]
    (found,) = run("show", "--json", "proj.total", "[1]").json
    assert (found["state"], found["value"]) == ("cached", "[1, 2]")


def test_a_message_that_waits_and_a_result_that_was_forgotten_are_mentioned(run, store, key, clock):
    store.claim(key, "one", WORKER, 30)
    store.claim(key, "two", "celery@web2~0f/6b", 30)
    clock.advance(1)
    store.forget(key)
    answer = run("show", "proj.report", "acme")
    assert "waiting   messages, whose number is not known" in answer.lines
    assert any(line.startswith("result    was forgotten in advance") for line in answer.lines)


def test_a_value_that_cannot_be_read_is_no_error(app, run, store, key):
    store.complete(key, "one", None, b'["application/x-python-serialize", "binary"]\n', ttl=60)
    answer = run("show", key)
    assert answer.status == 0
    assert answer.lines[-1].startswith("value     cannot be read here: ContentDisallowed")


def test_the_start_of_a_key_names_it_if_no_other_begins_so(run, full, key):
    digest = key[-40:]
    assert run("show", digest[:8]).lines[1] == f"key       {key}"
    other = f"v1:proj.report:{digest[:8]}{'0' * 32}"
    full.complete(other, "one", None, b"", ttl=60)
    answer = run("show", digest[:8])
    assert (answer.status, answer.errors) == (2, f"2 keys begin with {digest[:8]}. Give more of it.\n")


@pytest.mark.parametrize(
    ("words", "status", "error"),
    [
        (("f" * 8,), 1, "The store has no key that begins with ffffffff."),
        (("proj.reprot",), 2, "'proj.reprot' is no key."),
        (("proj.report", "nobody"), 1, "Nothing is stored under v1:proj.report:"),
        (("proj.reprot", "acme"), 2, "This app has no task 'proj.reprot'. Did you mean proj.report?"),
    ],
)
def test_what_is_not_there_is_one_line_and_an_exit_status(run, full, words, status, error):
    answer = run("show", *words)
    assert (answer.status, answer.printed, answer.errors.count("\n")) == (status, "", 1)
    assert answer.errors.startswith(error)


# explain


def test_what_goes_into_a_key_needs_no_store(new_app, app, run, folder):
    app.conf.jobtastic_store = "disk:///proc/nowhere"
    answer = run("explain", "proj.report", "acme", "year=2025")
    assert answer.lines[0] == "proj.report('acme', year=2025)"
    assert answer.lines[1].startswith("has the key v1:proj.report:")
    assert [line.split() for line in answer.lines[2:]] == [
        ["customer", "'acme'"],
        ["verbose", "False", "the", "default"],
        ["year", "2025"],
    ]
    answer = run("explain", "--json", "proj.report", '"acme"', "2025")
    assert answer.json["call"] == "proj.report('acme', 2025)"
    assert answer.json["arguments"] == {"customer": "'acme'", "year": "2025", "verbose": "False"}


@pytest.mark.parametrize(
    ("words", "status", "error"),
    [
        (("proj.report",), 2, "The task proj.report does not take these arguments: "),
        (("proj.report", "[1"), 2, "The argument '[1' is not JSON"),
        (("proj.report", "a=1", "b"), 2, "'b' comes after a named argument"),
        (("proj.report", "year=1", "year=2"), 2, "The argument 'year' is given twice."),
        (("proj.plain",), 1, "task 'proj.plain' shares nothing"),
    ],
)
def test_a_call_without_a_key_is_one_line_and_an_exit_status(run, words, status, error):
    answer = run("explain", *words)
    assert (answer.status, answer.printed, answer.errors.count("\n")) == (status, "", 1)
    assert answer.errors.startswith(error)


# stats


def test_counts_are_shown_by_task_with_what_they_saved(run, store):
    saved = {"calls": 1200, "hits": 800, "joins": 120, "served": 30, "runs": 250, "run_seconds": 10_000}
    store.count("counts:proj.report", saved, ttl=60)
    store.count("counts:proj.total", {"calls": 2, "runs": 2}, ttl=60)
    answer = run("stats")
    assert answer.status == 0
    header, report, total, _, conclusion = answer.lines
    assert header.split() == ["TASK", "CALLS", "HITS", "JOINS", "RUNS", "SERVED", "SAVED"]
    assert report.split() == ["proj.report", "1,200", "800", "120", "250", "30", "11", "h"]
    assert total.split() == ["proj.total", "2", "-", "-", "2", "-", "-"]
    assert conclusion == (
        "Sharing saved 11 h of workers' time, with 950 of 1,202 calls answered without a run of their own."
    )
    found = run("stats", "--json", "--task", "proj.total").json
    assert list(found) == ["proj.total"]
    assert {name: each for name, each in found["proj.total"].items() if each} == {"calls": 2, "runs": 2}


def test_what_was_observed_is_a_table_of_its_own_with_the_calls_that_have_no_key(run, store):
    observed = {"calls": 10, "hits": 4, "joins": 1, "runs": 5, "saved_seconds": 120.5}
    amounts = {f"observed_{name}": amount for name, amount in observed.items()}
    store.count("counts:proj.report", {**amounts, "no_key:upload": 3}, ttl=60)
    answer = run("stats")
    assert [line.split() for line in answer.lines[:3]] == [
        ["OBSERVED"],
        ["TASK", "CALLS", "HITS", "JOINS", "RUNS", "SAVED"],
        ["proj.report", "10", "4", "1", "5", "2", "min"],
    ]
    assert answer.lines[4:] == [
        "Sharing would have saved 2 min of workers' time, with 5 of 10 calls answered without a run of their "
        "own.",
        "proj.report: 3 calls had no key, because of the argument upload.",
    ]
    assert run("stats", "--json").json["proj.report"]["no_key"] == {"upload": 3}


def test_without_counts_there_is_nothing_to_show(run, store):
    answer = run("stats", "--task", "proj.total")
    assert (answer.status, answer.errors) == (1, "Nothing has been counted of proj.total.\n")
    assert (run("stats", "--json").status, run("stats", "--json").json) == (1, {})


# top


def test_in_a_pipe_top_is_one_listing_of_what_goes_on(app, run, full):
    app.backend.store_result(OWNERS[0], {"progress_percent": 46, "time_remaining": 3}, "PROGRESS")
    answer = run("top")
    assert (answer.status, answer.errors) == (0, "")
    header, running, waiting = answer.lines
    assert header.split() == ["TASK", "STATE", "OWNER", "WORKER", "AGE", "LEASE", "WAITING", "PROGRESS"]
    assert running.split()[1:4] == ["running", OWNERS[0], "celery@web1"]
    assert running.endswith("46 %  3 s left")
    assert waiting.split()[1:3] == ["waiting", OWNERS[2]]
    assert run("top", "--task", "proj.total").printed == "Nothing runs or waits.\n"


def test_a_screen_of_top_has_as_many_rows_as_fit(app, store):
    for n in range(30):
        store.lookup_or_claim(key_of(app.tasks["proj.report"], n), OWNERS[0], 30)
    lines = list(top._frame(Site(app), None, Screen(80), 24))
    assert len(lines) == 24
    assert lines[0].startswith("0 running, 0 waiting, 30 queued  memory://")
    assert lines[-3] == "and 12 more"
    assert lines[-1].endswith("q quits")


def test_top_goes_on_without_a_store_that_answers(app, folder):
    use_store(app, Broken("memory://"))
    lines = list(top._frame(Site(app), None, Screen(80), 24))
    assert lines[0].startswith("The store memory:// does not answer")
    assert lines[-1].endswith("q quits")


# What keeps all of them from their work


class Broken(MemoryStore):
    """Fails at whatever these commands ask."""

    def _fail(self, *_: Any, **__: Any) -> Any:
        raise ConnectionError("no\nanswer")

    entries = entry = counts = forget = forget_scope = release = _fail


COMMANDS = [
    ("list",),
    ("show", "proj.report", "acme"),
    ("stats",),
    ("top",),
    ("forget", "proj.report", "acme"),
    ("forget", "--all", "proj.report"),
    ("forget", "--tag", "x"),
    ("release", "proj.report", "acme"),
    ("release", "--owner", "x"),
    ("purge", "--force"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_store_that_does_not_answer_is_one_line_with_what_to_do(app, run, folder, words):
    use_store(app, Broken("memory://"))
    answer = run(*words)
    assert (answer.status, answer.printed) == (1, "")
    assert answer.errors == (
        "The store memory:// does not answer (ConnectionError: no\\nanswer). Start it, or correct "
        "jobtastic_store; `jobtastic check` tries it.\n"
    )


@pytest.mark.parametrize("words", [COMMANDS[0], COMMANDS[-1]], ids=" ".join)
@pytest.mark.parametrize(
    ("conf", "status", "error"),
    [
        (
            {"jobtastic_store": "memory://"},
            1,
            "jobtastic_store is memory://, which each process has",
        ),
        ({"jobtastic_store": "disk://{folder}/new"}, 1, "{folder}/new does not exist yet; the first process"),
        ({"jobtastic_stroe": "x"}, 1, "unknown setting jobtastic_stroe='**'; did you mean"),
        (
            {"include": ["nosuch"]},
            2,
            "The tasks cannot be loaded: ModuleNotFoundError: ",
        ),
    ],
    ids=["memory", "folder", "setting", "tasks"],
)
def test_what_is_wrong_with_the_project_is_one_line(app, run, folder, conf, words, status, error):
    app.conf.update(json.loads(json.dumps(conf).replace("{folder}", str(folder))))
    answer = run(*words)
    assert (answer.status, answer.printed, answer.errors.count("\n")) == (status, "", 1)
    assert answer.errors.startswith(error.replace("{folder}", str(folder)))
    # Whoever creates it owns it, and that has to be the user of the workers.
    assert not (folder / "new").exists()


def test_an_app_without_the_plugin_is_one_line(new_app, app, run):
    from jobtastic_signals import Jobtastic

    Jobtastic().uninstall(app)
    answer = run("list")
    assert (answer.status, answer.errors.count("\n")) == (1, 1)
    assert answer.errors.startswith("The plugin is not enabled on this app")
