"""Random stamps against a real worker: no message is lost, no value is wrong, and the log stays short."""

from __future__ import annotations

import random
import re
import time
from collections import Counter

import pytest

from tests.support.servers import wait_until
from tests.support.workers.projects import on

TIMEOUT = 600

FIELDS = ("id", "key", "store", "called", "waiting_for", "after", "waits", "withdrawable", "mine")

#: Calls that differ; each of them is made many times.
CALLS = 40


class Forger:
    """Makes stamps that nobody of ours would write, and some that somebody might."""

    def __init__(self, project, token, seed):
        self.project, self.token, self.random = project, token, random.Random(seed)
        self.ids = ["nobody"]

    def __call__(self, task_id):
        if self.random.random() < 0.05:
            return self.value(2)
        names = self.random.sample(FIELDS, self.random.randrange(len(FIELDS)))
        stamp = {name: self.value() for name in names}
        if self.random.random() < 0.95:
            stamp["id"] = task_id
        return stamp

    def value(self, depth=0):
        pick = self.random
        of_others = self.project.key("cached", f"{self.token}-{pick.randrange(CALLS)}")
        plain = [
            None, True, False, -1, 0, 1, 7, 1e300, float("nan"), float("inf"), 2.5, time.time(), 10**4000,
            "", "text", "two\nlines", "\ud800", "x" * 10_000, "\x00\x1b[31m", of_others, "message:1",
            f"outcome:{pick.choice(self.ids)}", pick.choice(self.ids), pick.random() * 2e9,
            "v1:a:" + "0" * 40,
        ]  # fmt: skip
        if depth < 3 and pick.random() < 0.2:
            inner = [self.value(depth + 1) for _ in range(pick.randrange(4))]
            return inner if pick.random() < 0.5 else {str(number): each for number, each in enumerate(inner)}
        return pick.choice(plain)


def sent(project, forge, count):
    """Send *count* messages. Return what each is to answer, by its id."""
    expected = {}
    for number in range(count):
        argument = f"{forge.token}-{number % CALLS}"
        task_id = f"{forge.token}-{number}"
        headers = {"jobtastic": forge(task_id)}
        if forge.random.random() < 0.1:
            headers["jobtastic_replaces"] = [{"id": task_id, "proof": forge.value()}, forge.value()]
        if forge.random.random() < 0.1:
            headers["headers"] = forge.value()
        project.app.send_task(project.cached.name, (argument,), task_id=task_id, headers=headers)
        expected[task_id] = argument
        forge.ids.append(task_id)
    return expected


def check(project, token, count):
    start, began = project.log.stat().st_size, time.monotonic()
    expected = sent(project, Forger(project, token, seed=count), count)
    backend = project.app.backend
    state = backend.get_state
    for task_id, argument in expected.items():
        wait_until(lambda task_id=task_id: state(task_id) == "SUCCESS", timeout=TIMEOUT, what=task_id)
        assert backend.get_result(task_id)[0] == argument
    plain = project.cached.delay(f"{token}-0")
    assert plain.get(timeout=TIMEOUT)[0] == f"{token}-0"
    text = project.log.read_bytes()[start:].decode(errors="replace")
    minutes = 1 + (time.monotonic() - began) // 60
    kinds = Counter(map(kind_of, (line for line in text.splitlines() if "WARNING" in line)))
    assert "share nothing" not in text
    assert "Traceback" not in text
    assert all(number <= minutes for number in kinds.values()), kinds
    return kinds


def kind_of(line):
    """What a warning is about, without what is different in each message."""
    field = re.search(r"counts as absent: ([a-z_ ]+)=", line)
    return field[1] if field else re.sub(r"\S*\d\S*", "", line)[:100]


@on("redis-threads")
def test_stamps_of_strangers_cost_at_most_a_warning(project, token):
    assert {"key", "called", "waits"} <= check(project, token, 150).keys()


@pytest.mark.exhaustive
@on("redis-threads")
def test_twenty_thousand_of_them_cost_no_more(project, token):
    check(project, token, 20_000)
