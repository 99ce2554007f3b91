"""Reruns, stale results and refreshes with a real worker, and callers in eight processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from jobtastic_signals import refresh
from tests.support.rare import rare
from tests.support.servers import wait_until
from tests.support.workers.crowds import PROCESSES, Answer, Crowd
from tests.support.workers.project import let_go
from tests.support.workers.rigs import Rig, go_on

TIMEOUT = 60


@pytest.fixture(scope="module", params=[rare("disk"), "redis"])
def rig(
    request: pytest.FixtureRequest,
    redis_database: Callable[[], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Rig]:
    """A project with a worker and this kind of store."""
    # So many callers at once can be slow.
    store = {"jobtastic_store": f"{redis_database()}?timeout=30"} if request.param == "redis" else {}
    conf: dict[str, Any] = {"broker_url": redis_database(), "result_backend": redis_database(), **store}
    with ExitStack() as stack:
        rig = Rig(tmp_path_factory.mktemp("rig"), stack, conf)
        rig.start(concurrency=3)
        yield rig
        print(rig.log()[-20_000:])


@pytest.fixture(scope="module")
def crowd(rig: Rig) -> Iterator[Crowd]:
    with closing(Crowd(rig.made)) as crowd:
        yield crowd


def test_a_hundred_calls_during_a_run_that_want_a_rerun_give_two_runs(rig, crowd, token):
    client = rig.client
    owner = client.held.delay(token)
    wait_until(lambda: client.runs("held", token), what="the run")
    answers = crowd.call("held", (token,), 13, on_duplicate="rerun")
    assert {(each.id, each.kind) for each in answers} == {(owner.id, "joined")}
    assert len(answers) == 13 * PROCESSES
    go_on(client, token)
    wait_until(lambda: len(client.runs("held", token, "ends")) == 2, what="the rerun")
    key = client.key("held", token)
    wait_until(lambda: not rig.store.entry(key), what="the end")
    begun, ended = (client.runs("held", token, what) for what in ("begins", "ends"))
    assert [run["id"] for run in begun] == [run["id"] for run in ended]
    assert begun[0]["id"] == owner.id != begun[1]["id"]
    assert begun[1]["at"] > ended[0]["at"]


@pytest.mark.parametrize("how", ["well", "exception"])
def test_two_hundred_callers_of_a_stale_result_start_one_run_and_none_waits(rig, crowd, token, how):
    client, args = rig.client, (token, how)
    first = client.renewed.delay(*args)
    assert first.get(timeout=TIMEOUT) == [token, 1]
    key = client.key("renewed", *args)

    def stored() -> Any:
        return rig.store.entry(key).result

    wait_until(lambda: (result := stored()) is not None and result.is_stale(result.at), what="the edge")
    answers = crowd.call("renewed", args, 25)
    assert [list(each) for each in answers] == [[first.id, "cached", [token, 1]]] * 25 * PROCESSES
    wait_until(lambda: len(client.runs("renewed", token)) == 2, what="the renewal")
    let_go(rig.folder / "journal", token, 2)
    wait_until(lambda: rig.store.entry(key).claim is None, what="the end of the renewal")
    assert len(client.runs("renewed", token)) == 2
    assert (stored().owner == first.id) == (how == "exception")


def test_readers_always_get_a_value_while_the_result_is_refreshed(rig, crowd, token):
    client, args = rig.client, (token, 0.1)
    values = [client.cached.delay(*args).get(timeout=TIMEOUT)]
    # The result backend knows the result a moment before the store.
    wait_until(lambda: rig.store.entry(client.key("cached", *args)).result, what="the result in the store")
    with crowd.reading("cached", args, 7) as found:
        values += [refresh(client.cached, *args).get(timeout=TIMEOUT) for _ in range(5)]
    assert found == {Answer("", "cached", "there")}
    runs = client.runs("cached", token)
    assert [[token, run["id"]] for run in runs] == values
    assert len({run["id"] for run in runs}) == 6
