"""Runs what pages show, each in a process of its own: ``python -m tests.support.page_runner FOLDER...``.

The processes are forked, so the frameworks are imported once for all pages. Each folder has the files of a
page, its other blocks in ``rest.json``, and its session at the prompt in ``page.txt``.
"""

from __future__ import annotations

import doctest
import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

PRELOADED = ("celery", "django", "fastapi", "flask", "jobtastic_signals.testing", "kombu.transport.memory")


def run_modules(folder: Path) -> None:
    """Import the modules, and execute the rest in ``proj``."""
    for module in sorted(path.stem for path in folder.glob("*.py")):
        importlib.import_module(module)
    for code in json.loads((folder / "rest.json").read_text()):
        exec(compile(code, "a block without a name", "exec"), vars(importlib.import_module("proj")))


def run_prompt(folder: Path) -> None:
    """Compare what the prompt answers with what the page shows."""
    if (folder / "page.txt").exists():
        assert doctest.testfile(str(folder / "page.txt"), module_relative=False).failed == 0


def enter(folder: Path) -> None:
    """Let this process see the files of a page, and keep nothing of the user's."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    os.environ.update(XDG_CACHE_HOME=str(folder / "cache"), PROMETHEUS_MULTIPROC_DIR=str(folder))
    set_up_django(folder)


def set_up_django(folder: Path) -> None:
    """Give Django the settings of the page, or the fewest that there are."""
    import django
    from django.conf import settings

    if (folder / "settings.py").exists():
        os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
    else:
        settings.configure(SECRET_KEY="x" * 50, ALLOWED_HOSTS=["*"], USE_TZ=True)
    django.setup()


def works(folder: Path, run: Callable[[Path], None]) -> bool:
    """Return whether *run* works in a child process, whose errors go to this one's standard error."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(60)  # A page that waits for ever is one that does not work.
            enter(folder)
            run(folder)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def main(folders: list[str]) -> int:
    """Run all pages. Return the exit status."""
    for name in PRELOADED:
        importlib.import_module(name)
    runs = [(Path(folder), run) for folder in folders for run in (run_modules, run_prompt)]
    failed = [(folder, run) for folder, run in runs if not works(folder, run)]
    for folder, run in failed:
        print(f"does not work: {run.__name__} of {folder.name}", file=sys.stderr)
    return min(len(failed), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
