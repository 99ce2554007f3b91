"""The scripts of the Redis store agree with :mod:`jobtastic_signals.stores.rules`, which they translate."""

import json
import operator
from contextlib import closing

import hypothesis
import pytest
import redis
from hypothesis import strategies as st

from jobtastic_signals import Claim, Result
from jobtastic_signals.stores import REMEMBERED_FOR, endings, open_store, rules
from jobtastic_signals.stores.entry import NOTHING, Entry, Forgetting
from jobtastic_signals.testing import Clock
from tests.support.redis_servers import redis_server

#: Stands for who has the claim when the operation is done, or for whose result is there.
HOLDER = "holder"

KEYS = ["key", "index"]
SCOPES = ["task:t", "tag:a"]

owner = st.sampled_from([HOLDER, HOLDER, "ann", "bob", ""])
delivery = st.sampled_from([HOLDER, HOLDER, "w/1", "w/2", ""])
lease = st.sampled_from([100.0, 1000 / 3])
seconds = st.sampled_from([0.0, 50.0, 400 / 3])
#: Leases and results end at these times, or lie between them.
steps = st.sampled_from([0.0, 1 / 7, 50.0, 100.0, 400 / 3, REMEMBERED_FOR])
hold = st.none() | st.tuples(owner, st.none() | delivery)
#: When a call was made: so long before the run began whose result, or else whose claim is there.
called = st.none() | st.sampled_from([-1.0, 0.0, 1.0])


def asked(name, *positional, **named):
    return st.tuples(st.just(name), st.tuples(*positional), st.fixed_dictionaries({}, optional=named))


#: Options of an operation that looks for a result.
scopes = st.sets(st.sampled_from(SCOPES)).map(sorted)
scoped = {"scopes": scopes, "fresh": st.booleans(), "lapsed": hold}
calls = {"expires": st.none() | seconds, "goes_out": st.booleans(), "rerun": st.booleans(), **scoped}

OPERATIONS = st.one_of(
    asked("lookup_or_claim", owner, lease, joins=st.booleans(), **calls),
    asked("lookup_or_claim", owner, lease, rerun=st.booleans(), fresh=st.booleans()),
    asked("claim", owner, delivery, lease, called=called, waited_for=st.none() | owner, **scoped),
    asked("claim", owner, delivery, lease, called=called, fresh=st.booleans()),
    asked("renew", owner, delivery, lease, ran_for=seconds),
    st.tuples(
        st.just("complete"),
        st.tuples(owner, st.none() | delivery, st.sampled_from([b"", b"4\n2", b"\xff\0"])),
        st.fixed_dictionaries(
            {"ttl": st.just(0.0) | st.none() | seconds, "kept_for": seconds},
            optional={
                "state": st.just("FAILURE"),
                "ran_for": seconds,
                "stale_for": seconds | st.just(1e4),
                "scopes": scopes,
                "index": st.sampled_from(KEYS),
                "index_ttl": st.none() | seconds,
            },
        ),
    ),
    asked(
        "release", owner, st.none() | delivery | st.just("w/"), requeue=seconds, unless_awaited=st.booleans()
    ),
    asked("forget"),
    asked("forget_scope", st.sampled_from(SCOPES)),
    asked("leave", owner, st.sampled_from(["ann", "bob", "ünd", ""])),
    asked("advance", steps),
    asked("advance", steps),
)


RUNS = [("claim", ("ann", "w/1", 100.0), {})]

#: Leave a result that answers only those who called before its run began.
KEPT = [
    *RUNS,
    ("claim", ("bob", "w/2", 100.0), {}),
    ("complete", ("ann", "w/1", b"42"), {"ttl": 0.0, "kept_for": 50.0}),
]

#: Leave a result that is stale, or one that is renewed; a run that has one more behind it, also with a caller
#: that joined that one; and forgotten ones.
STALE = [("complete", ("bob", None, b"old"), {"ttl": 50.0, "stale_for": 1e4}), ("advance", (50.0,), {})]
RENEWED = [*STALE, *RUNS]
AGAIN = [*RUNS, ("lookup_or_claim", ("bob", 1000 / 3), {"rerun": True})]
JOINED = [*AGAIN, ("lookup_or_claim", ("cid", 100.0), {"fresh": True})]
REFRESHED = [
    ("complete", ("bob", None, b"old"), {"ttl": None}),
    ("claim", ("ann", "w/1", 100.0), {"fresh": True}),
    AGAIN[-1],
]
FORGOTTEN = [*AGAIN, ("forget", (), {})]
STALE_AND_FORGOTTEN = [*RENEWED, ("advance", (1 / 7,), {}), ("forget_scope", (SCOPES[0],), {})]

#: Leave a claim that was given up, and a running one that everybody left.
GIVEN_UP = [*KEPT[:2], ("release", ("ann", "w/1"), {})]
ABANDONED = [*RUNS, ("leave", ("ann", "ann"), {})]

BEGINNINGS = st.sampled_from(
    [[], KEPT, STALE, RENEWED, AGAIN, JOINED, FORGOTTEN, STALE_AND_FORGOTTEN, GIVEN_UP, ABANDONED]
)


class Model:
    """The rules on a dict."""

    def __init__(self, clock):
        self.clock = clock
        self.entries = {}
        self.marks = {}

    def at(self, key):
        return self.entries.get(key, NOTHING).without_ended(self.clock())

    def forgotten(self, scopes):
        return max((self.marks[scope] for scope in scopes if scope in self.marks), default=None)

    def ask(self, name, key, *positional, scopes=(), index=None, index_ttl=None, **named):
        before = self.at(key)
        if name in ("lookup_or_claim", "claim", "complete"):
            named["forgotten"] = self.forgotten(scopes)
        decide = getattr(rules, name, None) or getattr(endings, name)
        answer, self.entries[key] = decide(before, self.clock(), *positional, **named)
        result = self.entries[key].result
        if index is not None and result not in (None, before.result):
            copy = result.as_index(key, index_ttl)
            if copy is not None:
                _, self.entries[index] = endings.index(self.at(index), self.clock(), copy)
        return answer

    def found(self, rule, key, scopes=()):
        return rule(self.at(key), self.clock(), forgotten=self.forgotten(scopes))

    def resolved(self, value, kind):
        """Return *value*, or whom it stands for."""
        claim, result = self.at("key").claim, self.at("key").result
        if kind == "called" and value is not None:
            return (result.began if result else claim.since if claim else self.clock()) - value
        if kind == "lapsed" and value is not None:
            owner, delivery = value
            return Claim(self.resolved(owner, "owner"), 0.0, 0.0, self.resolved(delivery, "delivery"))
        if not isinstance(value, str) or value != HOLDER:
            return value
        if kind == "delivery":
            return claim.delivery if claim and claim.delivery is not None else "w/1"
        first, second = (result, claim) if kind == "waited_for" else (claim, result)
        return first.owner if first else second.owner if second else "ann"


def entry_of(stored):
    """Return the entry of a value in Redis, read in another way than by the store."""
    if stored is None:
        return NOTHING
    head, _, payload = stored.partition(b"\n")
    record = json.loads(head)
    assert record.pop("version") == 1
    parts = [record.pop(name, None) for name in ("claim", "result", "next", "forgotten")]
    assert record == {}
    claim, result, following, forgotten = parts
    return Entry(
        claim_of(claim),
        result and Result(payload=payload, **times({"expires": None, "kept": None, **result}, *TIMES)),
        claim_of(following),
        forgotten and Forgetting(float(forgotten), float(forgotten) + REMEMBERED_FOR),
    )


TIMES = "began", "ended", "expires", "kept", "stale_until"


def claim_of(fields):
    if fields is None:
        return None
    fields = times(fields, "expires", "since", "message_expires")
    assert fields.get("left") != []
    return Claim(**{**fields, "left": tuple(fields.get("left", ()))})


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


#: Found by this test, or by those who thought of them.
FOUND = [
    [*KEPT, ("complete", ("bob", "w/2", b"late"), {"ttl": 0.0, "ran_for": 50.0})],
    [*KEPT, ("complete", ("bob", "w/2", b"as late"), {"ttl": None})],
    [("lookup_or_claim", (each, 100.0), {"expires": 50.0}) for each in ("ann", "bob")],
    [*KEPT, ("claim", ("bob", "w/2", 100.0), {"called": 1.0})],
    [*KEPT, ("claim", ("bob", "w/2", 100.0), {"waited_for": HOLDER})],
    [*REFRESHED, ("advance", (100.0,), {}), ("lookup_or_claim", ("cid", 100.0), {})],
    [*JOINED, ("advance", (100.0,), {}), ("claim", ("bob", "w/2", 100.0), {})],
    [*JOINED, ("advance", (100.0,), {}), ("claim", ("ann", "w/2", 100.0), {})],
    [*GIVEN_UP, ("release", ("ann", None), {})],
    [*ABANDONED, ("release", ("ann", "w/1"), {"requeue": 50.0}), ("lookup_or_claim", ("bob", 100.0), {})],
    [*FORGOTTEN, ("complete", ("ann", "w/1", b""), {"ttl": 50.0, "index": "key", "index_ttl": 50.0})],
]

#: Some keys that have nothing but one claim, which the scripts know by its text.
LONE = [
    [("lookup_or_claim", ("ann", 100.0), {"expires": 50.0, "fresh": True}), *RUNS],
    [("lookup_or_claim", ('"a/\\nü', 1000 / 3), {}), ("claim", ('"a/\\nü', '/"', 100.0), {})],
    [("lookup_or_claim", ("ann", 100.0), {}), ("release", ("ann", "w/1"), {})],
    [*RUNS, ("release", ("ann", "w/1"), {"requeue": 50.0})],
    *([*RUNS, ("release", ("ann", start), {})] for start in ("w/1", "w/", "w/2", "", None)),
    *(
        [*RUNS, ("advance", (1.0,), {}), *forgotten, *lapsed, ("complete", ("ann", "w/1", b"42"), options)]
        for forgotten in ([], [("forget_scope", (SCOPES[1],), {})])
        for lapsed in ([], [("advance", (100.0,), {})], [("advance", (100.0 + REMEMBERED_FOR,), {})])
        for options in (
            {"ttl": 50.0, "ran_for": 0.5, "scopes": SCOPES, "index": "index"},
            {"ttl": None, "kept_for": 50.0, "stale_for": 50.0, "index": "index", "index_ttl": 50.0},
        )
    ),
]


def sequences(count):
    """Try so many sequences of operations, and those that were found."""

    def decorate(test):
        for operations in FOUND + LONE:
            test = hypothesis.example(operations)(test)
        health = [hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow]
        limits = hypothesis.settings(max_examples=count, deadline=None, suppress_health_check=health)
        made_up = st.builds(operator.add, BEGINNINGS, st.lists(OPERATIONS, min_size=5, max_size=25))
        return limits(hypothesis.given(made_up)(test))

    return decorate


@sequences(100)
def test_the_scripts_decide_as_the_rules_do(client, open_with, operations):
    agree(client, open_with, operations)


@pytest.mark.thorough
@sequences(400)
def test_the_scripts_decide_as_the_rules_do_in_many_sequences(client, open_with, operations):
    agree(client, open_with, operations)


def agree(client, open_with, operations):
    """Check that the store and the rules answer alike, and keep the same, after each of *operations*."""
    client.flushall()
    clock = Clock(1_700_000_000 + 1 / 3)
    store, model = open_with(clock), Model(clock)
    for name, positional, named in operations:
        if name == "advance":
            clock.advance(*positional)
            continue
        if name == "forget_scope":
            store.forget_scope(*positional, ttl=None)
            model.marks[positional[0]] = clock()
            continue
        kinds = ["owner", "seat" if name == "leave" else "delivery", None]
        given = [model.resolved(*each) for each in zip(positional, kinds, strict=False)]
        options = {kind: model.resolved(value, kind) for kind, value in named.items()}
        answer = getattr(store, name)("key", *given, **options)
        expected = model.ask(name, "key", *given, **options)
        assert answer == expected, (name, given, options)
        assert getattr(answer, "at", None) == getattr(expected, "at", None)
        for key, value in zip(KEYS, client.mget(f"jobtastic:{key}" for key in KEYS), strict=True):
            assert entry_of(value).without_ended(clock()) == model.at(key), (name, given, options)
        for scopes in ([], SCOPES):
            assert store.lookup("key", scopes=scopes) == model.found(rules.lookup, "key", scopes)
        assert store.entry("key", scopes=SCOPES) == model.found(rules.show, "key", SCOPES)
        shown = {key: model.found(rules.show, key) for key in KEYS}
        assert dict(store.entries()) == {key: entry for key, entry in shown.items() if entry}
