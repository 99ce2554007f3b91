"""An app to check, with a store of its own."""

import pytest

from jobtastic_signals.stores.disk import DiskStore


@pytest.fixture
def folder(tmp_path):
    """Return the folder of a store that has been used."""
    store = DiskStore(f"disk://{tmp_path}/store")
    assert store.identity
    store.close()
    return tmp_path / "store"


@pytest.fixture
def app(new_app, folder):
    return new_app(jobtastic_store=f"disk://{folder}")


@pytest.fixture
def report(app):
    @app.task(name="report", shared=False, cache_duration=60)
    def report():
        pass

    return app.tasks["report"]
