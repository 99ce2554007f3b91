"""Calls that Django makes once a transaction is committed."""

from __future__ import annotations

import json
import subprocess
import sys


def test_calls_wait_for_the_commit_and_are_dropped_with_a_rollback(tmp_path, down):
    command = [
        sys.executable,
        "-m",
        "tests.support.web.django_transactions",
        str(tmp_path / "db.sqlite"),
        down,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "before the commit": [],
        "after the commit": [["kept"], ["kept, too"]],
        "after a rollback": [],
        "outside of a transaction": [["at once"]],
        "accepted by mistake": [],
        "answers without the broker": ["failed", "eager", "eager"],
        "rows seen by eager runs": [["another", "kept"]] * 3,
    }
