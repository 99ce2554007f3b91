"""A memory whose bytes are accounted for, and what is logged of it."""

from __future__ import annotations

from typing import Any

from jobtastic_signals.memory.growth import WARM_UP

MB = 1_000_000
SEEN = f"memory_increase={2:05d} unit=MB"


class Memory:
    """What the process seems to have."""

    def __init__(self) -> None:
        self.resident = 100 * MB
        self.garbage = 0
        self.asked = self.tidied = 0

    def measure(self) -> int:
        self.asked += 1
        return self.resident + self.garbage

    def tidy(self) -> int:
        self.tidied += 1
        self.garbage = 0
        return self.resident


class Secret:
    def __repr__(self) -> str:
        raise RuntimeError("not for you")


def warnings_in(lines: list[tuple[str, str]]) -> list[str]:
    return [text for level, text in lines if level == "WARNING"]


def warm_up(task: Any, *args: Any, **kwargs: Any) -> None:
    for _ in range(WARM_UP):
        task.apply(args, kwargs)
