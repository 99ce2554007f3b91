"""The stores are held to the contract."""

import pytest

from jobtastic_signals.stores.disk import DiskStore
from jobtastic_signals.stores.memory import MemoryStore
from jobtastic_signals.testing import StoreConformance
from tests.support.stores.operations import PATIENT


class TestMemoryStore(StoreConformance):
    shared_by_processes = False
    examples, rounds = 50, 20

    @pytest.fixture
    def make_store(self):
        return lambda clock: MemoryStore(clock=clock)


class TestDiskStore(StoreConformance):
    rounds = 20

    @pytest.fixture
    def make_store(self, tmp_path_factory):
        return lambda clock: DiskStore(
            f"disk://{tmp_path_factory.mktemp('store')}", clock=clock, timeout=PATIENT
        )
