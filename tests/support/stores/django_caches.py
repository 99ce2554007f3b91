"""Django with caches of many kinds, in this process and in others that it starts."""

import json

import django
from django.conf import settings
from django.core.cache import caches
from django.db.backends.signals import connection_created

from jobtastic_signals.stores import open_store

__all__ = ["BACKENDS", "JSONSerializer", "configuration", "configure", "open_configured", "stored"]

BACKENDS = "django.core.cache.backends"


class JSONSerializer:
    """Takes what JSON can hold, and no bytes."""

    dumps = staticmethod(json.dumps)
    loads = staticmethod(json.loads)


def configuration(folder, redis_url, memcached_url):
    """Settings with a cache of each kind."""
    roomy = {"MAX_ENTRIES": 100_000}
    redis = {"BACKEND": f"{BACKENDS}.redis.RedisCache", "LOCATION": f"{redis_url}/0"}
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{folder}/db.sqlite"}
    return {
        "DATABASES": {"default": {**database, "OPTIONS": {"timeout": 20}}},
        "CACHES": {
            "redis": redis,
            "same redis": redis,
            "other prefix": {**redis, "KEY_PREFIX": "other"},
            "other version": {**redis, "VERSION": 2},
            "json": {
                **redis,
                "LOCATION": f"{redis_url}/1",
                "OPTIONS": {"serializer": f"{__name__}.JSONSerializer"},
            },
            "memcached": {
                "BACKEND": f"{BACKENDS}.memcached.PyMemcacheCache",
                "LOCATION": memcached_url.removeprefix("memcached://"),
            },
            "database": {"BACKEND": f"{BACKENDS}.db.DatabaseCache", "LOCATION": "cache", "OPTIONS": roomy},
            "locmem": {"BACKEND": f"{BACKENDS}.locmem.LocMemCache", "OPTIONS": roomy},
        },
    }


def configure(conf):
    """Set Django up, for as long as this process lives: it can be done but once."""
    settings.configure(**conf)
    django.setup()
    connection_created.connect(_without_waiting_for_the_disk)


def _without_waiting_for_the_disk(connection, **_):
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous = OFF")


def open_configured(conf, url, **options):
    """A store in a process that may have no Django yet."""
    if not settings.configured:
        configure(conf)
    return open_store(url, **options)


def stored(alias="redis"):
    """All in the cache's Redis that is ours: name and value."""
    client = caches[alias]._cache.get_client()
    names = [name.decode().split(":", 2)[2] for name in client.scan_iter("*jobtastic-*")]
    return caches[alias].get_many(names)
