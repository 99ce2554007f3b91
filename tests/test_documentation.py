"""What the README, the other pages and the docstrings show is true."""

from __future__ import annotations

import doctest
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jobtastic_signals

from .workers.servers import redis_server, running, wait_until

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def first_example() -> str:
    return re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]


def test_the_first_example_is_short():
    lines = [line for line in first_example().splitlines() if line.strip()]
    assert len(lines) <= 15


def test_the_first_example_runs_with_a_real_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As typed, but for the place of Redis: one run, and its value for both callers."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with redis_server(tmp_path) as url:
        (tmp_path / "proj.py").write_text(first_example().replace("redis://localhost", url))
        log = tmp_path / "worker.log"
        command = [
            sys.executable,
            "-m",
            "celery",
            "--workdir",
            str(tmp_path),
            "-A",
            "proj",
            "worker",
            "-c",
            "2",
        ]
        with running([*command, "-l", "INFO"], log):
            wait_until(lambda: b" ready." in log.read_bytes(), timeout=60, what="the worker")
            run = subprocess.run([sys.executable, "proj.py"], cwd=tmp_path, capture_output=True, text=True)
        assert run.stdout == "True acme, 2026: all is well\n", run.stderr
        assert log.read_text().count(" succeeded in ") == 1


def test_the_commands_for_a_fresh_machine_stand_there():
    assert "pip install tox && tox -e demo\npip install tox && tox\n" in README


def modules() -> list[str]:
    """All modules of the package but the demo's, which are an app and switch the plugin on."""
    found = pkgutil.walk_packages(jobtastic_signals.__path__, "jobtastic_signals.")
    names = ["jobtastic_signals", *(module.name for module in found)]
    return [name for name in names if ".demo" not in name]


@pytest.mark.parametrize("name", modules())
def test_the_examples_in_docstrings_run(name: str):
    assert doctest.testmod(pkgutil.resolve_name(name)).failed == 0


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path):
    targets = re.findall(r"\]\(((?!https?:)[^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []
    assert f"docs/{page.name}" in README
