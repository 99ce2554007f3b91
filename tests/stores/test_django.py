"""The store on Django's cache framework: the contract, on Redis, on a database and in memory."""

import pytest
from django.core.cache import caches

from jobtastic_signals import SettingError
from jobtastic_signals.stores import open_store
from jobtastic_signals.testing import StoreConformance

#: A busy machine is no failure.
PATIENT = 30.0


class Conformance(StoreConformance):
    examples, rounds = 5, 3

    @pytest.fixture
    def make_store(self, django_conf):
        def make_store(clock):
            caches[self.alias].clear()
            return open_store(f"django://{self.alias}", clock=clock, timeout=PATIENT)

        return make_store


class TestDjangoStoreOnRedis(Conformance):
    alias = "redis"


class TestDjangoStoreInADatabase(Conformance):
    alias = "database"
    examples, rounds = 2, 1


class TestDjangoStoreInMemory(Conformance):
    alias = "locmem"
    examples, shared_by_processes = 25, False


def test_an_alias_that_is_not_there_is_refused(django_conf):
    with pytest.raises(SettingError, match="redis"):
        open_store("django://nowhere").lookup("key")
