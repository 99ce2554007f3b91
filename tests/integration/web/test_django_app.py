"""The Django app in a project: its template tag, its page in the admin, and its checks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from jobtastic_signals.cli.check.base import SUBJECTS
from tests.support.web.servers import ROOT

SCRIPT = '<script type="module" src="/task/progress.js"></script>\n'


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    """What the project prints."""
    command = [sys.executable, "-m", "tests.support.web.django_app"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_tag_renders_the_element_with_its_script_and_all_text_escaped(said):
    tags = said["tags"]
    assert tags["result"] == (
        f'{SCRIPT}<jobtastic-progress interval="500" src="/task/{tags["token"]}/status/" cancel>'
        "&lt;b&gt;Ada &amp; Co&lt;/b&gt;</jobtastic-progress>"
    )


def test_the_tag_takes_an_id_a_token_and_what_sharing_of_returned(said):
    tags = said["tags"]
    tokens = [tags["token of the id"], tags["token"], tags["token"]]
    elements = [f'<jobtastic-progress src="/task/{token}/status/"></jobtastic-progress>' for token in tokens]
    assert tags["others"] == [SCRIPT + element for element in elements]


def test_a_page_has_the_script_once_also_where_it_includes_templates(said):
    assert said["tags"]["twice"].count("<script") == 1
    assert said["tags"]["twice"].count("<jobtastic-progress ") == 2


def test_what_is_wrong_with_a_tag_is_an_error_that_says_what_to_do(said):
    tags = said["tags"]
    assert 'path("task/", include(status_routes(celery_app)))' in tags["without routes"]
    assert tags["no task"].startswith("ValueError: '' is not a task id")
    assert tags["misspelt"].endswith("received unexpected keyword argument 'cancle'")


def test_who_may_view_shared_runs_sees_the_page_in_the_admin(said):
    admin = said["admin"]
    expected = {"nobody": 302, "staff": 403, "viewer": 200, "operator": 200}
    assert (admin["pages"], admin["rows"], admin["files"]) == (expected, expected, [200, 200])
    assert admin["index"]
    for text in ("Django administration", "&rsaquo; Shared runs", "shop.report", "celery@web1"):
        assert text in admin["page"]


def test_who_may_change_them_can_release_and_only_with_a_csrf_token(said):
    admin = said["admin"]
    assert admin["may change"] == {"viewer": False, "operator": True}
    assert admin["posts"] == {
        "viewer without a token": 403,
        "viewer with a token": 403,
        "operator without a token": 403,
        "operator with a token": 200,
    }
    assert not admin["claim"]


def test_django_runs_our_checks_and_tries_the_store_only_before_a_deployment(said):
    """A store that hangs must not hold back each command."""
    ((message_id, text, hint),) = said["checks"]["with memory://"]
    assert message_id == "jobtastic.W002"
    assert text.startswith("jobtastic_store is memory://")
    assert hint.startswith("On one host use disk://")
    assert said["checks"]["with a broken store"] == [[], ["jobtastic.W005"]]


PROJECT = """
from celery import Celery
from jobtastic_signals import Jobtastic

celery_app = Celery("proj", broker="memory://", backend="cache+memory://")
celery_app.conf.jobtastic_store = "memory://"
Jobtastic(celery_app)

@celery_app.task(herd_avoidance_timeout=60)
def report(customer):
    return customer

Celery("other")
"""

VISIT = """
import django

django.setup()
from django.apps import apps
from django.core.management import call_command
from django.test import Client

call_command("migrate", verbosity=0)
page = Client().get("/report/").content.decode()
main = apps.get_app_config("jobtastic").celery_app.main
print(main, page.count("<script"), page.count("<jobtastic-progress"))
"""

PAGE = (ROOT / "docs" / "how-to" / "django-app.md").read_text()


@pytest.mark.parametrize(
    ("ours", "main"), [("jobtastic_signals.django", "other"), ("apps.OurJobtastic", "proj")]
)
def test_the_project_that_the_page_shows_has_a_bar_and_the_celery_app_that_it_names(tmp_path, ours, main):
    (tmp_path / "proj.py").write_text(PROJECT)
    for name, code in re.findall(r"```\w+\n(?:# |<!-- )([\w.]+)(?: -->)?\n(.*?)```", PAGE, re.DOTALL):
        (tmp_path / name).write_text(code)
    settings = (tmp_path / "settings.py").read_text().replace("jobtastic_signals.django", ours)
    (tmp_path / "settings.py").write_text(f"import proj\n{settings}ALLOWED_HOSTS = ['testserver']\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "DJANGO_SETTINGS_MODULE": "settings"}
    command = [sys.executable, "-c", VISIT]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == f"{main} 1 1\n", done.stderr


def test_the_page_lists_the_ids_of_the_checks():
    """A worker is not asked, and the plugin is enabled or not."""
    numbers = [f"{number:03}" for number, subject in enumerate(SUBJECTS, 1) if subject != "worker"]
    listed = re.findall(r"`jobtastic\.([WI]\d+)`", PAGE)
    assert listed == [f"{kind}{number}" for number in numbers for kind in "WI" if f"{kind}{number}" != "I001"]
