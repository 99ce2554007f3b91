"""A page with jQuery, which polls in the manner of jquery-celery, works with our endpoints."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.rare import rare
from tests.support.servers import wait_until
from tests.support.web import site as site_module
from tests.support.web.browser import new_id, progress

JQUERY = Path("/usr/share/javascript/jquery/jquery.js")
SCRIPT = Path(site_module.__file__).with_name("jquery_polling.js")
HEAD = "<!doctype html><script src=/file/jquery.js></script><script src=/file/jquery_polling.js></script>"


@pytest.fixture(scope="module", params=["flask", rare("django")])
def site(request, open_site):
    if not JQUERY.exists():
        message = f"{JQUERY} is not installed"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    site = open_site(request.param, authorize="everybody")
    for path in (JQUERY, SCRIPT):
        site.put(path.name, path.read_bytes())
    return site


def open_page(site, page, task_id):
    url = site.put(f"{task_id}.html", f"{HEAD}<div id=task data-id={task_id}><div class=bar></div></div>")
    page.open(url)
    assert page.run("return jQuery.fn.jquery").startswith("3.")


def attribute(page, name):
    return page.run("return jQuery('#task').attr(arguments[0]) ?? ''", f"data-{name}")


def test_it_sees_a_task_that_waits_runs_and_succeeds(site, page):
    task_id = new_id()
    open_page(site, page, task_id)
    wait_until(lambda: attribute(page, "seen").endswith("PENDING"), what="a waiting task")
    site.store(task_id, progress(42), "PROGRESS")
    wait_until(lambda: page.run("return jQuery('.bar')[0].style.width") == "42%", what="a bar at 42 percent")
    site.app.backend.mark_as_done(task_id, {"rows": 3})
    wait_until(lambda: attribute(page, "end") == "SUCCESS", what="a success")
    assert list(dict.fromkeys(attribute(page, "seen").split())) == ["PENDING", "PROGRESS", "SUCCESS"]
    assert json.loads(page.run("return jQuery('#task').text()")) == {"rows": 3}
    assert not page.complaints()


@pytest.mark.parametrize("end", ["mark_as_failure", "mark_as_revoked"])
def test_every_other_end_is_a_failure_to_it(site, page, end):
    task_id = new_id()
    open_page(site, page, task_id)
    wait_until(lambda: attribute(page, "seen").endswith("PENDING"), what="a waiting task")
    getattr(site.app.backend, end)(task_id, ValueError("end"))
    wait_until(lambda: attribute(page, "end") == "FAILURE", what="an end")
