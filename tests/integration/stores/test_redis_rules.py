"""The scripts of the Redis store agree with :mod:`jobtastic_signals.stores.rules`, which they translate."""

import json
from contextlib import closing
from dataclasses import replace

import hypothesis
import pytest
import redis
from hypothesis import strategies as st

from jobtastic_signals import Claim, Result
from jobtastic_signals.stores import REMEMBERED_FOR, open_store, rules
from jobtastic_signals.testing import Clock
from tests.support.redis_servers import redis_server

#: Stands for who has the claim when the operation is done, or for whose result is there.
HOLDER = "holder"

KEYS = ["key", "index"]

owner = st.sampled_from([HOLDER, HOLDER, "ann", "bob", ""])
delivery = st.sampled_from([HOLDER, HOLDER, "w/1", "w/2", ""])
lease = st.sampled_from([100.0, 1000 / 3])
seconds = st.sampled_from([0.0, 50.0, 400 / 3])
#: Leases and results end at these times, or lie between them.
steps = st.sampled_from([0.0, 1 / 7, 50.0, 100.0, 400 / 3, REMEMBERED_FOR])
hold = st.none() | st.tuples(owner, st.none() | delivery)
#: When a call was made: so long before the run began whose result is there.
called = st.none() | st.sampled_from([-1.0, 0.0, 1.0])


def asked(name, *positional, **named):
    return st.tuples(st.just(name), st.tuples(*positional), st.fixed_dictionaries({}, optional=named))


OPERATIONS = st.one_of(
    asked("lookup_or_claim", owner, lease, expires=st.none() | seconds, goes_out=st.booleans(), lapsed=hold),
    asked("claim", owner, delivery, lease, called=called, waited_for=st.none() | owner, lapsed=hold),
    asked("claim", owner, delivery, lease, called=called),
    asked("renew", owner, delivery, lease, ran_for=seconds),
    st.tuples(
        st.just("complete"),
        st.tuples(owner, st.none() | delivery, st.sampled_from([b"", b"4\n2", b"\xff\0"])),
        st.fixed_dictionaries(
            {"ttl": st.just(0.0) | st.none() | seconds, "kept_for": seconds},
            optional={
                "state": st.just("FAILURE"),
                "ran_for": seconds,
                "index": st.sampled_from(KEYS),
                "index_ttl": st.none() | seconds,
            },
        ),
    ),
    asked(
        "release", owner, st.none() | delivery | st.just("w/"), requeue=seconds, unless_awaited=st.booleans()
    ),
    asked("forget"),
    asked("advance", steps),
    asked("advance", steps),
)


#: Leave a result that answers only those who called before its run began.
KEPT = [
    ("claim", ("ann", "w/1", 100.0), {}),
    ("claim", ("bob", "w/2", 100.0), {}),
    ("complete", ("ann", "w/1", b"42"), {"ttl": 0.0, "kept_for": 50.0}),
]


class Model:
    """The rules on a dict."""

    def __init__(self, clock):
        self.clock = clock
        self.entries = {}

    def at(self, key):
        return self.entries.get(key, rules.Entry()).without_ended(self.clock())

    def ask(self, name, key, *positional, index=None, index_ttl=None, **named):
        before = self.at(key)
        answer, after = getattr(rules, name)(before, self.clock(), *positional, **named)
        self.entries[key] = after
        if index is not None and after.result not in (None, before.result):
            self.index(index, rules.index_of(after.result, key, index_ttl))
        return answer

    def index(self, index, result):
        if result is not None:
            self.entries[index] = replace(self.at(index), result=result)

    def resolved(self, value, kind):
        """Return *value*, or whom it stands for."""
        claim, result = self.at("key").claim, self.at("key").result
        if kind == "called" and value is not None:
            return (result.began if result else self.clock()) - value
        if kind == "lapsed" and value is not None:
            owner, delivery = value
            return Claim(self.resolved(owner, "owner"), 0.0, 0.0, self.resolved(delivery, "delivery"))
        if value != HOLDER:
            return value
        if kind == "delivery":
            return claim.delivery if claim and claim.delivery is not None else "w/1"
        first, second = (result, claim) if kind == "waited_for" else (claim, result)
        return first.owner if first else second.owner if second else "ann"


#: What the positional arguments are, of which some can be a :data:`HOLDER`.
KINDS = ["owner", "delivery"]


def entry_of(stored):
    """Return the entry of a value in Redis, read in another way than by the store."""
    if stored is None:
        return rules.Entry()
    head, _, payload = stored.partition(b"\n")
    record = json.loads(head)
    assert record.pop("version") == 1
    claim, result = record.pop("claim", None), record.pop("result", None)
    assert record == {}
    return rules.Entry(
        claim and Claim(**times(claim, "expires", "since", "message_expires")),
        result and Result(payload=payload, **times({"expires": None, "kept": None, **result}, *TIMES)),
    )


TIMES = "began", "ended", "expires", "kept"


def times(fields, *names):
    return {name: float(value) if name in names and value else value for name, value in fields.items()}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("rules")) as server:
        yield server


@pytest.fixture
def client(server):
    with closing(redis.Redis(port=server.port, socket_timeout=10)) as client:
        yield client


@pytest.fixture
def open_with(server):
    """Return a function that gives a clock an empty store."""
    with closing(open_store(server.url, timeout=10)) as store:

        def open_with(clock):
            vars(store).update(_clock=clock, _has_own_clock=True)
            return store

        yield open_with


@hypothesis.settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)
@hypothesis.example([*KEPT, ("complete", ("bob", "w/2", b"late"), {"ttl": 0.0, "ran_for": 50.0})])
@hypothesis.example([*KEPT, ("complete", ("bob", "w/2", b"as late"), {"ttl": None})])
@hypothesis.example([("lookup_or_claim", (each, 100.0), {"expires": 50.0}) for each in ("ann", "bob")])
@hypothesis.given(st.lists(OPERATIONS, min_size=10, max_size=30))
def test_the_scripts_decide_as_the_rules_do(client, open_with, operations):
    client.flushall()
    clock = Clock(1_700_000_000 + 1 / 3)
    store, model = open_with(clock), Model(clock)
    for name, positional, named in operations:
        if name == "advance":
            clock.advance(*positional)
            continue
        given = [model.resolved(*each) for each in zip(positional, [*KINDS, None], strict=False)]
        options = {kind: model.resolved(value, kind) for kind, value in named.items()}
        answer = getattr(store, name)("key", *given, **options)
        expected = model.ask(name, "key", *given, **options)
        assert answer == expected, (name, given, options)
        assert getattr(answer, "at", None) == getattr(expected, "at", None)
        for key in KEYS:
            stored = entry_of(client.get(f"jobtastic:{key}"))
            assert stored.without_ended(clock()) == model.at(key), (name, given, options)
        found = {key: rules.lookup(model.at(key), clock()) for key in KEYS}
        assert {key: store.lookup(key) for key in KEYS} == found
        assert dict(store.entries()) == {key: entry for key, entry in found.items() if entry is not None}
