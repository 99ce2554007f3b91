"""A process that gevent patches only after a fork, like the workers of ``gunicorn --preload -k gevent``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

PATCHED_LATE = """
import os
from jobtastic_signals.fallback import broker
from jobtastic_signals.support.threads import in_thread

in_thread(lambda: broker._producers.by_app)  # A request of the process that preloads.
if os.fork():
    os.wait()
    os._exit(0)
from gevent import monkey
monkey.patch_all()
import gevent, queue

found, go_on = queue.Queue(), queue.Queue()
def work():
    found.put(broker._producers.by_app)
    go_on.get()
in_thread(work)
in_thread(work)
with gevent.Timeout(60):
    first, second = found.get(), found.get()
print(first is not second, flush=True)
os._exit(0)
"""


def test_greenlets_do_not_share_a_connection_to_the_broker():
    command = [sys.executable, "-W", "ignore", "-c", PATCHED_LATE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr
