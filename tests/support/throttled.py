"""A process that gets little of a processor, and what it does with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def run_throttled(command: Sequence[str], *, share: float, folder: Path, ready: str) -> str:
    """Run Python with *command*, and give it a *share* of the time once it has written *ready*.

    Return what it wrote after that.
    """
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline().strip() == ready
            process.stdin.close()
            while process.poll() is None:
                for by, seconds in ((signal.SIGSTOP, 0.1 * (1 - share)), (signal.SIGCONT, 0.1 * share)):
                    with suppress(ProcessLookupError):
                        os.kill(process.pid, by)
                    time.sleep(seconds)
            return process.stdout.read()
        finally:
            process.kill()
