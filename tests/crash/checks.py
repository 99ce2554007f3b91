"""What is wrong with a journal: overlapping runs, wrong or too old answers, calls without an end.

The exceptions are those of ``docs/reference/sharing.md``, and no wider. They rest on records that the harness
writes when it does the damage:

* ``stopped``: the processes, and when the claim of each key lapsed. A run may begin beside one of theirs from
  then on.
* ``unavailable``: from when to when the store could not be used. A run that began then has no claim. One that
  went on meanwhile has lost its claim, if another began.
* ``emptied``: when the store lost its data, and by when each run has its claim again. A run that went on has
  lost it, if another began in between.
* ``destroyed``: task ids whose message, run or result is gone for ever. Nobody can be answered by these.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator

from .journal import Call, Events, Run
from .project import CACHED_FOR

__all__ = ["CLOCKS", "violations"]

#: Seconds by which a message with a countdown may come early: two clocks, and their rounding.
CLOCKS = 0.1


def violations(
    events: Events, *, failures: Collection[str] = (), herd_avoidance_timeout: float = float("inf")
) -> list[str]:
    """Return what is wrong, in words.

    :param failures: the names of the exceptions, and the states, by which a call may end.
    """
    return [
        *_overlaps(events, herd_avoidance_timeout),
        *_wrong_answers(events),
        *_calls_without_end(events),
        *_wrong_ends(events, failures),
        *_forgotten(events),
    ]


def _overlaps(events: Events, herd_avoidance_timeout: float) -> Iterator[str]:
    by_key: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in events.runs:
        by_key[run.task, run.key].append(run)
    for (task, key), runs in by_key.items():
        runs.sort(key=lambda run: run.start)
        for place, first in enumerate(runs):
            for second in runs[place + 1 :]:
                if second.start >= first.over:
                    break
                if second.start >= first.start + herd_avoidance_timeout:
                    continue
                if _has_lost_its_claim(events, first, second, runs) or _began_without(events, second):
                    continue
                yield (
                    f"two runs of {task}({key!r}) overlap: {first.id} from {first.start:.3f} to "
                    f"{first.over:.3f}, {second.id} from {second.start:.3f}"
                )


def _has_lost_its_claim(events: Events, run: Run, second: Run, runs: list[Run]) -> bool:
    """Return whether *run* could not keep *second* from beginning."""
    for record in events.of("stopped"):
        lapsed = record["lapses"].get(f"{run.task}|{run.key}")
        if run.pid in record["pids"] and lapsed is not None and second.start >= lapsed:
            return True
    for record in events.of("emptied"):
        taken = [each for each in runs if record["at"] <= each.start <= record["until"]]
        if run.start < record["at"] and any(each.start <= second.start for each in taken):
            return True
    for record in events.of("unavailable"):
        others = [each for each in runs if each is not run and _is_within(each.start, record)]
        if run.start < record["until"] and any(each.start <= second.start for each in others):
            return True
    return _began_without(events, run)


def _began_without(events: Events, run: Run) -> bool:
    """Return whether *run* began while nothing could be claimed."""
    return any(_is_within(run.start, record) for record in events.of("unavailable"))


def _is_within(moment: float, record: dict[str, float]) -> bool:
    return record["since"] <= moment <= record["until"]


def _wrong_answers(events: Events) -> Iterator[str]:
    runs = {run.token: run for run in events.runs}
    for call in events.calls.values():
        if call.state is None or "|" not in call.value:
            continue
        run = runs.get(call.value)
        if run is None:
            yield f"{_named(call)} was answered by {call.value}, which no run has made"
        elif (run.task, run.key) != (call.task, call.key):
            yield f"{_named(call)} was answered by a run of {run.task}({run.key!r})"
        elif call.made > _answers_until(run, call) + CLOCKS * (call.how == "later"):
            yield (
                f"{_named(call)} was made at {call.made:.3f} and answered by an older run, {run.id}, which "
                f"ended at {run.over:.3f} and was dealt with at {run.done}"
            )


def _answers_until(run: Run, call: Call) -> float:
    """Return up to when calls may be made that *run* answers."""
    kept = CACHED_FOR if run.task == "cached" else 0.0
    if call.how == "plain" and run.stored is not None and not kept:
        return run.stored  # From then on the result backend says that there is nothing to join.
    # A process that was killed may have stored its outcome just before.
    known = [each for each in (run.done, run.stored, run.killed, run.end, run.seen) if each is not None]
    return (known[0] if known else float("inf")) + kept


def _calls_without_end(events: Events) -> Iterator[str]:
    destroyed = {task_id for record in events.of("destroyed") for task_id in record["ids"]}
    # Celery publishes a retry before it stores RETRY. If another worker discards that message in between,
    # since its id is revoked, RETRY overwrites REVOKED for ever.
    retried = {record["id"] for record in events.of("stored", state="RETRY")}
    destroyed |= retried & {record["id"] for record in events.of("revoked")}
    for call in events.calls.values():
        if call.result is not None and call.state is None and call.result not in destroyed:
            yield f"{_named(call)} has no answer; its result is {call.result}"


def _wrong_ends(events: Events, failures: Collection[str]) -> Iterator[str]:
    for call in events.calls.values():
        is_own = "|" in call.value
        if (
            call.state not in (None, "SUCCESS")
            and not is_own
            and not any(each in call.value for each in failures)
        ):
            yield f"{_named(call)} ended in {call.state}: {call.value}"
        if call.refused is not None and not any(each in call.refused for each in failures):
            yield f"{_named(call)} raised {call.refused}"


def _forgotten(events: Events) -> Iterator[str]:
    """Yield calls that were answered by a result that had been forgotten before."""
    runs = {run.token: run for run in events.runs}
    by_key: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    for record in events.of("forgotten"):
        by_key[record["task"], record["key"]].append(record)
    for call in events.calls.values():
        run = runs.get(call.value)
        if run is None or run.done is None:
            continue
        for record in by_key[call.task, call.key]:
            if run.done < record["since"] and record["at"] < call.made:
                yield f"{_named(call)} was made at {call.made:.3f}, after {run.id} was forgotten"
                break


def _named(call: Call) -> str:
    return f"the {call.how} call {call.name} of {call.task}({call.key!r})"
