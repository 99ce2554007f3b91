"""The app's configuration, which Django finds by the name of the package."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery import Celery
from celery.app import app_or_default
from django.apps import AppConfig
from django.core import checks

from .checks import check_project, check_store

__all__ = ["JobtasticConfig"]


class JobtasticConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    """The app with the label ``jobtastic``.

    :ivar celery_app: the Celery app that the checks and the admin are about: the current one when Django is
        set up. In a project with several, set it in a subclass, and put that into ``INSTALLED_APPS``.
    """

    name: str = "jobtastic_signals.django"
    label: str = "jobtastic"
    verbose_name: str = "Jobtastic"
    default_auto_field: str = "django.db.models.BigAutoField"
    celery_app: Celery[Any] | None = None

    def ready(self) -> None:
        if self.celery_app is None:
            # Later, other threads would find Celery's default app here.
            self.celery_app = app_or_default()
        checks.register(partial(check_project, self.celery_app), "jobtastic")
        checks.register(partial(check_store, self.celery_app), "jobtastic", deploy=True)
