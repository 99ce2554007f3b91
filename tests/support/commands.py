"""``celery`` commands that tests run, in a pipe or in a terminal."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

import jobtastic_signals
from tests.support.servers import wait_until

ROOT = Path(jobtastic_signals.__file__).parents[1]

#: Celery's own command, which has ours also where the package is not installed.
COMMAND = """
import sys
from celery.bin.celery import celery, main
from jobtastic_signals.cli import jobtastic
celery.add_command(jobtastic)
sys.argv[0] = "celery"
main()
"""
WITHOUT_RICH = f"import sys; sys.modules['rich'] = None\n{COMMAND}"


class Command:
    """A command that runs, and what it has printed up to now."""

    def __init__(self, process, output):
        self.process = process
        self._terminal = output
        self._bytes = bytearray()
        self._reader = threading.Thread(target=self._read, args=(output,))
        self._reader.start()

    def _read(self, output):
        # A terminal whose programs have all ended answers with an error.
        try:
            while block := os.read(output, 65536):
                self._bytes += block
        except OSError:
            pass
        os.close(output)

    @property
    def printed(self):
        return self._bytes.decode(errors="replace")

    def wait_for(self, *texts):
        """Wait until each of *texts* has been printed."""
        for text in texts:
            wait_until(lambda text=text: text in self.printed, what=repr(text))

    def press(self, keys):
        """Press *keys* in the terminal of a command that reads it."""
        os.write(self._terminal, keys.encode())

    def end(self):
        """The exit status, and what it printed as errors; it hangs if it takes longer than a minute."""
        status = self.process.wait(60)
        self._reader.join()
        return status, self.process.stderr.read()


def environment(folder, **env):
    """The environment of a command that finds modules in *folder*, and nothing of the user's.

    A variable of *env* that is None is left out.
    """
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CELERY_") and name not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
    }
    path = os.pathsep.join([str(folder), str(ROOT)])
    cache = {"XDG_CACHE_HOME": str(folder / "cache")}
    ours = {**plain, **cache, "PYTHONPATH": path, "PYTHONUTF8": "1", "TERM": "xterm-256color", **env}
    return {name: value for name, value in ours.items() if value is not None}


@contextmanager
def started(
    folder,
    *arguments,
    app="proj",
    columns=None,
    program=("-c", COMMAND),
    reads=False,
    python=sys.executable,
    **env,
):
    """``celery -A proj ...``, in a terminal of so many *columns*, which it may read, or else in a pipe."""
    if columns:
        pytest.importorskip("rich", reason="it needs the extra 'cli'")
    ours, theirs = pty.openpty() if columns else os.pipe()
    if columns:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    # Who runs the tests in the background has SIGINT ignored, which a new process inherits.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [python, *program, "-A", app, *arguments],
        cwd=folder,
        env=environment(folder, **env),
        stdin=theirs if reads else subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, before)
    os.close(theirs)
    with process:
        command = Command(process, ours)
        try:
            yield command
        finally:
            process.kill()


def run(folder, *arguments, **how):
    """Its exit status, what it printed, and what it printed as errors."""
    with started(folder, *arguments, **how) as command:
        status, errors = command.end()
    return status, command.printed, errors


def without_codes(drawn):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)
