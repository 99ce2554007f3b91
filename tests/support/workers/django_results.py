"""A worker with django-celery-results on PostgreSQL, as the environment says."""

from __future__ import annotations

import os
import time
from pathlib import Path

import django
from celery import Celery
from django.conf import settings

from jobtastic_signals import Jobtastic, update_progress

settings.configure(
    SECRET_KEY="of the tests",
    INSTALLED_APPS=["django_celery_results"],
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": "127.0.0.1",
            "PORT": os.environ["POSTGRESQL_PORT"],
            "USER": "postgres",
            "NAME": "postgres",
            # Longer than the test, so that nobody but the server closes a connection.
            "CONN_MAX_AGE": 600,
        }
    },
)
django.setup()

app = Celery("django_results", broker=os.environ["BROKER"], backend="django-db")
app.conf.update(jobtastic_store="memory://", worker_hijack_root_logger=False)
Jobtastic(app)


@app.task(name="quiet", herd_avoidance_timeout=60)
def quiet(over: str) -> str:
    """Report twice at once, so that the second is held back, and go on until the test says so."""
    update_progress(1, 10)
    update_progress(2, 10, message="held back")
    while not Path(over).exists():
        time.sleep(0.02)
    return "well"


if __name__ == "__main__":
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
