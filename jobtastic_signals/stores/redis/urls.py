"""What a URL of the Redis store and its options mean, in terms of redis-py's connections."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, partial
from typing import Any
from urllib.parse import urlsplit

import redis.cluster
from redis import RedisError
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection, parse_url, to_bool

from ...errors import SettingError
from ...support.redaction import redacted_repr
from ...support.safe_text import safe_repr, safe_str
from ..numbers import positive
from .servers import Address, Cluster, Connector, Guides, OneServer, Place, SentinelPrimary, Servers

__all__ = ["SCHEMES", "opener", "place_of"]

#: Seconds for connecting, and for an answer.
_TIMEOUT = 0.25

# Each scheme in redis-py's words, and the port where none is given.
_SPELT = {
    "redis": ("redis", 6379),
    "rediss": ("rediss", 6379),
    "valkey": ("redis", 6379),
    "valkeys": ("rediss", 6379),
    "unix": ("unix", 0),
    "redis+socket": ("unix", 0),
    "sentinel": ("redis", 26379),
    "redis+cluster": ("redis", 6379),
    "rediss+cluster": ("rediss", 6379),
}

SCHEMES = tuple(_SPELT)


def opener(url: str, options: Mapping[str, Any]) -> Callable[[], Servers]:
    """Return what makes the servers of *url*, in each process anew.

    :raises SettingError: if the URL is none.
    :raises TypeError: for a wrong option.
    """
    scheme = url.partition(":")[0].lower()
    addresses, parsed = _parsed(url, scheme)
    given = {**options, **parsed}
    timeout = positive("timeout", given.pop("timeout", _TIMEOUT))
    if scheme == "sentinel":
        return _sentinels(addresses, given, timeout)
    if scheme.endswith("+cluster"):
        # Up to redis-py 5 the errors of a cluster were known to this parser alone.
        if hasattr(redis.cluster, "ClusterParser"):
            given["parser_class"] = redis.cluster.ClusterParser
        connector = _connector(given, timeout)
        return lambda: Cluster(connector, Guides(addresses, connector, timeout))
    if len(addresses) > 1:
        raise SettingError(
            f"jobtastic_store={redacted_repr(url)}: {scheme}:// is one server, not {len(addresses)}"
        )
    connector = _connector(given, timeout)
    return partial(OneServer, connector.connect, place_of(connector.options))


def place_of(options: Mapping[str, Any]) -> Place:
    """Return where a connection of redis-py's with such arguments leads to."""
    path = options.get("path")
    host, port = (None, None) if path else (options.get("host"), options.get("port"))
    return path, host or "localhost", int(port or 6379), int(options.get("db") or 0)


def _sentinels(addresses: list[Address], given: dict[str, Any], timeout: float) -> Callable[[], Servers]:
    name = given.pop("master_name", None)
    if not isinstance(name, str):
        raise TypeError("sentinel:// needs the master_name of the server that the sentinels watch")
    others, theirs = given.pop("min_other_sentinels", 0), given.pop("sentinel_kwargs", None) or {}
    if not safe_str(others).isdecimal():
        raise TypeError(f"min_other_sentinels={safe_repr(others)} is not a number of sentinels")
    if not isinstance(theirs, Mapping):
        raise TypeError("sentinel_kwargs is not a dict")
    theirs = dict(theirs)
    for option in [option for option in given if option.startswith("sentinel_")]:
        theirs[option.removeprefix("sentinel_")] = given.pop(option)
    connector, to_sentinels = _connector(given, timeout), _connector(theirs, timeout)
    return lambda: SentinelPrimary(connector, Guides(addresses, to_sentinels, timeout), name, int(others))


def _parsed(url: str, scheme: str) -> tuple[list[Address], dict[str, Any]]:
    """Return the addresses in one URL, or several with ``;`` between them, and what else they say."""
    addresses: list[Address] = []
    merged: dict[str, Any] = {}
    for each in reversed(re.split(rf";(?={re.escape(scheme)}://)", url, flags=re.IGNORECASE)):
        try:
            parsed = _parsed_one(each, scheme)
        except ValueError as error:
            raise SettingError(f"jobtastic_store={redacted_repr(url)}: {error}") from None
        addresses.insert(0, (parsed.get("host", "localhost"), parsed.get("port", _SPELT[scheme][1])))
        merged.update(parsed)
    return addresses, merged


def _parsed_one(url: str, scheme: str) -> dict[str, Any]:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        # Its text can show a part of the password.
        raise ValueError("that is no URL; are its parts quoted?") from None
    driver, _ = _SPELT[scheme]
    database = parts.path.strip("/")
    if driver != "unix" and database and not database.isdigit():
        raise ValueError("a database is a number, as in /0")
    parsed: dict[str, Any] = parse_url(f"{driver}:{url.partition(':')[2]}")
    if set("@/") & set(parsed.get("host", "")):
        raise ValueError("that is no URL; are a user and a password before its host?")
    return parsed


@cache
def _about_driver() -> Mapping[str, Any]:
    """Return what redis-py tells the server about itself.

    By default it looks up its own version anew for each connection. That takes 7 ms, and 1.3 MB of the memory
    of each process. The processes of a pool inherit what is asked here before they are forked.
    """
    with suppress(ImportError):
        from redis.driver_info import DriverInfo  # Older releases look it up once.

        return {"driver_info": DriverInfo()}
    return {}


def _connector(given: Mapping[str, Any], timeout: float) -> Connector:
    options = {"socket_timeout": timeout, "socket_connect_timeout": timeout, "protocol": 2, **given}
    if not {"lib_name", "lib_version", "connection_class"} & given.keys():
        options = {**_about_driver(), **options}
    kind = options.pop("connection_class", Connection)
    if to_bool(options.pop("ssl", None)):
        kind = SSLConnection
    if kind is not UnixDomainSocketConnection:
        options.setdefault("socket_keepalive", True)
    if "virtual_host" in options:  # Celery's word for it.
        options["db"] = options.pop("virtual_host")
    if isinstance(options.get("ssl_cert_reqs"), str):
        # Celery says CERT_REQUIRED for what redis-py calls required.
        options["ssl_cert_reqs"] = options["ssl_cert_reqs"].lower().removeprefix("cert_")
    options["decode_responses"] = False
    try:
        kind(**options)
    except (RedisError, AttributeError) as error:
        raise TypeError(str(error)) from error
    return Connector(kind, options)
