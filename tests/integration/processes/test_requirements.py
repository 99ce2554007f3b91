"""What pip installs beside each supported Celery works together."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[3]

#: Redis as a broker, as a result backend and as a store: each refuses a driver that does not fit.
IMPORTS = """
import kombu.transport.redis, celery.backends.redis, redis
from celery import Celery
from jobtastic_signals import Jobtastic
from jobtastic_signals.stores import open_store
app = Celery("proj", broker="redis://127.0.0.1:1", backend="redis://127.0.0.1:1")
Jobtastic(app)
app.connection_for_write().transport, app.backend.client
print(repr(open_store("redis://127.0.0.1:1")))
"""


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: Any) -> Path:
    """The package, built from a copy of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    files = subprocess.run(
        ["git", "-C", str(REPOSITORY), "ls-files", "-z"], capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, files.split("\0")):
        if (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((REPOSITORY / name).read_bytes())
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source)
    return next(folder.glob("*.whl"))


@pytest.mark.exhaustive
@pytest.mark.parametrize("celery", ["5.4", "5.5", "5.6", "5.7"])
def test_the_redis_extra_fits_each_celery(wheel, celery, tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", f"{wheel}[redis]", f"celery=={celery}.*")
    run(python, "-m", "pip", "check")
    assert "RedisStore" in run(python, "-W", "error::DeprecationWarning:jobtastic_signals", "-c", IMPORTS)
