"""The passwords that tests use, and a watch that none of them gets into a log."""

from __future__ import annotations

import logging
from pathlib import Path

#: What tests give as a password, and in every part of one that is cut in pieces.
PASSWORD = "s3cret"

#: Others that have to be recognised wherever they are.
PASSWORDS = (PASSWORD, "hunter2")


def passwords_in(text: str) -> list[str]:
    """Return the lines of *text* that have a password of the tests."""
    return [line for line in text.splitlines() if any(password in line for password in PASSWORDS)]


def fail_on_passwords_in(log: Path) -> None:
    """Fail if a process has written a password to its *log*."""
    found = passwords_in(log.read_text(errors="replace")) if log.exists() else []
    assert found == [], f"{log} shows a password"


class PasswordWatch(logging.Handler):
    """Notes the lines of this process's log that have a password, with their tracebacks."""

    def __init__(self) -> None:
        super().__init__()
        self._found: list[str] = []
        # As a worker's log would show them.
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._found += passwords_in(self._shown(record))

    def taken(self) -> list[str]:
        """Return what was found since the last time."""
        found, self._found = self._found, []
        return found

    def _shown(self, record: logging.LogRecord) -> str:
        # Others format the record too, and must not get this formatter's text of the traceback.
        text, record.exc_text = record.exc_text, None
        try:
            return self.format(record)
        except Exception:
            return ""  # logging itself reports it.
        finally:
            record.exc_text = text
