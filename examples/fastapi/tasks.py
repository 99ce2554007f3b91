"""The Celery app and its slow task."""

import os
import time
from calendar import month_name

from celery import Celery
from jobtastic_signals import Jobtastic, UserFacingError, track

REDIS_URL = os.environ["REDIS_URL"]

celery_app = Celery("tasks", broker=REDIS_URL, backend=REDIS_URL)
celery_app.conf.jobtastic_store = REDIS_URL  # The app and the worker have no folder in common.
Jobtastic(celery_app)

SALES = {"Acme": 1200, "Globex": 800}


@celery_app.task(herd_avoidance_timeout=60, cache_duration=600)
def sales_report(customer):
    if customer not in SALES:
        raise UserFacingError(f"There is no customer called {customer}.")
    rows = []
    for number, month in enumerate(track(month_name[1:], message="Adding up the months")):
        time.sleep(0.5)  # This stands for a slow query.
        rows.append((month, SALES[customer] + 10 * number))
    return rows
