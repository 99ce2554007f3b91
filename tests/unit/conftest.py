"""What tests in several folders here start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobtastic_signals.stores.disk import DiskStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a store that has been used."""
    store = DiskStore(f"disk://{tmp_path}/store")
    assert store.identity
    store.close()
    return tmp_path / "store"
