"""The slow task."""

import time
from calendar import month_name

from celery import shared_task
from jobtastic_signals import UserFacingError, track

SALES = {"Acme": 1200, "Globex": 800}


@shared_task(herd_avoidance_timeout=60, cache_duration=600)
def sales_report(customer):
    if customer not in SALES:
        raise UserFacingError(f"There is no customer called {customer}.")
    rows = []
    for number, month in enumerate(track(month_name[1:], message="Adding up the months")):
        time.sleep(0.5)  # This stands for a slow query.
        rows.append((month, SALES[customer] + 10 * number))
    return rows
