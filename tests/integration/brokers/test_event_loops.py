"""Async code calls tasks while the broker is down, and its event loop serves others meanwhile."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.request import urlopen

from tests.support.servers import accepts, ended, reserve_port, running, wait_until
from tests.support.sockets import refusing, silent


@contextmanager
def uvicorn(folder, broker_port, *, deadline):
    """A site on Uvicorn that calls tasks; gives what reads a page of it."""
    port, log = reserve_port(), folder / "site.log"
    arguments = [str(port), f"redis://127.0.0.1:{broker_port}/0", str(deadline), str(folder / "file")]
    command = [sys.executable, "-m", "tests.support.web.calling_site", *arguments]
    with running(command, log) as process:
        wait_until(lambda: ended(process, log) or accepts(("127.0.0.1", port)), what="the site")

        def read(path):
            with urlopen(f"http://127.0.0.1:{port}/{path}", timeout=40) as response:
                return json.load(response)

        yield read


def test_the_loop_goes_on_while_a_broker_is_silent(tmp_path):
    with (
        ThreadPoolExecutor() as pool,
        silent() as broker,
        uvicorn(tmp_path, broker.port, deadline=600) as read,
    ):
        failed = pool.submit(read, "fail")
        wait_until(lambda: broker.accepted, what="the connection to the broker")
        assert read("ping") == "pong"
        assert not failed.done()
        broker.close()
        assert failed.result() == ["FAILURE", "OperationalError"]


def test_the_loop_goes_on_while_a_task_runs_in_its_process(tmp_path):
    with (
        ThreadPoolExecutor() as pool,
        refusing() as broker,
        uvicorn(tmp_path, broker.port, deadline=600) as read,
    ):
        result = pool.submit(read, "run")
        assert read("ping") == "pong"
        assert not result.done()
        (tmp_path / "file").touch()
        assert result.result() == ["SUCCESS", "it is there"]
