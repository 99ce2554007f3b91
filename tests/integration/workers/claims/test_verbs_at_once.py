"""What callers and authors can ask for, with a real worker on each store, and eight callers at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from types import SimpleNamespace
from typing import Any

import pytest

from jobtastic_signals import (
    DuplicateCallError,
    bypass,
    cached,
    forget,
    forget_all,
    forget_tag,
    in_flight,
    release,
    sharing_of,
)
from jobtastic_signals.installation import installation_on
from tests.support.servers import wait_until
from tests.support.workers.crowds import PROCESSES, Callers, Crowd, Threads
from tests.support.workers.project import close, create_app
from tests.support.workers.rigs import Rig, go_on, worker_in_this_process

pytestmark = pytest.mark.thorough

TIMEOUT = 60

#: The calls of each caller.
CALLS = 4


@pytest.fixture(scope="module", params=["memory", "disk", "redis"])
def rig(
    request: pytest.FixtureRequest,
    redis_database: Callable[[], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SimpleNamespace]:
    """A client of a worker, and eight callers, on each kind of store. No lease lapses meanwhile."""
    folder = tmp_path_factory.mktemp("rig")
    conf = {"broker_url": redis_database(), "result_backend": redis_database(), "jobtastic_lease": 300}
    with ExitStack() as stack:
        if request.param == "memory":
            yield _in_this_process(stack, {**conf, "jobtastic_store": "memory://"}, str(folder / "journal"))
            return
        if request.param == "redis":
            # So many callers at once can be slow.
            conf["jobtastic_store"] = f"{redis_database()}?timeout=30"
        rig = Rig(folder, stack, conf)
        rig.start(concurrency=3)
        crowd = stack.enter_context(closing(Crowd(rig.made)))
        yield SimpleNamespace(client=rig.client, crowd=crowd)
        print(rig.log()[-20_000:])


def _in_this_process(stack: ExitStack, conf: dict[str, Any], journal: str) -> SimpleNamespace:
    """The same with a worker and callers that are threads: no other process shares a store in memory."""
    client = create_app(conf, journal)
    client.made = {"conf": conf, "journal": journal}
    client.store = installation_on(client.app).store
    stack.callback(close, client.app)
    stack.enter_context(worker_in_this_process(client.app))
    return SimpleNamespace(client=client, crowd=Threads(client))


@pytest.fixture
def client(rig: SimpleNamespace) -> SimpleNamespace:
    client: SimpleNamespace = rig.client
    return client


@pytest.fixture
def crowd(rig: SimpleNamespace) -> Callers:
    crowd: Callers = rig.crowd
    return crowd


def start(client: SimpleNamespace, name: str, *args: Any) -> Any:
    """Call the task of this name, and return its result once its body runs."""
    first = getattr(client, name).delay(*args)
    wait_until(lambda: client.runs(name, args[0], "begins"), what="the run")
    return first


def get(client: SimpleNamespace, task_id: str) -> Any:
    return client.app.AsyncResult(task_id).get(timeout=TIMEOUT)


def wait_for_end(client: SimpleNamespace, name: str, *args: Any) -> None:
    """Wait until nothing of such a call is in flight; its result is stored by then."""
    task = getattr(client, name)
    wait_until(lambda: in_flight(task, *args) is None, what="the end")


def begun(client: SimpleNamespace, name: str, token: str) -> list[str]:
    """The ids of the runs, in their order."""
    return [line["id"] for line in client.runs(name, token, "begins")]


# For one call


def _bypass(project: SimpleNamespace, token: str) -> list[tuple[str, str]]:
    results = [bypass(project.cached, token) for _ in range(CALLS)]
    return [(result.id, sharing_of(result).kind) for result in results]


def test_each_call_that_bypasses_sharing_runs_and_changes_nothing(client, crowd, token):
    first = client.cached.delay(token)
    assert first.get(timeout=TIMEOUT) == [token, first.id]
    wait_for_end(client, "cached", token)
    answers = [answer for found in crowd.ask(_bypass, token) for answer in found]
    assert {kind for _, kind in answers} == {"own"}
    assert [get(client, task_id) for task_id, _ in answers] == [[token, task_id] for task_id, _ in answers]
    runs = [line["id"] for line in client.runs("cached", token)]
    assert sorted(runs) == sorted([first.id, *(task_id for task_id, _ in answers)])
    assert cached(client.cached, token).owner == first.id


def _refused(project: SimpleNamespace, token: str, how: str) -> list[tuple[str, str]]:
    return [_try(project, token, how) for _ in range(CALLS)]


def _try(project: SimpleNamespace, token: str, how: str) -> tuple[str, str]:
    try:
        result = project.held.apply_async((token,), on_duplicate=how)
    except DuplicateCallError as error:
        return "refused", error.owner
    sharing = sharing_of(result)
    return sharing.kind, sharing.owner


@pytest.mark.parametrize(("how", "refused"), [("raise", "refused"), ("drop", "dropped")])
def test_of_all_who_refuse_duplicates_one_gets_through(client, crowd, token, how, refused):
    answers = [answer for found in crowd.ask(_refused, token, how) for answer in found]
    (owner,) = [owner for kind, owner in answers if kind == "own"]
    kinds = [kind for kind, _ in answers]
    assert (kinds.count("own"), kinds.count(refused)) == (1, PROCESSES * CALLS - 1)
    assert {each for _, each in answers} == {owner}
    wait_until(lambda: begun(client, "held", token), what="the run")
    assert _try(client, token, how) == (refused, owner)
    go_on(client, token)
    assert get(client, owner) == [token, owner]
    assert begun(client, "held", token) == [owner]


# For a task


def _cached(project: SimpleNamespace, *args: Any) -> str | None:
    found = cached(project.held_picky, *args)
    return None if found is None else found.owner


@pytest.mark.parametrize("how", ["kept", "refused", "large"])
def test_only_what_the_author_keeps_answers_later_calls(client, crowd, token, how):
    first = start(client, "held_picky", token, how)
    answers = crowd.call("held_picky", (token, how), CALLS)
    assert {(answer.id, answer.kind) for answer in answers} == {(first.id, "joined")}
    seen = in_flight(client.held_picky, token, how)
    assert (seen.owner, seen.is_running, seen.joined) == (first.id, True, PROCESSES * CALLS)
    go_on(client, token)
    assert first.get(timeout=TIMEOUT)[:2] == [first.id, how]
    wait_for_end(client, "held_picky", token, how)
    is_kept = how == "kept"
    assert set(crowd.ask(_cached, token, how)) == {first.id if is_kept else None}
    later = crowd.call("held_picky", (token, how), CALLS)
    assert {answer.kind for answer in later} <= ({"cached"} if is_kept else {"own", "joined"})
    assert {get(client, answer.id)[0] for answer in later} == {answer.id for answer in later}
    assert (begun(client, "held_picky", token) == [first.id]) == is_kept


def test_a_failure_that_the_author_names_is_shared_by_all(client, crowd, token):
    first = start(client, "held_failing", token)
    joined = crowd.call("held_failing", (token,), CALLS)
    go_on(client, token)
    with pytest.raises(LookupError, match=token):
        first.get(timeout=TIMEOUT)
    wait_for_end(client, "held_failing", token)
    later = crowd.call("held_failing", (token,), CALLS)
    assert {(answer.id, answer.kind) for answer in joined} == {(first.id, "joined")}
    assert {(answer.id, answer.kind) for answer in later} == {(first.id, "cached")}
    assert begun(client, "held_failing", token) == [first.id]


# Dropping


def _drop(project: SimpleNamespace, verb: str, token: str) -> Any:
    if verb == "forget":
        return forget(project.held_picky, token, "kept")
    if verb == "forget_all":
        return forget_all(project.held_picky)
    return forget_tag(f"of:{token}", app=project.app)


def _drop_and_call(project: SimpleNamespace, verb: str, token: str) -> list[str]:
    _drop(project, verb, token)
    return [project.held_picky.delay(token, "kept").id for _ in range(CALLS)]


VERBS = pytest.mark.parametrize("verb", ["forget", "forget_all", "forget_tag"])


@VERBS
def test_a_result_is_dropped_for_all_and_one_run_follows(client, crowd, token, verb):
    first = start(client, "held_picky", token, "kept")
    go_on(client, token)
    first.get(timeout=TIMEOUT)
    wait_for_end(client, "held_picky", token, "kept")
    said = crowd.ask(_drop, verb, token)
    assert said.count(True) == (verb == "forget")
    assert set(crowd.ask(_cached, token, "kept")) == {None}
    owners = {answer.id for answer in crowd.call("held_picky", (token, "kept"), CALLS)}
    assert {get(client, owner)[0] for owner in owners} == owners
    assert [first.id, *owners] == begun(client, "held_picky", token)


@VERBS
def test_all_who_drop_it_during_a_run_share_one_more_run(client, crowd, token, verb):
    first = start(client, "held_picky", token, "kept")
    owners = {owner for found in crowd.ask(_drop_and_call, verb, token) for owner in found}
    assert first.id not in owners
    go_on(client, token)
    (owner,) = owners
    assert get(client, owner)[0] == owner
    assert first.get(timeout=TIMEOUT)[0] == first.id
    wait_for_end(client, "held_picky", token, "kept")
    assert begun(client, "held_picky", token) == [first.id, owner]
    assert set(crowd.ask(_cached, token, "kept")) == {owner}


def _release(project: SimpleNamespace, token: str) -> bool:
    return release(project.held, token)


@pytest.mark.parametrize("is_running", [True, False])
def test_a_claim_is_released_once_and_the_next_calls_share_a_run(client, crowd, token, is_running):
    if is_running:
        first = start(client, "held", token)
    else:
        first = client.held.apply_async((token,), queue="lost")
    assert crowd.ask(_release, token).count(True) == 1
    (owner,) = {answer.id for answer in crowd.call("held", (token,), CALLS)}
    assert owner != first.id
    wait_until(lambda: owner in begun(client, "held", token), what="the run of the others")
    go_on(client, token)
    assert get(client, owner) == [token, owner]
    assert len(begun(client, "held", token)) == 1 + is_running
