"""Real brokers for tests: started on free loopback ports, stopped by their pid."""

from __future__ import annotations

import faulthandler
import fcntl
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import kombu
import kombu.exceptions
import pytest

from tests.support.passwords import fail_on_passwords_in

RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"
_RABBITMQCTL = "/usr/lib/rabbitmq/bin/rabbitmqctl"
_RABBITMQ_ENVIRONMENT = "environment.json"


REDIS_IS_READY = b"Ready to accept connections"

#: The ports that this process has reserved, each with the lock that says so.
_reserved: dict[int, IO[str]] = {}


def reserve_port() -> int:
    """Return a port that no other test on this machine is given while this process lives.

    Nor is it one of those that the system chooses for outgoing connections, so a server can come back to it.
    """
    places = Path(tempfile.gettempdir()) / f"jobtastic-test-ports-{os.getuid()}"
    places.mkdir(exist_ok=True)
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.SystemRandom().randrange(10_000, first_outgoing)
        if port not in _reserved and (lock := _lock(places / str(port))) is not None:
            if not accepts(("127.0.0.1", port)):
                _reserved[port] = lock
                return port
            lock.close()


def _lock(path: Path) -> IO[str] | None:
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def ended(process: subprocess.Popen[bytes], log: Path) -> bool:
    """Fail if *process* has ended, with what it wrote to *log*."""
    if process.poll() is not None:
        pytest.fail(f"{process.args!r} ended with {process.returncode}: {log.read_text()[-2000:]}")
    return False


def wait_until(condition, *, timeout: float = 60.0, what: str = "the condition", every: float = 0.02):
    """The first true value of *condition*; the test fails if there is none within *timeout* seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            faulthandler.dump_traceback(all_threads=True)
            pytest.fail(f"{what} did not come true within {timeout} s")
        time.sleep(every)
    return value


def need(program: str) -> str:
    """The path of *program*; without it tests are skipped on a laptop and fail in CI."""
    found = shutil.which(program)
    if found is None:
        message = f"{program} is not installed"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    return found


@contextmanager
def running(
    command: list[str], log: Path, env: Mapping[str, str] | None = None, *, by: int = signal.SIGTERM
) -> Iterator[subprocess.Popen[bytes]]:
    """*command* in a process group of its own, which is gone in the end: asked to go by a signal."""
    # Celery would prefer such variables to what an app says.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CELERY_")}
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**inherited, **(env or {})},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        stop(process, by)
    fail_on_passwords_in(log)


def stop(process: subprocess.Popen[bytes], by: int, timeout: float = 15.0) -> None:
    process.send_signal(by)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def answers(url: str) -> bool:
    try:
        with kombu.Connection(url, connect_timeout=2) as connection:
            connection.connect()
    except (OSError, kombu.exceptions.OperationalError):
        return False
    return True


@contextmanager
def redis_server(
    folder: Path, *options: str, port: int | None = None, bind: Sequence[str] = ("127.0.0.1",)
) -> Iterator[str]:
    """A Redis that keeps nothing; its URL without a database."""
    port = port or reserve_port()
    log = folder / "redis.log"
    places = ["--port", str(port), "--bind", *bind, "--protected-mode", "no", "--dir", str(folder)]
    before = log.stat().st_size if log.exists() else 0
    with running([need("redis-server"), *options, *places, "--save", ""], log) as process:
        wait_until(lambda: REDIS_IS_READY in log.read_bytes()[before:] or ended(process, log), what="Redis")
        yield f"redis://127.0.0.1:{port}"
        process.kill()  # It has nothing to save.


@contextmanager
def memcached(
    folder: Path, *options: str, port: int | None = None, path: Path | None = None
) -> Iterator[tuple[str, subprocess.Popen]]:
    """A Memcached, at a free port unless told where; its URL, and its process."""
    port = port or reserve_port()
    place = ["-s", str(path)] if path else ["-l", "127.0.0.1", "-p", str(port), "-U", "0"]
    user = ["-u", "root"] if os.geteuid() == 0 else []
    with running([need("memcached"), *user, *place, *options], folder / "memcached.log") as process:
        address = str(path) if path else ("127.0.0.1", port)
        wait_until(lambda: accepts(address), what="Memcached accepting")
        yield f"memcached://{path or f'127.0.0.1:{port}'}", process
        process.kill()  # It has nothing to save, and would take a second for that.


def accepts(address: tuple[str, int] | str) -> bool:
    """Whether a server accepts connections at *address*, a host and a port or the path of a socket."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as connection:
        return connection.connect_ex(address) == 0


POSTGRES = "/usr/lib/postgresql/*/bin/postgres"


@contextmanager
def postgresql_server() -> Iterator[int]:
    """A PostgreSQL that trusts everybody as the user ``postgres``; its port.

    It refuses to run as root, and its user cannot reach the folders of tests.
    """
    programs = sorted(Path("/").glob(POSTGRES.lstrip("/")))
    postgres = Path(need(str(programs[-1]) if programs else POSTGRES))
    port = reserve_port()
    with tempfile.TemporaryDirectory(prefix="jobtastic-postgresql-") as name:
        folder = Path(name)
        as_user = []
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
            as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        made = [
            *as_user,
            str(postgres.with_name("initdb")),
            "-D",
            f"{folder}/data",
            "-A",
            "trust",
            "--no-sync",
        ]
        subprocess.run([*made, "-U", "postgres"], check=True, capture_output=True, cwd="/")
        places = ["-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-F"]
        with tempfile.TemporaryDirectory() as logs:
            log = Path(logs) / "postgresql.log"
            command = [*as_user, str(postgres), "-D", f"{folder}/data", *places]
            # To be asked politely means to wait until all clients have gone.
            with running(command, log, by=signal.SIGINT) as process:
                ready = b"ready to accept connections"
                wait_until(lambda: ready in log.read_bytes() or ended(process, log), what="PostgreSQL")
                yield port


@contextmanager
def rabbitmq_server(folder: Path, port: int | None = None) -> Iterator[str]:
    """A RabbitMQ node of its own, with its own port mapper; its URL."""
    port, mapper = port or reserve_port(), reserve_port()
    env = {
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(mapper),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"test{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(reserve_port()),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",
    }
    need(RABBITMQ)
    (folder / _RABBITMQ_ENVIRONMENT).write_text(json.dumps(env))
    log = folder / "rabbitmq.log"
    with running([need("epmd"), "-port", str(mapper)], log, env), running([RABBITMQ], log, env):
        url = f"amqp://guest:guest@127.0.0.1:{port}//"
        wait_until(lambda: accepts(("127.0.0.1", port)) and answers(url), what="RabbitMQ answering")
        yield url


def run_in_rabbitmq(folder: Path, code: str) -> None:
    """Let the node that was started in *folder* run Erlang code."""
    env = json.loads((folder / _RABBITMQ_ENVIRONMENT).read_text())
    command = [_RABBITMQCTL, "-n", env["RABBITMQ_NODENAME"], "eval", code]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
