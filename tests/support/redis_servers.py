"""Real Redis servers for tests of the store: alone, with sentinels, as a cluster; stopped by their pid."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from tests.support.servers import need, reserve_port, wait_until

__all__ = ["CLUSTER_SLOTS", "RedisServer", "cluster", "redis_server", "sentinels", "tls_options"]

CLUSTER_SLOTS = 16384


class RedisServer:
    """A Redis that keeps nothing on disk, on a port of its own also when it starts again."""

    def __init__(self, folder: Path, *options: str, password: str | None = None) -> None:
        self.folder, self.options, self.port, self.password = folder, options, reserve_port(), password
        self.process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def client(self) -> redis.Redis:
        """For what only tests do, and patient."""
        return redis.Redis(port=self.port, password=self.password, socket_timeout=10, protocol=2)

    def start(self) -> None:
        kept = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        if self.password is not None:
            kept += ["--requirepass", self.password]
        with (self.folder / f"redis-{self.port}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [need("redis-server"), *self.options, *kept],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_until(self.answers, what="Redis answering", every=0.01)

    def answers(self) -> bool:
        try:
            with self.client as client:
                return client.ping()
        except redis.RedisError:
            return False

    def ask(self, *command: object) -> Any:
        with self.client as client:
            return client.execute_command(*command)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def flush(self) -> None:
        self.ask("FLUSHALL")


@contextmanager
def redis_server(folder: Path, *options: str, password: str | None = None) -> Iterator[RedisServer]:
    server = RedisServer(folder, *options, password=password)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def tls_options(folder: Path) -> tuple[Path, list[str]]:
    """A certificate for 127.0.0.1, which is its own authority, and a server's options to use it."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *[need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
            *["-nodes", "-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"],
            *["-keyout", str(key), "-out", str(cert)],
        ],
        check=True,
        capture_output=True,
    )
    files = ["--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-ca-cert-file", str(cert)]
    return cert, [*files, "--tls-auth-clients", "no"]


class Sentinels:
    """A primary, two replicas, and three sentinels that watch it as ``main``; all have passwords."""

    password, sentinel_password = "s3cret", "0070"

    def __init__(self, servers: list[RedisServer], sentinels: list[RedisServer]) -> None:
        self.servers, self.sentinels = servers, sentinels

    @property
    def bare_url(self) -> str:
        """Without the name and the password of the sentinels."""
        hosts = [f"sentinel://:{self.password}@127.0.0.1:{sentinel.port}" for sentinel in self.sentinels]
        return ";".join(hosts) + "/1"

    @property
    def url(self) -> str:
        return f"{self.bare_url}?master_name=main&sentinel_password={self.sentinel_password}"

    @property
    def primary(self) -> RedisServer:
        """As the first sentinel that runs has it."""
        for sentinel in self.sentinels:
            if sentinel.process.poll() is None:
                _, port = sentinel.ask("SENTINEL GET-MASTER-ADDR-BY-NAME", "main")
                return next(server for server in self.servers if server.port == int(port))
        raise LookupError("no sentinel runs")

    def flush(self) -> None:
        self.primary.flush()

    def replicated(self) -> bool:
        """Whether all others follow the primary."""
        with self.primary.client as client:
            info = client.info("replication")
        return [info.get(f"slave{n}", {}).get("state") for n in range(2)] == ["online"] * 2

    def settled(self) -> bool:
        """Whether that is so, and all sentinels know of each other and of the replicas."""
        states = [sentinel.ask("SENTINEL MASTER", "main") for sentinel in self.sentinels]
        known = {(int(state["num-slaves"]), int(state["num-other-sentinels"])) for state in states}
        return known == {(2, 2)} and self.replicated()


@contextmanager
def sentinels(folder: Path) -> Iterator[Sentinels]:
    password, sentinel_password = Sentinels.password, Sentinels.sentinel_password
    with ExitStack() as stack:

        def started(*options: str, password: str) -> RedisServer:
            return stack.enter_context(redis_server(folder, *options, password=password))

        known = ("--masterauth", password)
        primary = started(*known, password=password)
        follow = ("--replicaof", f"127.0.0.1 {primary.port}", "--repl-diskless-sync-delay", "0")
        replicas = [started(*known, *follow, password=password) for _ in range(2)]
        watching = []
        for number in range(3):
            own = folder / f"sentinel-{number}.conf"
            own.write_text(
                f"sentinel monitor main 127.0.0.1 {primary.port} 2\n"
                f"sentinel auth-pass main {password}\n"
                f"sentinel sentinel-pass {sentinel_password}\n"
                "sentinel down-after-milliseconds main 500\n"
                "sentinel failover-timeout main 1000\n"
            )
            watching.append(started(str(own), "--sentinel", password=sentinel_password))
        made = Sentinels([primary, *replicas], watching)
        wait_until(made.settled, what="sentinels and replicas finding each other")
        yield made


class Cluster:
    """Three primaries with a third of the slots each."""

    def __init__(self, nodes: list[RedisServer], cert: Path) -> None:
        self.nodes, self.cert = nodes, cert

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port}"

    @property
    def tls_url(self) -> str:
        port = self.nodes[0].ask("CONFIG GET", "tls-port")["tls-port"]
        return f"rediss+cluster://127.0.0.1:{port}?ssl_ca_certs={self.cert}"

    def flush(self) -> None:
        for node in self.nodes:
            node.flush()

    def settled(self) -> bool:
        known = [node.ask("CLUSTER INFO") for node in self.nodes]
        return {(info["cluster_state"], info["cluster_known_nodes"]) for info in known} == {("ok", "3")}

    def move(self, slot: int, source: RedisServer, target: RedisServer, *, done: bool) -> None:
        """Begin to move *slot*, or end it, when all nodes know of it."""
        here, there = (node.ask("CLUSTER MYID").decode() for node in (source, target))
        if done:
            for node in (target, source, *self.nodes):
                node.ask("CLUSTER SETSLOT", slot, "NODE", there)
        else:
            target.ask("CLUSTER SETSLOT", slot, "IMPORTING", here)
            source.ask("CLUSTER SETSLOT", slot, "MIGRATING", there)


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    cert, options = tls_options(folder)
    # Redis 7.0 tells where its nodes are by TLS only if they talk by it as well.
    options += ["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", "--tls-cluster", "yes"]
    with ExitStack() as stack:
        nodes = []
        for number in range(3):
            own = folder / f"node-{number}"
            own.mkdir()
            ports = ["--tls-port", str(reserve_port()), "--cluster-port", str(reserve_port())]
            nodes.append(stack.enter_context(redis_server(own, *options, *ports)))
        for number, node in enumerate(nodes):
            first, after = (CLUSTER_SLOTS * n // len(nodes) for n in (number, number + 1))
            node.ask("CLUSTER ADDSLOTSRANGE", first, after - 1)
            node.ask("CLUSTER SET-CONFIG-EPOCH", number + 1)
            nodes[0].ask("CLUSTER MEET", "127.0.0.1", node.port, node.options[-1])
        made = Cluster(nodes, cert)
        wait_until(made.settled, what="the nodes of the cluster finding each other")
        yield made
