"""Reads how many examples are wanted: from ``--hypothesis-profile``, or from ``HYPOTHESIS_PROFILE``."""

import os

import pytest
from hypothesis import settings

from . import profiles

# Hypothesis has the other two itself, and its option takes only what it has.
settings.register_profile("thorough", profiles.PROFILES["thorough"])


def pytest_configure(config):
    wanted = config.getoption("--hypothesis-profile") or os.environ.get("HYPOTHESIS_PROFILE")
    try:
        profiles.choose(wanted or ("ci" if os.environ.get("CI") else "default"))
    except KeyError:
        raise pytest.UsageError(
            f"{wanted!r} is no profile; there are {', '.join(profiles.PROFILES)}"
        ) from None
