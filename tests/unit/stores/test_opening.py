"""What a URL opens: a store of its scheme, or an error that says what is missing."""

import pytest

from jobtastic_signals import SettingError, StoreError, stores
from jobtastic_signals.stores import open_store
from jobtastic_signals.stores.memory import MemoryStore
from tests.support.stores.project import Project


def test_a_scheme_counts_in_capitals_too():
    assert isinstance(open_store("MEMORY://"), MemoryStore)


@pytest.mark.parametrize("url", ["memory", "", "://", "redis://[::1", "nosuch://user:pw@host:port"])
def test_what_names_no_store_is_refused_with_all_there_are(monkeypatch, url):
    monkeypatch.setattr(stores, "_STORES", {"disk": None, "memory": None})
    with pytest.raises(SettingError, match="the stores are disk://, memory://"):
        open_store(url)


class Borrowed(MemoryStore):
    """Stands for a store that somebody else wrote."""

    schemes = ("borrowed",)


def test_a_store_that_is_none_of_ours_is_named_by_its_class():
    store = open_store(f"{__name__}:Borrowed+borrowed://", clock=lambda: 7.0)
    assert isinstance(store, Borrowed)
    assert store.url == "borrowed://"
    assert store.lookup_or_claim("key", "owner", 1.0).expires == 8.0


def test_tasks_share_through_it():
    project = Project(f"{__name__}:Borrowed+borrowed://")
    assert project.shares(1)
    project.close()


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("no.such_module:Store", "cannot be imported: No module named 'no'"),
        (f"{__name__}:Lent", "cannot be imported: .* 'Lent'"),
        (f"{__name__}:Project", "is no subclass of jobtastic_signals.Store"),
        (f"{__name__}:pytest", "is no subclass of jobtastic_signals.Store"),
    ],
)
def test_a_class_that_is_no_store_is_refused(path, why):
    with pytest.raises(SettingError, match=f"its class {why}"):
        open_store(f"{path}+borrowed://me:s3cret@host")


def test_a_missing_driver_is_told_with_the_extra_that_installs_it(monkeypatch):
    monkeypatch.setitem(stores._STORES, "driven", ("no_such_driver:Store", "some-extra"))
    with pytest.raises(StoreError) as error:
        open_store("driven://:s3cret@host")
    assert str(error.value) == (
        "driven:// needs no_such_driver, which is not installed: pip install 'jobtastic-signals[some-extra]'"
    )
