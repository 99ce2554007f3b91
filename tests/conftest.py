"""Apps in memory, and brokers that are down, for all tests."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.backends.cache import _DUMMY_CLIENT_CACHE

from jobtastic_signals import Jobtastic, Middleware, events
from jobtastic_signals.support.rare_warnings import rare_warnings
from jobtastic_signals.testing import Clock
from tests.support.passwords import PasswordWatch
from tests.support.shared import ADDRESS, Remote, Shared
from tests.support.sockets import refusing
from tests.support.unit_apps import NewApp, nothing_shared

SHARED = pytest.StashKey[Shared]()


#: Temporary folders are here where that has room: databases and brokers of tests wait for the disk otherwise.
MEMORY = Path("/dev/shm")
ROOM = 4 << 30


def pytest_configure(config: pytest.Config) -> None:
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ.setdefault("TMPDIR", str(MEMORY))
        tempfile.tempdir = None  # It is remembered.
    if not hasattr(config, "workerinput"):
        config.stash[SHARED] = Shared()
        if getattr(config.option, "dist", "no") != "no":
            config.stash[SHARED].serve()


def pytest_unconfigure(config: pytest.Config) -> None:
    if SHARED in config.stash:
        config.stash[SHARED].close()


@pytest.fixture(scope="session")
def shared(pytestconfig: pytest.Config) -> Shared | Remote:
    """Servers and workers that run for the whole session; see :mod:`.support.shared`."""
    return pytestconfig.stash.get(SHARED, None) or Remote(os.environ[ADDRESS])


@pytest.fixture(scope="session")
def password_watch() -> Iterator[PasswordWatch]:
    watch = PasswordWatch()
    logging.getLogger().addHandler(watch)
    yield watch
    logging.getLogger().removeHandler(watch)


@pytest.fixture(autouse=True)
def _no_password_is_logged(password_watch: PasswordWatch) -> Iterator[None]:
    """Fail a test during which a password of the tests was logged, in whichever thread."""
    yield
    assert password_watch.taken() == []


@pytest.fixture(autouse=True)
def warnings_are_due():
    """No warning is left out because another test had one of its kind."""
    rare_warnings.forget()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def down():
    """The URL of a broker that refuses connections."""
    with refusing() as address:
        yield f"redis://127.0.0.1:{address.port}/0"


@pytest.fixture
def answers():
    """How calls were answered without the broker: the task's name, the id, and in which way."""
    seen = []

    def remember(task, task_id, answer, **info):
        seen.append((task.name, task_id, answer))

    with events.broker_unavailable.connected_to(remember):
        yield seen


@pytest.fixture
def new_app() -> Iterator[NewApp]:
    """Makes an app, switched on unless ``plugin=False``; further keywords are its configuration.

    In the end all are switched off, and nothing of them is left.
    """
    apps: list[Celery] = []

    def make(*, plugin: bool = True, middleware: tuple[Middleware, ...] = (), **conf: Any) -> Celery:
        # As arguments, which configure nothing before somebody looks.
        defaults = {
            "broker_url": "memory://",
            "result_backend": "cache+memory://",
            "jobtastic_store": "memory://",
            "task_default_queue": uuid.uuid4().hex,
        }
        app = Celery("proj", set_as_current=False, **{**defaults, **conf})
        apps.append(app)
        if plugin:
            Jobtastic(app, middleware=middleware)
        return app

    with nothing_shared():
        yield make
    for app in apps:
        Jobtastic().uninstall(app)
        app.close()
    # All result backends of this kind share it.
    _DUMMY_CLIENT_CACHE.clear()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a body wait for its records however slow the machine is, so that a test sees them at once."""
    monkeypatch.setattr("jobtastic_signals.progress.turns.PATIENCE", 60.0)
