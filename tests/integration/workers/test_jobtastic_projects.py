"""The task and the views of jobtastic's README, in our words, with a real worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.servers import running, wait_until
from tests.support.shared import Shared
from tests.support.workers.projects import ENDS_BY, ROOT

SETTINGS = """
SECRET_KEY, ALLOWED_HOSTS, ROOT_URLCONF, USE_TZ = "x" * 50, ["testserver"], "django_site", True
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "shared": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "REDIS"},
}
CELERY_BROKER_URL = CELERY_RESULT_BACKEND = "REDIS"
CELERY_JOBTASTIC_STORE_OPTIONS = {"timeout": 60}
CELERY_JOBTASTIC_BROKER_DEADLINE = CELERY_JOBTASTIC_LEASE = 300
JOBTASTIC_CACHE = "shared"
"""

TASKS = """
from pathlib import Path
from time import sleep

from celery import Celery
from jobtastic_signals.compat import JobtasticTask

app = Celery("project")
app.config_from_object("django.conf:settings", namespace="CELERY")

class ManyDivisions(JobtasticTask):
    significant_kwargs = [("numerators", str), ("denominators", str)]
    herd_avoidance_timeout = 600
    cache_duration = 0

    def calculate_result(self, numerators, denominators, **kwargs):
        with open("runs", "a") as runs:
            runs.write(self.request.id + "\\n")
        quotients = []
        for count, (numerator, denominator) in enumerate(zip(numerators, denominators)):
            quotients.append(numerator / denominator)
            self.update_progress(count, len(numerators), update_frequency=10)
            while count == 50 and not Path("go-on").exists():
                sleep(0.01)
        return quotients
"""

DJANGO = """
from django.http import JsonResponse
from django.urls import path
from project import ManyDivisions

def divide(request):
    count, step = int(request.GET.get("count", 100)), 10
    result = ManyDivisions.delay_or_fail(
        numerators=range(0, step * count * 2, step * 2), denominators=range(1, step * count, step)
    )
    return JsonResponse({"task_id": result.task_id})

urlpatterns = [path("divide", divide)]
"""

FLASK = """
from flask import Flask, request
from project import ManyDivisions

site = Flask(__name__)

@site.get("/divide")
def divide():
    count, step = request.args.get("count", 100, type=int), 10
    result = ManyDivisions.delay_or_fail(
        numerators=range(0, step * count * 2, step * 2), denominators=range(1, step * count, step)
    )
    return {"task_id": result.task_id}
"""

CALLER = """
import json
import time
from pathlib import Path

import django

django.setup()
from django.test import Client
from flask_site import site
from project import ManyDivisions

def ask():
    return Client().get("/divide").json()["task_id"], site.test_client().get("/divide").json["task_id"]

ids = [*ask()]
result = ManyDivisions.AsyncResult(ids[0])
deadline = time.monotonic() + 120
while not (result.state == "PROGRESS" and result.info["progress_percent"] >= 50):
    assert time.monotonic() < deadline, result.state
    time.sleep(0.02)
shown = result.info
Path("go-on").touch()
quotients = result.get(timeout=120)
ids += ask()
print(json.dumps({"ids": ids, "shown": shown, "quotients": quotients}))
"""


def test_both_views_share_one_run_of_the_task_and_see_its_progress(tmp_path: Path, shared: Shared):
    settings = SETTINGS.replace("REDIS", shared.redis())
    files = {"project": TASKS, "settings": settings, "django_site": DJANGO, "flask_site": FLASK}
    for name, source in {**files, "caller": CALLER}.items():
        (tmp_path / f"{name}.py").write_text(source)
    env = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "DJANGO_SETTINGS_MODULE": "settings"}
    celery = [sys.executable, "-m", "celery", "--app=project", f"--workdir={tmp_path}"]
    worker = [*celery, "worker", "--pool=solo", "--loglevel=INFO", "--without-gossip", "--without-mingle"]
    log = tmp_path / "worker.log"
    with running(worker, log, env, by=ENDS_BY):
        wait_until(lambda: b" ready." in log.read_bytes(), timeout=180, what="the worker")
        done = subprocess.run(
            [sys.executable, "caller.py"],
            cwd=tmp_path,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr + log.read_text()
    seen = json.loads(done.stdout)
    (run,) = (tmp_path / "runs").read_text().split()
    assert seen["ids"] == [run] * 4
    assert (seen["shown"]["progress_percent"], seen["shown"]["total"]) == (50, 100)
    assert seen["quotients"] == [n * 20 / (n * 10 + 1) for n in range(100)]
