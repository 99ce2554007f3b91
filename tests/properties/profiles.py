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

#: The share of them for what is read once, or from outside: fewer ways lead through it than through a key.
FEWER = 0.3

_chosen = PROFILES["default"]


def choose(name):
    global _chosen
    _chosen = PROFILES[name]


def given(*arguments, share=1.0):
    """As Hypothesis has it, with a *share* of the chosen examples: for these tests, and for no others."""
    chosen = settings(_chosen, max_examples=round(share * _chosen.max_examples))
    return lambda test: chosen(hypothesis.given(*arguments)(test))
