"""What real workers do with messages whose callers were answered otherwise."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial

import pytest
from celery.result import EagerResult

from jobtastic_signals import async_or_eager, async_or_fail, delay_or_eager, delay_or_fail
from jobtastic_signals.fallback import attempt as publishing
from jobtastic_signals.installation import installation_on
from tests.support.servers import rabbitmq_server, wait_until
from tests.support.workers.project import assert_stays, close, create_app, poll
from tests.support.workers.projects import on
from tests.support.workers.proxies import before

TIMEOUT = 60

#: A task with options, and one without.
WITH, WITHOUT = "double", "mark"


def on_each(*setups_and_tasks: tuple[str, str]) -> pytest.MarkDecorator:
    """Run a test on the worker of each setup, with the task."""
    return pytest.mark.parametrize(("project", "name"), setups_and_tasks, indirect=["project"])


@contextmanager
def client_behind(project, token, *, delivers=None):
    """A client of *project* that loses its broker when it sends *token*, and the proxy that does it.

    What it sent is held back, or is delivered until *delivers* says so. Then its time is over.
    """
    with (
        before(project.app.conf.broker_url, token.encode(), delivers=delivers is not None) as proxy,
        pytest.MonkeyPatch.context() as patch,
    ):
        conf = {**project.made["conf"], "broker_url": proxy.url, "jobtastic_broker_deadline": 120}
        client = create_app(**{**project.made, "conf": conf})

        def wait(attempt, seconds):
            wait_until(delivers or proxy.marked.is_set, what="the message")
            return attempt._ended

        patch.setattr(publishing.Attempt, "wait", wait)
        try:
            yield client, proxy
        finally:
            close(client.app)


@on_each(
    ("redis-prefork", WITH),
    ("redis-prefork", WITHOUT),
    ("redis-threads", WITH),
    ("rabbitmq-prefork", WITHOUT),
)
def test_a_failed_call_whose_message_slips_out_later_does_not_run(project, token, name):
    with client_behind(project, token) as (client, proxy):
        result = delay_or_fail(getattr(client, name), token)
        assert proxy.marked.is_set()
        assert result.state == "FAILURE"
        proxy.release()
        wait_until(lambda: f"{result.id}] was answered without" in project.log.read_text(), what="the drop")
    assert_stays(project, result.id, "FAILURE")
    assert project.runs(name, token) == []


@on_each(("redis-prefork", WITH), ("rabbitmq-prefork", WITHOUT))
def test_an_eager_call_whose_message_slips_out_later_runs_once(project, token, name):
    with client_behind(project, token) as (client, proxy):
        result = delay_or_eager(getattr(client, name), token)
        assert isinstance(result, EagerResult)
        proxy.release()
        wait_until(lambda: f"{result.id}] was answered without" in project.log.read_text(), what="the drop")
    assert_stays(project, result.id, "SUCCESS")
    assert len(project.runs(name, token)) == 1


@on_each(("redis-prefork", WITH), ("rabbitmq-prefork", WITHOUT))
def test_a_call_of_which_only_the_confirmation_was_lost_runs_in_the_worker(project, token, name):
    for function in (async_or_fail, async_or_eager):
        argument = f"{token}-{function.__name__}"
        runs = partial(project.runs, name, argument)
        with client_behind(project, argument, delivers=runs) as (client, proxy):
            result = function(getattr(client, name), (argument,))
            assert proxy.marked.is_set()
            assert not isinstance(result, EagerResult)
        wait_until(lambda result=result: poll(project, result.id)[0] == "SUCCESS", what="the result")
        assert len(runs()) == 1


@on("redis-prefork", "rabbitmq-prefork")
def test_who_joined_a_call_that_failed_is_told_so_and_the_next_one_runs(project, token):
    with client_behind(project, token) as (client, proxy):
        failed = delay_or_fail(client.double, token)
        proxy.release()
    assert poll(project, failed.id)[0] == "FAILURE"
    other = project.double.delay(token)
    assert other.id != failed.id
    assert other.get(timeout=TIMEOUT) == token * 2
    assert len(project.runs("double", token)) == 1


@contextmanager
def patient_client(project):
    """A client of *project* for which a busy machine is no broker that is down."""
    conf = {**project.made["conf"], "jobtastic_broker_deadline": 60}
    client = create_app(**{**project.made, "conf": conf})
    try:
        yield client
    finally:
        close(client.app)


def test_calls_run_in_the_worker_while_the_broker_is_well(project, token):
    with patient_client(project) as client:
        results = [
            delay_or_fail(client.cached, token),
            delay_or_eager(client.cached, token),
            async_or_fail(client.plus, (token, token), countdown=0.1, link=client.mark.s()),
            async_or_eager(client.stubborn, (token, 2)),
        ]
        assert results[0].id == results[1].id
        assert results[0].get(timeout=TIMEOUT) == results[1].get(timeout=TIMEOUT)
        assert results[2].get(timeout=TIMEOUT) == token * 2
        assert results[3].get(timeout=TIMEOUT) == [token, 2]
        wait_until(lambda: project.runs("mark", token * 2), what="the link")
        assert [len(project.runs(name, token)) for name in ("cached", "plus", "stubborn")] == [1, 1, 3]


@pytest.mark.thorough
@on("rpc-prefork")
def test_with_rpc_the_caller_reads_its_result(project, token):
    with patient_client(project) as client:
        result = delay_or_fail(client.double, token)
        assert result.get(timeout=TIMEOUT) == token * 2
        assert delay_or_eager(client.mark, token).get(timeout=TIMEOUT) is None


@pytest.mark.thorough
def test_rabbitmq_killed_and_started_again_between_two_calls(shared, tmp_path):
    conf = {
        "result_backend": shared.redis(),
        "jobtastic_store": f"disk://{tmp_path}/store",
    }
    with rabbitmq_server(tmp_path) as url:
        client = create_app({**conf, "broker_url": url}, str(tmp_path / "journal"))
        assert delay_or_fail(client.mark, "one").state == "PENDING"
    assert delay_or_fail(client.mark, "two").state == "FAILURE"
    assert delay_or_eager(client.mark, "three").state == "SUCCESS"
    with rabbitmq_server(tmp_path, port=int(url.rpartition(":")[2].strip("/"))):
        installation_on(client.app).broker.retry()
        assert delay_or_fail(client.mark, "four").state == "PENDING"
    close(client.app)
