"""Whatever URL names the store: a store, or an error of ours, and no place shows its password."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from hypothesis import example
from hypothesis import strategies as st

from jobtastic_signals import SettingError, StoreError
from jobtastic_signals.stores import open_store
from jobtastic_signals.stores.guard import GuardedStore
from tests.support.passwords import PASSWORD as P

from .profiles import FEWER, given
from .test_settings import read, shown_by

SCHEMES = (
    "redis", "rediss", "valkey", "unix", "redis+socket", "sentinel", "redis+cluster", "memcached", "django",
    "disk", "memory", "MEMORY", "redsi", "http", "", " redis", "redis ", "1", "réd", "os:path+x",
    "jobtastic_signals.stores.memory:MemoryStore+memory", "jobtastic_signals.stores:Store+x", "no.such:A+x",
    "os:nosuch+x", "..a:B+x", ".:B+x", "é:B+x",
)  # fmt: skip
PASSWORDS = (P, f":{P}", f"me:{P}", f"{P}:", f"me:{P}:x", f"a@{P}", f"me:x/{P}", f"me:{P}?x", f"me:{P}#x")
HOSTS = (
    "", "host", "host:6379", "127.0.0.1:1", "[::1]", "[::1]:6379", "[::1", "::1]", "[x]", "[", "a\u2100b",
    "host:", "host:0", "host:99999", "host:-1", "host:x", "host:\u0661", "host:1:2", "\ud800", "x" * 300,
    "é", "a,b", "a:1,b:2", "a,,b", ",", "a;b", "%", "%zz", "host%00", "ho st", "default",
)  # fmt: skip
PATHS = (
    "", "/", "/0", "//", "/x", "/²", "/\u0661", "/srv/store", "/a%00b", "/a%0Ab", "/%ff", "/..", "/\u2028",
    "/\ud800", "/[::1", "/srv/my%20store", "/%2e%2e/", "/x" * 1000,
)  # fmt: skip
OPTIONS = (
    "timeout", "size_limit", "trust_folder", "clock", "self", "url", "nosuch", "db", "ssl", "ssl_cert_reqs",
    "ssl_min_version", "protocol", "retry", "maint_notifications_config", "connection_class", "parser_class",
    "host", "port", "path", "username", "socket_type", "socket_timeout", "encoding", "health_check_interval",
    "max_connections", "master_name", "min_other_sentinels", "sentinel_kwargs", "sentinel_nosuch", "%00", "",
)  # fmt: skip
VALUES = (
    "", "0", "1", "-1", "x", "nan", "inf", "1e999", "9" * 5000, "²", "%00", "%", "True", "\ud800", "\n",
)  # fmt: skip
CONTROLS = ("", "", "", "\n", "\r\n", "\0", "\x1b[31m", "\u2028", "\ud800", " ", "%0A", "%25", "@", "://")

secrets = st.sampled_from([f"password={P}", f"ssl_password={P}", f"sentinel_password={P}", P, f"{P}={P}"])
parameters = st.one_of(st.tuples(st.sampled_from(OPTIONS), st.sampled_from(VALUES)).map("=".join), secrets)


def put_in(parts: tuple[str, str, int]) -> str:
    url, odd, at = parts
    return url[: at % (len(url) + 1)] + odd + url[at % (len(url) + 1) :]


nodes = st.builds(
    "{}{}{}{}{}{}".format,
    st.sampled_from(SCHEMES),
    st.sampled_from(["://"] * 6 + [":", ":/", "//", "", ":///"]),
    st.sampled_from(["", "", *(f"{each}@" for each in PASSWORDS)]),
    st.sampled_from(HOSTS),
    st.sampled_from(PATHS),
    st.lists(parameters, max_size=2).map(lambda given: "?" + "&".join(given) if given else ""),
)
urls = st.tuples(
    st.lists(nodes, min_size=1, max_size=2).map(";".join), st.sampled_from(CONTROLS), st.integers(0, 200)
).map(put_in)


def refuse(*arguments: Any, **options: Any) -> Any:
    raise ConnectionRefusedError("refused")


def shown_of(url: str) -> list[str]:
    """Return what the package shows of *url*."""
    shown = []
    for use in (open_store, lambda url: read(jobtastic_store=url), asked):
        try:
            shown.append(repr(use(url)))
        except (SettingError, StoreError) as error:
            shown.append(shown_by(error).removesuffix("\n"))
    return shown


def asked(url: str) -> Any:
    """Use a store as the rest of the package does. Its log is watched by every test."""
    if "disk" in url.lower():
        return None  # It would make its folder.
    store = GuardedStore(lambda: open_store(url), url)
    return store.url, store.lookup("key")


@given(urls, share=FEWER)
@example("disk://[::1")
@example("disk://a\u2100b")
@example("disk:///\ud800\u2028")
@example("..a:B+x://")
@example("redis://host?timeout=nan")
@example("redis://host?maint_notifications_config=x")
@example("sentinel://host?master_name=main&min_other_sentinels=²")
@example("memory://?clock=3")
@example(f"unix:///me:{P}@host/redis.sock")
def test_a_url_opens_a_store_or_is_refused(url):
    with mock.patch("socket.getaddrinfo", refuse), mock.patch("socket.socket.connect", refuse):
        shown = shown_of(url)
    assert [text for text in shown if P in text] == []
    assert [text for text in shown if not text.isprintable()] == []


@pytest.mark.parametrize(
    "url",
    [
        *("redis://host?timeout=nan", "memcached://host?timeout=inf", "disk:///srv?size_limit=nan"),
        *("disk:///srv/a%00b", "memory://?clock=3", "sentinel://host?master_name=main&min_other_sentinels=²"),
    ],
)
def test_a_value_with_which_each_operation_would_fail_is_refused(url):
    with pytest.raises(SettingError):
        open_store(url)
