"""What is stored and warned of where keys cannot be made."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from jobtastic_signals.keys import canonical, instances
from jobtastic_signals.stores.memory import MemoryStore


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys under which anything was claimed or stored."""
    keys: list[str] = []

    def spied(original: Callable[..., Any]) -> Callable[..., Any]:
        def spy(self: MemoryStore, key: str, *args: Any, **kwargs: Any) -> Any:
            keys.append(key)
            return original(self, key, *args, **kwargs)

        return spy

    # Not renew: the lease of a run that another test has left behind is renewed in the background.
    for name in ("lookup_or_claim", "claim", "complete"):
        monkeypatch.setattr(MemoryStore, name, spied(getattr(MemoryStore, name)))
    return keys


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What this package has warned of so far."""
    caplog.set_level(logging.WARNING)
    return lambda: [
        record.getMessage() for record in caplog.records if record.name.startswith("jobtastic_signals")
    ]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone afterwards."""
    nothing: dict[type, Any] = {}
    for module in (canonical, instances):
        monkeypatch.setattr(module, "REGISTERED", nothing)
