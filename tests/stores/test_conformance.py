import pytest

from .conformance import StoreConformance


class TestMemoryStore(StoreConformance):
    @pytest.fixture
    def store(self, memory_store):
        return memory_store


class TestDiskStore(StoreConformance):
    @pytest.fixture
    def store(self, disk_store):
        return disk_store
