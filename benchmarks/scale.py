"""What 1,000 hosts and 100,000 calls a second need of Redis: measured for one operation, then estimated.

The processor time of the server for each operation comes from its ``INFO commandstats``. A simulation then
draws calls at random times and lets each server work on one after the other, as Redis does.
"""

from __future__ import annotations

import itertools
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import redis

from jobtastic_signals.stores import open_store
from tests.support.servers import redis_server

from .report import Findings, Table
from .rounds import percentile

OPERATIONS = 2_000
SIMULATED = 200_000

PAYLOAD = b"42" * 100

#: The calls of all hosts together in a second, and how many of them are answered by a result or join a run.
CALLS, ANSWERED = 100_000, 0.9

HOSTS, PROCESSES_PER_HOST = 1_000, 16

#: Redis' ``maxclients`` by default.
CONNECTIONS = 10_000

#: A server that is busier than this makes many calls wait.
BUSIEST = 0.7


def measured(url: str) -> dict[str, float]:
    """Return the microseconds of the server for each operation."""
    store, n = open_store(f"{url}/0?timeout=5"), itertools.count()
    store.complete("cached", "owner", None, PAYLOAD, ttl=600.0)
    store.lookup_or_claim("running", "owner", 600.0)
    for number in range(OPERATIONS + 1):
        store.lookup_or_claim(f"run-{number}", "owner", 600.0)
    runs = [f"run-{number}" for number in range(OPERATIONS + 1)]
    claimed, completed = iter(runs), iter(runs)
    operations: Mapping[str, Callable[[], Any]] = {
        "a call that nothing answers": lambda: store.lookup_or_claim(f"key-{next(n)}", "owner", 30.0),
        "a call answered by a result": lambda: store.lookup_or_claim("cached", "other", 30.0),
        "a call that joins": lambda: store.lookup_or_claim("running", "other", 30.0),
        "a run claims": lambda: store.claim(next(claimed), "owner", "delivery", 30.0),
        "a run completes, with its index": lambda: complete(next(completed)),
    }

    def complete(key: str) -> None:
        store.complete(key, "owner", "delivery", PAYLOAD, ttl=600.0, index=f"index-{key}", index_ttl=600.0)

    with redis.Redis.from_url(url) as client:
        return {name: server_time(client, operation) for name, operation in operations.items()}


def server_time(client: redis.Redis, operation: Callable[[], Any]) -> float:
    """Return the microseconds that the server spends in an operation, by its own count."""
    operation()
    client.config_resetstat()
    for _ in range(OPERATIONS):
        operation()
    stats = client.info("commandstats")
    # A script counts what it calls; what it calls is counted once more by itself.
    scripts = [stats[name]["usec"] for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats]
    others = [stat["usec"] for name, stat in stats.items() if name in ("cmdstat_set", "cmdstat_get")]
    return float(sum(scripts or others)) / OPERATIONS


def mean_of_a_call(times: Mapping[str, float], network: float) -> tuple[float, float]:
    """Return the microseconds of a server for one call with all that follows, and the number of operations.

    :param network: microseconds in which a server reads a command and writes its answer.
    """
    answered = (times["a call answered by a result"] + times["a call that joins"]) / 2 + network
    run = sum(times[name] + network for name in times if name.startswith("a run"))
    missed = times["a call that nothing answers"] + network + run
    return ANSWERED * answered + (1 - ANSWERED) * missed, ANSWERED + (1 - ANSWERED) * 3


def waits(rate: float, service: float, servers: int) -> list[float]:
    """Return the microseconds that operations wait and are worked on, with keys spread at random."""
    draw = random.Random(0)
    free, now, times = [0.0] * servers, 0.0, []
    for _ in range(SIMULATED):
        now += draw.expovariate(rate) * 1e6
        server = draw.randrange(servers)
        began = max(now, free[server])
        # Half of the time varies: payloads, and what the system does beside.
        free[server] = began + service / 2 + draw.expovariate(2 / service)
        times.append(free[server] - now)
    return times


def measure() -> Findings:
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as url:
        times = measured(url)
        network = per_command(url)
    service, operations = mean_of_a_call(times, network)
    each, most = service / operations, BUSIEST * 1e6 / service
    need = max(1, -int(-CALLS // most))
    rows = {
        f"calls a second of one server that is {BUSIEST:.0%} busy": most,
        f"servers for {CALLS:,} calls a second, by processor time": float(need),
        f"connections of {HOSTS:,} hosts with {PROCESSES_PER_HOST} processes, to each server": float(
            HOSTS * PROCESSES_PER_HOST
        ),
        "connections that Redis accepts by default": float(CONNECTIONS),
    }
    waiting = dict(simulated(operations, each, most, need))
    return Findings(
        [],
        {
            "server": Table(
                "processor time of Redis", "µs", {**times, "to read and answer a command": network}
            ),
            "scale": Table("on paper", "", rows),
            "simulation": Table("simulated: an operation at the server, p99", "µs", waiting),
        },
    )


def simulated(operations: float, each: float, most: float, need: int) -> Iterator[tuple[str, float]]:
    for share in (0.3, 0.5, 0.7, 0.9):
        rate = share / BUSIEST * most * operations
        yield f"one server, {share:.0%} busy", percentile(waits(rate, each, 1), 99)
    for servers in (need, 2 * need):
        rate = CALLS * operations
        yield f"{servers} servers, {CALLS:,} calls a second", percentile(waits(rate, each, servers), 99)


def per_command(url: str) -> float:
    """Return the microseconds of the server's processor for a command that does nothing, sent one by one."""
    with redis.Redis.from_url(url) as client:
        before = used(client)
        for _ in range(5 * OPERATIONS):
            client.ping()
        return (used(client) - before) / (5 * OPERATIONS) * 1e6


def used(client: redis.Redis) -> float:
    cpu = client.info("cpu")
    return float(cpu["used_cpu_sys"] + cpu["used_cpu_user"])
