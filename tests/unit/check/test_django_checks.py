"""What ``manage.py check`` says: the findings of ``jobtastic check`` as messages with an id and a hint."""

import pytest
from celery import Celery
from celery.signals import import_modules
from django.core import checks

from jobtastic_signals.cli.check.base import Level
from jobtastic_signals.django.checks import check_project, check_store
from tests.support.checks import checked


def test_an_app_that_is_well_has_no_messages(app, report):
    assert check_project(app) == []
    assert check_store(app) == []


@pytest.mark.parametrize(
    ("conf", "kind", "message_id"),
    [
        ({"plugin": False}, checks.Warning, "jobtastic.W001"),
        ({"jobtastic_stroe": "x"}, checks.Warning, "jobtastic.W002"),
        ({"jobtastic_store": "memory://"}, checks.Warning, "jobtastic.W002"),
        ({"result_backend": "nosuch://"}, checks.Warning, "jobtastic.W004"),
        ({"result_backend": "rpc://"}, checks.Info, "jobtastic.I004"),
    ],
    ids=str,
)
def test_each_finding_is_a_message_with_its_remedy_as_the_hint(new_app, folder, conf, kind, message_id):
    app = new_app(**{"jobtastic_store": f"disk://{folder}", **conf})
    (message,) = check_project(app)
    assert (type(message), message.id) == (kind, message_id)
    said = [each for each in checked(app).findings if each.level is not Level.OK and each.subject != "worker"]
    assert [(message.msg, message.hint)] == [(each.text, each.remedy or None) for each in said]


def test_a_misspelt_option_is_one_message(app):
    @app.task(name="report", shared=False, cache_duratoin=60)
    def report():
        pass

    (message,) = check_project(app)
    assert message.id == "jobtastic.W003"
    assert "did you mean 'cache_duration'?" in message.msg


def test_tasks_that_cannot_be_imported_are_a_message(app):
    @import_modules.connect(sender=app, weak=False)
    def fail(**_):
        raise ModuleNotFoundError("No module named 'reportlab'")

    (message,) = check_project(app)
    assert message.msg == "the tasks cannot be loaded: ModuleNotFoundError: No module named 'reportlab'"


def test_a_store_that_does_not_work_is_a_warning_and_no_error(new_app, tmp_path):
    (tmp_path / "file").touch()
    (message,) = check_store(new_app(jobtastic_store=f"disk://{tmp_path}/file"))
    assert (type(message), message.id) == (checks.Warning, "jobtastic.W005")
    assert check_project(new_app(jobtastic_store=f"disk://{tmp_path}/file")) == []


def test_a_project_that_does_not_import_its_celery_app_is_reported():
    fallback = Celery("default", fixups=[], set_as_current=False)  # As Celery makes it.
    (message,) = check_project(fallback)
    assert (message.id, message.hint) == (
        "jobtastic.W001",
        "Import it in the __init__.py of the project: from .celery import app as celery_app",
    )
