"""A Django site whose results are in its own database: prints where and how they are read."""

from __future__ import annotations

import asyncio
import json
import sys
import threading

import django
from celery import Celery
from django.conf import settings

settings.configure(
    SECRET_KEY="secret",
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
    INSTALLED_APPS=["django_celery_results"],
)
django.setup()

from django.core.management import call_command  # noqa: E402 - they need the settings
from django.db import connection  # noqa: E402 - they need the settings
from django.test import AsyncClient, Client  # noqa: E402
from django.urls import include, path  # noqa: E402
from django_celery_results.backends import DatabaseBackend  # noqa: E402

from jobtastic_signals.web.django import status_routes, task_token  # noqa: E402


class Backend(DatabaseBackend):
    """Notes whether a reading finds a connection open, and which thread reads."""

    readings: list[tuple[bool, int]] = []

    def _get_task_meta_for(self, task_id):
        self.readings.append((connection.connection is not None, threading.get_ident()))
        return super()._get_task_meta_for(task_id)


celery_app = Celery("site", broker="memory://", backend=f"{__name__}:Backend", set_as_current=False)
urlpatterns = [path("task/", include(status_routes(celery_app)))]


async def ask(url: str) -> None:
    for _ in range(20):
        assert (await AsyncClient().get(url)).status_code == 200


if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    connection.close()
    url = f"/task/{task_token('a')}/status/"
    assert Client().get(url).status_code == 200
    ((_, thread),) = Backend.readings
    Backend.readings.clear()
    asyncio.run(ask(url))
    print(
        json.dumps(
            {
                "read by the thread of a WSGI request": thread == threading.get_ident(),
                "threads that read for ASGI requests": len({thread for _, thread in Backend.readings}),
                "connections found open": sum(found for found, _ in Backend.readings),
            }
        )
    )
