"""How many instructions the paths in pure Python take, and whether one has grown by a quarter.

Callgrind counts them, so the machine and what else it does make no difference. The counts are compared with
that of a bare loop in the same process, because builds of Python differ. ``instructions.json`` has the ratios
of each version of Python: ``python -m benchmarks.instructions --update`` writes those of this one.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

BASELINE = Path(__file__).with_name("instructions.json")

#: What a path may take, of what is recorded.
MOST = 1.25

REFERENCE, PLAIN = "1,000 bare calls", "a first call, plain Celery"
FIRST = "a first call, beyond plain Celery"

#: How often a path is counted in one go.
TIMES = 20

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

#: Callgrind counts within this function of Python, and writes a file each time it returns. It is what
#: ``ascii()`` calls, and nothing else.
MARKER = "PyObject_ASCII"


def paths() -> dict[str, Callable[[], Any]]:
    """Return what counts each path, ready: what it needs is imported, connected and read."""
    from celery import Celery

    from jobtastic_signals import Jobtastic, events, update_progress

    from .runs import key_maker, run_of

    apps = [
        Celery(name, broker="memory://", backend="cache+memory://", set_as_current=False) for name in "ab"
    ]
    apps[1].conf.jobtastic_store = "memory://"
    Jobtastic(apps[1])
    plain = apps[0].task(name="double", shared=False)(double)
    ours = apps[1].task(name="double", shared=False, herd_avoidance_timeout=60, cache_duration=600)(double)
    fresh = itertools.count()
    run_of(ours, [(-1,)])()
    key = key_maker(ours)

    def updates() -> None:
        for n in range(TIMES):
            update_progress(n, TIMES)

    def reports() -> None:
        count(updates)

    reporting = apps[1].task(name="reports", shared=False, cache_duration=600)(reports)
    outside = {
        REFERENCE: lambda: repeat(bare_call, 1000),
        PLAIN: lambda: repeat(lambda: plain.delay(next(fresh)), TIMES),
        FIRST: lambda: repeat(lambda: ours.delay(next(fresh)), TIMES),
        "a cached call": lambda: repeat(lambda: ours.delay(-1), TIMES),
        "a key of three arguments": lambda: repeat(lambda: key(n=1, of="acme", year=2026), TIMES),
        "an event without receivers": lambda: repeat(
            lambda: events.emit(events.cache_hit, None, key="key", task_id="id"), TIMES
        ),
    }
    paths = {name: partial(count, path) for name, path in outside.items()}
    return paths | {"a throttled update_progress": run_of(reporting, [()])}


def bare_call() -> None:
    pass


def double(n: int, of: str = "x", year: int = 2026) -> int:
    return 2 * n


def repeat(function: Callable[[], Any], times: int) -> None:
    for _ in range(times):
        function()


class Counted:
    """A path that runs within :data:`MARKER`."""

    def __init__(self, path: Callable[[], Any]) -> None:
        self.path = path

    def __repr__(self) -> str:
        self.path()
        return ""


def count(path: Callable[[], Any]) -> None:
    """Run *path* within the function that Callgrind watches, after it has run outside."""
    path()
    path()
    ascii(Counted(path))


def counted() -> dict[str, float]:
    """Return what each path takes once, in units of the reference."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        command += [f"--toggle-collect={MARKER}", f"--dump-after={MARKER}"]
        done = subprocess.run(
            [*command, sys.executable, "-m", "benchmarks.instructions", "--run"],
            env={**os.environ, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        dumps = sorted(Path(folder).glob("out.*"), key=lambda path: int(path.suffix[1:]))
        counts = [int(re.search(r"^(?:summary|totals): (\d+)", dump.read_text(), re.M)[1]) for dump in dumps]  # type: ignore[index]
    taken = dict(zip(paths(), counts, strict=True))
    reference = taken.pop(REFERENCE)
    taken[FIRST] -= taken.pop(PLAIN)
    return {name: round(count / TIMES / reference, 4) for name, count in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--update", action="store_true", help="record what is counted")
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.run:
        # Its rounds come by what else was made, and cost by what else is imported.
        gc.disable()
        for path in paths().values():
            path()
        return
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is not installed; on Debian: apt install valgrind")
    kept = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    now = counted()
    if chosen.update:
        BASELINE.write_text(json.dumps({**kept, VERSION: now}, indent=1, sort_keys=True) + "\n")
    raise SystemExit(compared(now, now if chosen.update else kept.get(VERSION)))


def compared(now: dict[str, float], before: dict[str, float] | None) -> str | None:
    """Print each path beside what is recorded. Return what is wrong, if anything is."""
    if before is None:
        print(f"nothing is recorded for Python {VERSION}: {now}")
        return None
    grown = [name for name, count in now.items() if count > MOST * before.get(name, 0)]
    print(f"instructions, in {REFERENCE}")
    for name, count in now.items():
        print(f"  {name:30} {count:9.3f}  recorded {before.get(name, 0):9.3f}")
    if not grown:
        return None
    return (
        f"{', '.join(grown)}: more than {MOST} times the instructions that are recorded. If that has to be, "
        "run python -m benchmarks.instructions --update"
    )


if __name__ == "__main__":
    main()
