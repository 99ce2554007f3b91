"""A password in the log of the tests is found, in this process and in others."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.passwords import PASSWORD, PasswordWatch, fail_on_passwords_in


def record(message: str, *arguments: Any, **more: Any) -> logging.LogRecord:
    return logging.LogRecord(
        "proj", logging.INFO, __file__, 1, message, arguments, **{"exc_info": None, **more}
    )


def test_a_password_in_a_message_is_found_once():
    watch = PasswordWatch()
    watch.handle(record("connecting to %s", f"redis://:{PASSWORD}@host"))
    watch.handle(record("connecting to %s", "redis://host"))
    assert watch.taken() == [f"proj: connecting to redis://:{PASSWORD}@host"]
    assert watch.taken() == []


def test_a_password_in_a_traceback_is_found():
    watch = PasswordWatch()
    try:
        raise ValueError(f"no {PASSWORD}")
    except ValueError:
        failure = record("failed", exc_info=sys.exc_info())
    watch.handle(failure)
    assert [line for line in watch.taken() if line.startswith("ValueError")] == [f"ValueError: no {PASSWORD}"]
    assert failure.exc_text is None


def test_a_password_in_the_log_of_a_process_is_found(tmp_path: Path):
    log = tmp_path / "worker.log"
    fail_on_passwords_in(log)
    log.write_text("all is well\n")
    fail_on_passwords_in(log)
    log.write_text(f"all is well\nthe password is {PASSWORD}\n")
    with pytest.raises(AssertionError, match="shows a password"):
        fail_on_passwords_in(log)
