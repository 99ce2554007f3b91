"""What the normal tests leave to ``tox -e thorough``: what shows little beside those that stay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def rare(*values: Any, id: str | None = None) -> Any:
    """Return a parameter that only the thorough tests have."""
    return pytest.param(*values, id=id, marks=pytest.mark.thorough)


def mainly(*few: Any, of: Iterable[Any]) -> list[Any]:
    """Return the parameters *of*, of which the normal tests have only the *few*.

    A tuple is a value for each of several arguments.
    """
    every = list(of)
    assert all(each in every for each in few), (few, every)
    return [each if each in few else rare(*(each if isinstance(each, tuple) else (each,))) for each in every]
