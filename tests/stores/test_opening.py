"""What a URL opens: a store of its scheme, or an error that says what is missing."""

import pytest

from jobtastic_signals import SettingError, StoreError, stores
from jobtastic_signals.stores import open_store
from jobtastic_signals.stores.memory import MemoryStore


def test_a_scheme_counts_in_capitals_too():
    assert isinstance(open_store("MEMORY://"), MemoryStore)


@pytest.mark.parametrize("url", ["memory", "", "://", "redis://[::1", "nosuch://user:pw@host:port"])
def test_what_names_no_store_is_refused_with_all_there_are(monkeypatch, url):
    monkeypatch.setattr(stores, "_STORES", {"disk": None, "memory": None})
    with pytest.raises(SettingError, match="the stores are disk://, memory://"):
        open_store(url)


def test_a_missing_driver_is_told_with_the_extra_that_installs_it(monkeypatch):
    monkeypatch.setitem(stores._STORES, "driven", ("no_such_driver:Store", "some-extra"))
    with pytest.raises(StoreError) as error:
        open_store("driven://:secret@host")
    assert str(error.value) == (
        "driven:// needs no_such_driver, which is not installed: pip install 'jobtastic-signals[some-extra]'"
    )
