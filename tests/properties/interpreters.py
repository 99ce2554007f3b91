"""Other interpreters that encode what is described to them: other versions, and other seeds of hashes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
VERSIONS = ("3.10", "3.11", "3.12", "3.13")


class Pool:
    """All that can be found, each in a process of its own until the end of the ``with``."""

    def __enter__(self):
        self._children = []
        for seed in ("1", "2"):
            self._start(sys.executable, seed)
        known = {f"{sys.version_info.major}.{sys.version_info.minor}"}
        for executable in _found():
            self._start(executable, "3", known)
        return self

    def __exit__(self, *_):
        for _, process in self._children:
            process.stdin.close()
        for _, process in self._children:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()

    def ask(self, described, *, order=False):
        """What each makes of *described*: its name and the encodings, ``None`` where it lacks the zone."""
        line = json.dumps({"described": described, "order": order}) + "\n"
        for _, process in self._children:
            process.stdin.write(line)
            process.stdin.flush()
        return [(name, json.loads(process.stdout.readline())) for name, process in self._children]

    def _start(self, executable, seed, known=None):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        environment.update(PYTHONHASHSEED=seed, PYTHONDONTWRITEBYTECODE="1")
        try:
            process = subprocess.Popen(
                [executable, str(HERE / "interpreter.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if known is not None else None,
                env=environment,
                text=True,
            )
        except OSError:
            return
        version = process.stdout.readline().strip()
        if known is None:
            assert version, f"{executable} did not start"
        elif version not in VERSIONS or version in known:
            # There is such a file, but not such a Python: a shim of pyenv's, for one.
            process.kill()
            process.communicate()
            return
        else:
            known.add(version)
        self._children.append((f"{executable} with seed {seed}", process))


def _found():
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for version in VERSIONS:
        yield from map(str, sorted(root.glob(f"versions/{version}.*/bin/python")))
        if (executable := shutil.which(f"python{version}")) is not None:
            yield executable
