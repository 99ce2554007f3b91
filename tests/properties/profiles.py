"""How many examples each property gets."""

from typing import Any

import hypothesis
from hypothesis import HealthCheck, settings

# Machines that run other things besides would fail a deadline, or the check of how fast examples come.
_UNTIMED: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow],
}

PROFILES = {
    "default": settings(max_examples=200, **_UNTIMED),
    "ci": settings(max_examples=1_000, derandomize=True, **_UNTIMED),
    "thorough": settings(max_examples=20_000, **_UNTIMED),
}

_chosen = PROFILES["default"]


def choose(name):
    global _chosen
    _chosen = PROFILES[name]


def given(*arguments):
    """As Hypothesis has it, with as many examples as are chosen: for these tests, and for no others."""
    return lambda test: _chosen(hypothesis.given(*arguments)(test))
