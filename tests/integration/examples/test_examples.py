"""The examples do what they say, in a browser and with all their services."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests.support.servers import wait_until
from tests.support.web.browser import ELEMENT, INSIDE, Page

from .conftest import Example

#: In `tox -e examples`, and in the thorough tests.
pytestmark = pytest.mark.thorough

ROWS = "return [...document.querySelectorAll('table tr')].map((row) => row.innerText)"

#: What the admin's page has around our part of it.
HOST = "document.getElementById('jobtastic-operator')"

only_django = pytest.mark.parametrize(
    "example", [pytest.param("django", marks=pytest.mark.xdist_group("django"))], indirect=True
)


@pytest.fixture
def other_page(browser: Chrome) -> Iterator[Page]:
    page = Page(browser)
    yield page
    page.close()


def ask(example: Example, page: Page, customer: str) -> None:
    """Ask for the report of *customer* as a visitor does."""
    page.open(f"{example.url}/")
    page.driver.find_element(By.NAME, "customer").send_keys(customer)
    page.driver.find_element(By.TAG_NAME, "button").click()
    wait_until(lambda: has(page, f"{ELEMENT}?.shadowRoot"), what="the element")


def has(page: Page, what: str) -> bool:
    """Return whether *what* is there, in a page that may be on its way to the next one."""
    with suppress(WebDriverException):
        return bool(page.run(f"return Boolean({what})"))
    return False


def published(example: Example) -> int:
    """Return how many calls were published, as the worker's log says before it runs them."""
    return len(re.findall(r"sales_report\[.*received", example.log("worker")))


def test_all_who_ask_for_the_same_report_share_one_run(example, page, other_page):
    before = published(example)
    ask(example, page, "Acme")
    ask(example, other_page, "Acme")
    for each in (page, other_page):
        each.shows(state="success")
        assert each.run(ROWS)[0].split() == ["January", "1,200"]
        assert len(each.run(ROWS)) == 12
        assert not each.complaints()
    ask(example, page, "Acme")
    page.shows(state="success")
    assert published(example) == before + 1


def test_a_run_ends_when_nobody_wants_it_any_more(example, page, other_page):
    ask(example, page, "Globex")
    ask(example, other_page, "Globex")
    page.shows(state="progress", message="Adding up the months")
    for each, revoked in ((page, False), (other_page, True)):
        each.run(f"{INSIDE}.querySelector('[part=cancel]').click()")
        each.shows(state="cancelled", message="It was cancelled.")
        assert [event["detail"] for event in each.told("left")] == [{"revoked": revoked}]
    wait_until(lambda: "Terminating" in example.log("worker"), what="the end of the run")


def test_people_read_why_there_is_no_report(example, page):
    ask(example, page, "Umbrella")
    page.shows(state="failure", message="There is no customer called Umbrella.")


#: Asks for a report, and then sends what beat is to send in the morning.
MORNING = """
from celery.beat import Scheduler
from django_celery_results.models import TaskResult
from reports.tasks import sales_report
from shop import celery_app

first = sales_report.delay("Acme")
first.get(timeout=60)
beat = Scheduler(celery_app, lazy=True)
beat.setup_schedule()
(entry,) = [each for each in beat.schedule.values() if each.task == sales_report.name]
renewed = beat.apply_async(entry, advance=False)
renewed.get(timeout=60)
for result in (first, renewed):
    kept = TaskResult.objects.get(task_id=result.id)
    print(kept.status, kept.task_name, result == first)
"""


@only_django
def test_beat_renews_a_cached_report_and_the_database_keeps_both(example):
    printed = example.run("python manage.py shell --verbosity=0 -c", MORNING)
    name = "reports.tasks.sales_report"
    assert printed.splitlines() == [f"SUCCESS {name} True", f"SUCCESS {name} False"]


@only_django
def test_django_has_nothing_against_the_project(example):
    said = example.run("python manage.py check --tag=jobtastic --deploy")
    assert said.startswith("System check identified no issues")


SIGN_IN = """
from django.contrib.auth.models import User
from django.test import Client

client = Client()
client.force_login(User.objects.create_superuser("ada"))
print(client.session.session_key)
"""


@only_django
def test_the_admin_shows_the_run_and_frees_it(example, page, other_page):
    session = example.run("python manage.py shell --verbosity=0 -c", SIGN_IN).strip()
    ask(example, other_page, "Globex")
    page.open(f"{example.url}/")
    page.driver.add_cookie({"name": "sessionid", "value": session})
    page.open(f"{example.url}/admin/jobtastic/sharedrun/")
    inside = f"{HOST}.shadowRoot"

    def row() -> str:
        return page.run(f"return {inside}.querySelector('#in_flight tbody').innerText")

    wait_until(lambda: "running" in row() and "Adding up the months" in row(), what="the run")
    button = f"{inside}.querySelector('#in_flight .action button')"
    wait_until(lambda: has(page, f"{button}?.textContent === 'Release'"), what="the button")
    page.run(f"{button}.click(); {inside}.querySelector('dialog .yes').click()")
    status = f"return {inside}.getElementById('status').textContent"
    wait_until(lambda: page.run(status) == "The claim was released.", what="the release")
    assert not page.complaints()
