"""What the package adds to the start of a process: processor time, and modules.

Each measurement is a fresh interpreter.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from typing import Any

from .report import Findings, Line, Table
from .rounds import samples

ROUNDS = 15

#: What only some processes need, and only when they first need it.
LATE = ("sqlite3", "diskcache", "psutil", "asyncio", "django", "flask", "starlette", "redis")

#: What a project does when it is imported. What Celery itself needs for a call is not counted.
PROGRAM = """
import json, sys, time
from celery import Celery
app = Celery("proj", broker="memory://", backend="cache+memory://")
app.conf.jobtastic_store = "disk://"
@app.task
def without(n): pass
app.tasks, app.backend
before, start = set(sys.modules), time.process_time()
from jobtastic_signals import Jobtastic
imported = time.process_time()
files = [getattr(sys.modules[name], "__cached__", None) for name in set(sys.modules) - before]
Jobtastic(app)
@app.task(herd_avoidance_timeout=60, cache_duration=60)
def double(n): pass
app.finalize()
ended = time.process_time()
print(json.dumps([(imported - start) * 1e3, (ended - start) * 1e3, sorted(set(sys.modules) - before), files]))
"""

CELERY = """
import json, time
start = time.process_time()
from celery import Celery
app = Celery("proj", broker="memory://", backend="cache+memory://")
@app.task
def without(n): pass
app.tasks, app.backend
print(json.dumps((time.process_time() - start) * 1e3))
"""

#: The least of an import: it reads the bytecode of the modules, and runs none of it.
BYTECODE = """
import json, marshal, sys, time
from celery import Celery
start = time.process_time()
for name in sys.argv[1:]:
    with open(name, "rb") as file:
        marshal.loads(file.read()[16:])
print(json.dumps((time.process_time() - start) * 1e3))
"""

LEAST = "reading the bytecode of its modules"


def fresh(program: str, *arguments: str) -> Any:
    """Return what *program* prints in a new interpreter, which finds the bytecode of the modules."""
    return json.loads(run("-c", program, *arguments).stdout)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, check=True)


def most_expensive(package: str = "jobtastic_signals", most: int = 12) -> dict[str, float]:
    """Return the milliseconds of the modules that take longest themselves, by ``-X importtime``."""
    program = "from celery import Celery; Celery('proj').task; " + f"import {package}"
    done = run("-X", "importtime", "-c", program)
    lines = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines() if "|" in line]
    # The last line is the package, and Celery's modules come before it.
    times = {name.strip(): int(own) / 1e3 for own, _, name in lines[1:] if package in name}
    return dict(sorted(times.items(), key=lambda each: -each[1])[:most])


def measure() -> Findings:
    fresh(PROGRAM)  # It writes the bytecode.
    *_, files = fresh(PROGRAM)
    files = [name for name in files if name and os.path.exists(name)]
    modules: list[str] = []
    imports: list[float] = []

    def ours() -> float:
        imported, enabled, loaded, _ = fresh(PROGRAM)
        imports.append(imported)
        modules[:] = loaded
        return float(enabled)

    turns = {"celery": lambda: fresh(CELERY), "ours": ours, LEAST: lambda: fresh(BYTECODE, *files)}
    times = samples(turns, rounds=ROUNDS)
    rows = {
        "Celery, an app and a task": statistics.median(times["celery"]),
        "import jobtastic_signals": statistics.median(imports),
        "the same, Jobtastic(app) and a task with options": statistics.median(times["ours"]),
        LEAST: statistics.median(times[LEAST]),
    }
    early = [name for name in LATE if name in modules]
    return Findings(
        [
            Line(
                "import time",
                "on top of Celery",
                rows["import jobtastic_signals"],
                20,
                "ms",
                rows[LEAST],
                LEAST,
            ),
            Line(
                "import time", "modules that are not needed yet", len(early), 0, ", ".join(early) or "modules"
            ),
        ],
        {
            "imports": Table("the start of a process", "ms", rows),
            "modules": Table(
                "its modules that take longest themselves, with -X importtime", "ms", most_expensive()
            ),
        },
    )
