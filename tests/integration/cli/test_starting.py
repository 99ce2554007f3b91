"""A worker and a scheduler that start, with wrong settings and with right ones."""

from __future__ import annotations

import sys

import pytest

from tests.support.commands import COMMAND, environment, run
from tests.support.rare import rare
from tests.support.servers import running, wait_until
from tests.support.workers.projects import ENDS_BY

PROJECT = """
import os
from celery import Celery
from jobtastic_signals import Jobtastic
app = Celery("proj", broker=os.environ.get("BROKER", "memory://"), backend="cache+memory://")
app.config_from_object("settings", namespace="CELERY")
Jobtastic(app)
@app.task(cache_duration=60, herd_avoidance_timeout=60)
def report(): pass
"""

WITHOUT_REDIS = f"import sys; sys.modules['redis'] = None\n{COMMAND}"

LOCMEM = """
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
CELERY_JOBTASTIC_STORE = "django://default"
"""


@pytest.mark.parametrize(
    ("settings", "program", "errors"),
    [
        (
            "CELERY_JOBTASTIC_STROE = 'memory://'\nCELERY_JOBTASTIC_LEASE = 'soon'",
            COMMAND,
            [
                "unknown setting jobtastic_stroe='memory://'; did you mean 'jobtastic_store'?",
                "jobtastic_lease=",
            ],
        ),
        rare(
            "CELERY_JOBTASTIC_STORE = 'redis//localhost'", COMMAND, ["names no store; the stores are disk://"]
        ),
        (
            "CELERY_JOBTASTIC_STORE = 'redis://localhost'",
            WITHOUT_REDIS,
            ["redis:// needs redis, which is not installed: pip install 'jobtastic-signals[redis]'"],
        ),
        rare(LOCMEM, COMMAND, ["LocMemCache is private to each process"]),
    ],
    ids=["misspelt", "URL", "driver", "LocMemCache"],
)
def test_a_worker_with_wrong_settings_does_not_start_and_says_why_once(tmp_path, settings, program, errors):
    (tmp_path / "proj.py").write_text(PROJECT)
    (tmp_path / "settings.py").write_text(settings)
    status, _, printed = run(tmp_path, "worker", "--pool=solo", program=("-W", "ignore", "-c", program))
    assert status == 1
    first, *others = [line for line in printed.splitlines() if line]
    assert first.startswith("The worker cannot start: ")
    assert len(others) == len(errors) - 1
    assert all(error in line for error, line in zip(errors, [first, *others], strict=True))


def test_a_worker_warns_of_settings_that_do_not_do_what_was_meant(tmp_path):
    (tmp_path / "proj.py").write_text(PROJECT)
    (tmp_path / "settings.py").write_text(
        "JOBTASTIC_STORE = 'redis://localhost'\nCELERY_TASK_IGNORE_RESULT = True\n"
    )
    log = tmp_path / "worker.log"
    command = [sys.executable, "-m", "celery", "-A", "proj", "worker", "--pool=solo", "--loglevel=INFO"]
    with running(command, log, {**environment(tmp_path), "C_FORCE_ROOT": "1"}, by=ENDS_BY):
        wait_until(lambda: b" ready." in log.read_bytes(), what="the worker")
    written = log.read_text()
    assert written.count("JOBTASTIC_STORE has no effect; its name is CELERY_JOBTASTIC_STORE") == 1
    assert written.count("task_ignore_result is set, so nobody can read the results") == 1
    assert "progress of proj.report;" in written


def test_beat_logs_what_it_did_not_send(shared, tmp_path):
    (tmp_path / "proj.py").write_text(PROJECT)
    (tmp_path / "settings.py").write_text(
        "CELERY_BEAT_SCHEDULE = {'reports': {'task': 'proj.report', 'schedule': 1.0}}\n"
    )
    log = tmp_path / "beat.log"
    command = [sys.executable, "-m", "celery", "-A", "proj", "beat", "--loglevel=INFO"]
    command += ["--schedule", str(tmp_path / "schedule"), "--pidfile", str(tmp_path / "beat.pid")]
    with running(command, log, {**environment(tmp_path), "BROKER": shared.redis()}, by=ENDS_BY):
        wait_until(lambda: b"] proj.report was due" in log.read_bytes(), what="beat")
    assert "proj.report was due, and is not sent: the call joins " in log.read_text()
