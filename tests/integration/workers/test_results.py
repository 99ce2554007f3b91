"""Cached results outlive what Celery's result backend keeps."""

from __future__ import annotations

from celery import Celery

from jobtastic_signals import Result
from tests.support.servers import wait_until
from tests.support.workers.project import close, create_app, poll
from tests.support.workers.projects import celery, on

TIMEOUT = 60


def is_stored(project, name, *args):
    return isinstance(project.store.lookup(project.key(name, *args)), Result)


def test_a_cached_result_that_the_backend_forgot_is_delivered_to_a_poller_by_id(project, token):
    first = project.cached.delay(token)
    value = first.get(timeout=TIMEOUT)
    wait_until(lambda: is_stored(project, "cached", token), what="the result in the store")
    first.forget()
    assert poll(project, first.id) == ("PENDING", None)
    again = project.cached.delay(token)
    assert again.id == first.id
    assert again.get(timeout=TIMEOUT) == value
    assert poll(project, first.id) == ("SUCCESS", value)
    assert len(project.runs("cached", token)) == 1


@on("redis-prefork")
def test_a_result_kept_for_ever_outlives_a_short_result_expires(project, token):
    client = create_app({**project.made["conf"], "result_expires": 1}, project.made["journal"])
    first = client.kept.delay(token)
    value = first.get(timeout=TIMEOUT)
    wait_until(lambda: is_stored(project, "kept", token), what="the result in the store")
    project.app.backend.client.pexpire(project.app.backend.get_key_for_task(first.id), 50)
    wait_until(lambda: poll(project, first.id) == ("PENDING", None), what="the expiry in the backend")
    again = client.kept.delay(token)
    assert poll(project, again.id) == ("SUCCESS", value)
    # What was written back expires again, and is written back again.
    wait_until(lambda: poll(project, first.id) == ("PENDING", None), what="the second expiry")
    assert poll(project, client.kept.delay(token).id) == ("SUCCESS", value)
    assert len(project.runs("kept", token)) == 1
    close(client.app)


def test_a_cache_without_herd_avoidance_serves_later_calls(project, token):
    value = project.only_cached.delay(token).get(timeout=TIMEOUT)
    wait_until(lambda: project.only_cached.delay(token).get(timeout=TIMEOUT) == value, what="the cache")
    assert project.only_cached.delay(n=token, seconds=3).get(timeout=TIMEOUT) == value


@on("redis-prefork", "rabbitmq-prefork", rarely=["filesystem-prefork"])
def test_send_task_and_a_client_without_the_tasks_code_get_the_cached_value(project, token):
    value = project.cached.delay(token).get(timeout=TIMEOUT)
    by_name = project.app.send_task(project.cached.name, (token,))
    assert by_name.get(timeout=TIMEOUT) == value
    stranger = Celery("stranger", set_as_current=False)
    stranger.conf.update({key: item for key, item in project.made["conf"].items() if "jobtastic" not in key})
    result = stranger.send_task(project.cached.name, kwargs={"n": token})
    assert result.get(timeout=TIMEOUT) == value
    assert len({value[1], by_name.id, result.id}) == 3
    close(stranger)
    assert len(project.runs("cached", token)) == 1


@on("redis-prefork")
def test_a_beat_entry_by_name_is_served_too(project, token, tmp_path):
    """The scheduler knows the name alone; a callback tells what each entry of it got."""
    value = project.cached.delay(token).get(timeout=TIMEOUT)
    options = {"link": {"task": project.mark.name, "args": [token], "kwargs": {}, "options": {}}}
    entry = {"task": project.cached.name, "schedule": 0.2, "args": [token], "options": options}
    conf = {**project.made["conf"], "beat_schedule": {"often": entry}}
    with celery(conf, "bare", tmp_path / "beat.log", "beat", f"--schedule={tmp_path}/schedule"):
        wait_until(lambda: len(project.runs("mark", value, token)) >= 3, what="three served entries")
    assert len(project.runs("cached", token)) == 1
