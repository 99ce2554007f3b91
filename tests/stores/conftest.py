import pytest

from jobtastic_signals.stores.disk import DiskStore
from jobtastic_signals.stores.memory import MemoryStore

from .clock import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def memory_store(clock):
    return MemoryStore(clock=clock)


@pytest.fixture
def disk_store(tmp_path, clock):
    store = DiskStore(f"disk://{tmp_path}/store", clock=clock)
    yield store
    store.close()
