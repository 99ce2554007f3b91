"""``celery -A proj jobtastic check`` beside real workers, and without."""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
import sys
from contextlib import ExitStack, closing

import pytest
from kombu.transport import filesystem

from jobtastic_signals.demo.broker import Channel
from jobtastic_signals.stores.disk import DiskStore
from tests.support.commands import environment, run
from tests.support.rare import mainly
from tests.support.servers import running
from tests.support.sockets import DEAD, refusing
from tests.support.workers.projects import ENDS_BY, celery, on, wait_until_ready

#: Seconds that a worker has to answer, on a busy machine.
PATIENCE = "3"


class PatientTransport(filesystem.Transport):
    """The filesystem broker with whole messages, as the workers have it, and for a client that waits."""

    Channel = Channel


def check(folder, made, *arguments, **how):
    """The exit status of a check of the project *made*, and the lines that it printed."""
    told = json.dumps(made)
    status, printed, errors = run(
        folder, "jobtastic", "check", *arguments, app="tests.support.workers.worker", TEST_PROJECT=told, **how
    )
    assert errors == ""
    return status, printed.splitlines()


def about(subject, lines):
    """The lines about *subject*, without it."""
    return [line.replace(f"{subject:8}  ", "") for line in lines if line[6:].startswith(f"{subject} ")]


def about_worker_of(project, lines):
    """The line about the worker of *project*, which others can share their broker with."""
    name = re.search(r"(w[0-9a-f]+@\S+) ready\.", project.log.read_text())[1]  # type: ignore[index]
    (told,) = [line for line in about("worker", lines) if line[6:].startswith(f"{name} ")]
    return told.replace(name, "w")


def changed(made, **conf):
    """The project *made* with another configuration."""
    return {**made, "conf": {**made["conf"], **conf}}


@on("redis-prefork", rarely=("filesystem-prefork", "rabbitmq-prefork"))
def test_a_worker_with_the_same_store_shares_it(project, tmp_path):
    made = project.made
    if project.setup.startswith("filesystem"):
        made = changed(made, broker_transport=f"{__name__}:PatientTransport")
    lines = check(tmp_path, made, "--timeout", PATIENCE)[1]
    assert about_worker_of(project, lines) == "ok    w uses this store"
    assert [line for line in lines if line.startswith("fix") and " worker " not in line] == []
    with closing(DiskStore(made["conf"]["jobtastic_store"])) as store:
        assert list(store.entries("check:")) == []


@on("redis-prefork", rarely=["filesystem-prefork"])
def test_a_worker_with_another_store_is_told_with_the_remedy(project, tmp_path):
    made = changed(project.made, jobtastic_store=f"disk://{tmp_path}")
    if project.setup.startswith("filesystem"):
        made = changed(made, broker_transport=f"{__name__}:PatientTransport")
    status, lines = check(tmp_path, made, "--timeout", PATIENCE)
    told = about_worker_of(project, lines)
    url, identity = made["conf"]["jobtastic_store"], project.store.identity
    assert told.startswith("fix   w uses another store, ")
    assert f" uses another store, {project.made['conf']['jobtastic_store']} ({identity}). Give both" in told
    assert identity not in "".join(about("store", lines))
    assert url in "".join(about("store", lines))
    assert status == 1


def used_store(folder):
    """The URL of a store whose folder is there."""
    with closing(DiskStore(f"disk://{folder}")) as store:
        assert store.identity
        return store.url


def start(stack, folder, name, made):
    """A worker on the project *made*, called *name*."""
    log = folder / f"{name}.log"
    arguments = ("worker", "--pool=threads", "--concurrency=1", f"--hostname={name}@host", "--loglevel=INFO")
    stack.enter_context(celery(made, "worker", log, *arguments, "--without-gossip", "--without-mingle"))
    return log


def test_each_worker_is_told_with_what_it_has(shared, tmp_path):
    conf = {"broker_url": shared.redis(), "jobtastic_store": f"disk://{tmp_path}/store"}
    made = {"conf": conf, "journal": str(tmp_path / "journal")}
    locked = used_store(tmp_path / "locked")
    others = {
        "bare": {**made, "plugin": False},
        "release": changed(made, jobtastic_namespace="r2"),
        "same": made,
        "stuck": changed(made, jobtastic_store=locked, jobtastic_store_options={"timeout": 0.1}),
    }
    with ExitStack() as stack:
        wait_until_ready(*(start(stack, tmp_path, name, other) for name, other in others.items()))
        lock = stack.enter_context(
            closing(sqlite3.connect(tmp_path / "locked/claims/cache.db", isolation_level=None))
        )
        lock.execute("BEGIN IMMEDIATE")
        status, lines = check(tmp_path, made, "--timeout", PATIENCE)
    bare, release, same, stuck = about("worker", lines)
    assert bare.startswith("fix   bare@host: the plugin is not enabled")
    assert release.startswith("fix   release@host uses this store with jobtastic_namespace='r2', and this")
    assert same == "ok    same@host uses this store"
    assert stuck.startswith(f"fix   stuck@host: its store {locked} does not answer")
    assert (status, lines[-1]) == (1, "3 things to fix.")
    assert "pidbox command error" not in (tmp_path / "stuck.log").read_text()


@pytest.mark.thorough
def test_a_worker_whose_configuration_switches_the_plugin_on_can_be_asked(shared, tmp_path):
    """The folder of the store is the default, and the worker makes it when it is asked."""
    (tmp_path / "proj.py").write_text(
        "from celery import Celery\n"
        f"app = Celery('proj', broker='{shared.redis()}', backend='{shared.redis()}')\n"
        "app.conf.task_annotations = ['jobtastic_signals:Jobtastic', {'*': {'rate_limit': '9/s'}}]\n"
    )
    log = tmp_path / "worker.log"
    command = [sys.executable, "-m", "celery", "-A", "proj", "worker", "--pool=solo", "--loglevel=INFO"]
    with running(
        [*command, "--hostname=w@host"], log, {**environment(tmp_path), "C_FORCE_ROOT": "1"}, by=ENDS_BY
    ):
        wait_until_ready(log)
        status, printed, errors = run(tmp_path, "jobtastic", "check", "--timeout", PATIENCE)
    assert about("worker", printed.splitlines()) == ["ok    w@host uses this store"]
    assert (status, errors) == (0, "")


@pytest.mark.thorough
def test_a_worker_with_the_same_redis_for_a_store_shares_it_whatever_it_calls_it(shared, tmp_path):
    store = shared.redis()
    made = {"conf": {"broker_url": shared.redis(), "jobtastic_store": store}, "journal": ""}
    aliased = changed(made, jobtastic_store=store.replace("127.0.0.1", "localhost"))
    other = changed(made, jobtastic_store=shared.redis())
    with ExitStack() as stack:
        wait_until_ready(start(stack, tmp_path, "w", made))
        told = [about("worker", check(tmp_path, each, "--timeout", PATIENCE)[1]) for each in (aliased, other)]
    (same,), (another,) = told
    assert same == f"ok    w@host uses this store, as {store}"
    assert another.startswith(f"fix   w@host uses another store, {store} (redis:")


def test_no_worker_is_no_error(shared, tmp_path):
    conf = {"broker_url": shared.redis(), "jobtastic_store": used_store(tmp_path / "store")}
    status, lines = check(tmp_path, {"conf": conf, "journal": ""}, "--timeout", "0.1")
    (told,) = about("worker", lines)
    assert told.startswith("note  no worker answered within 0.1 s")
    assert (status, lines[-1]) == (0, "Nothing to fix.")
    required = check(tmp_path, {"conf": conf, "journal": ""}, "--timeout", "0.1", "--require-workers")
    assert (required[0], required[1][-1]) == (1, "1 thing to fix.")


def test_one_broker_of_several_is_enough(shared, tmp_path):
    with refusing() as first, refusing() as second:
        dead = ";".join(f"redis://127.0.0.1:{address.port}" for address in (first, second))
        conf = {"broker_url": f"{dead};{shared.redis()}", "jobtastic_store": used_store(tmp_path / "store")}
        status, lines = check(tmp_path, {"conf": conf, "journal": ""}, "--timeout", "0.1")
    assert about("worker", lines)[0].startswith("note  no worker answered within 0.1 s")
    assert status == 0


@pytest.mark.parametrize("kind", mainly("refused", "silent", of=DEAD))
def test_a_dead_store_is_told_in_time(tmp_path, kind):
    with DEAD[kind]() as address:
        conf = {"broker_url": "memory://", "jobtastic_store": f"redis://:s3cret@127.0.0.1:{address.port}/0"}
        status, lines = check(tmp_path, {"conf": conf, "journal": ""}, "--timeout", "0.1")
    (told,) = about("store", lines)
    assert told.startswith(
        f"fix   redis://**@127.0.0.1:{address.port}/0 does not work, so nothing is shared: "
    )
    assert (status, lines[-1]) == (1, "1 thing to fix.")
    assert "s3cret" not in "\n".join(lines)


@pytest.mark.parametrize(
    ("kind", "scheme"),
    mainly(("refused", "redis"), ("silent", "amqp"), of=itertools.product(DEAD, ["redis", "amqp"])),
)
def test_a_dead_broker_is_told_in_time(tmp_path, kind, scheme):
    with DEAD[kind]() as address:
        url = f"{scheme}://me:s3cret@127.0.0.1:{address.port}/0"
        conf = {"broker_url": url, "jobtastic_store": f"disk://{tmp_path}/store"}
        status, lines = check(tmp_path, {"conf": conf, "journal": ""})
    (told,) = about("worker", lines)
    assert told.startswith(f"fix   the broker {scheme}://**@127.0.0.1:{address.port}/0 cannot be reached: ")
    # Not that the check gave up, but what it was told.
    assert "TimeoutError: no answer within" not in told
    assert (status, lines[-1]) == (1, "1 thing to fix.")
    assert "s3cret" not in "\n".join(lines)
