"""What type checkers are told of tasks is what tasks have; ``tox -e user-types`` runs the type checkers."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import celery
import pytest

import jobtastic_signals.typing
from jobtastic_signals import overrides
from tests.support.unit_apps import real

SOURCE = ast.parse(Path(jobtastic_signals.typing.__file__).read_text())
METHODS = {
    node.name: node
    for each in ast.walk(SOURCE)
    if isinstance(each, ast.ClassDef)
    for node in each.body
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
}


def test_at_run_time_they_are_celerys_own():
    assert jobtastic_signals.typing.Task is celery.Task
    assert jobtastic_signals.typing.shared_task is celery.shared_task


def test_type_checkers_know_all_methods_that_tasks_get():
    assert METHODS.keys() == overrides._FUNCTIONS.keys()


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_the_parameters_of_its_function(name):
    function = getattr(jobtastic_signals, name)
    expected = [each for each in inspect.signature(function).parameters if each != "task"]
    found = METHODS[name].args
    names = [each.arg for each in (*found.args, found.vararg, *found.kwonlyargs, found.kwarg) if each]
    assert [each for each in names if each != "self"] == expected


def test_an_app_with_that_class_has_tasks_as_ever(new_app):
    app = new_app(task_cls=jobtastic_signals.typing.Task)

    @app.task(herd_avoidance_timeout=60, bind=True)
    def report(self: celery.Task, customer: str) -> str:
        self.update_progress(1, 2)
        return customer

    assert report.apply(("acme",)).get() == "acme"
    assert isinstance(real(report), celery.Task)
