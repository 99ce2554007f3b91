"""An app with a store on disk, and its commands, run in this process."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from jobtastic_signals.cli import jobtastic
from jobtastic_signals.stores.disk import DiskStore
from tests.support.unit_apps import key_of, use_store

WORKER = "celery@web1~0f/5a"


class Answer(SimpleNamespace):
    """What a command has printed, and its exit status."""

    @property
    def json(self):
        return json.loads(self.printed)

    @property
    def lines(self):
        return self.printed.splitlines()


@pytest.fixture
def app(new_app, folder):
    app = new_app(jobtastic_store=f"disk://{folder}")

    tags = ["customer:{customer}"]

    @app.task(name="proj.report", shared=False, herd_avoidance_timeout=60, cache_duration=60, cache_tags=tags)
    def report(customer, year=2026, verbose=False):
        return customer

    @app.task(name="proj.total", shared=False, cache_duration=60)
    def total(numbers):
        return sum(numbers)

    @app.task(name="proj.plain", shared=False)
    def plain():
        pass

    return app


@pytest.fixture
def store(app, folder, clock):
    """The app's store, whose clock stands still."""
    return use_store(app, DiskStore(f"disk://{folder}", clock=clock))


@pytest.fixture
def key(app):
    return key_of(app.tasks["proj.report"], "acme")


@pytest.fixture
def run(app, capsys):
    """Runs ``celery -A proj jobtastic ...``."""

    def run(*words):
        with pytest.raises(SystemExit) as ending:
            jobtastic.main(args=words, prog_name="jobtastic", obj=SimpleNamespace(app=app, no_color=True))
        printed, errors = capsys.readouterr()
        return Answer(status=ending.value.code, printed=printed, errors=errors)

    return run
