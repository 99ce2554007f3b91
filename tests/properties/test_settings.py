"""Whatever the configuration says: settings, or an error that names the setting and shows no password."""

from __future__ import annotations

import datetime
import decimal
import math
import traceback
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from hypothesis import example
from hypothesis import strategies as st

from jobtastic_signals import SettingError
from jobtastic_signals.settings import SETTINGS, Settings
from jobtastic_signals.stores import open_store
from tests.support.passwords import PASSWORD as P

from .profiles import FEWER, given

NAMES = [each.name for each in SETTINGS]


class Raising:
    """An object that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("Raising")  # For Hypothesis.


class RaisingText(Raising, str):
    __str__ = Raising.__repr__


def endless() -> dict[str, Any]:
    """Return a dict that contains itself, more than once."""
    loop: dict[str, Any] = {"password": P}
    loop.update(url=loop, sentinel_kwargs=loop, again=[loop, loop])
    return loop


#: What stands in no configuration that works.
ODD = (
    10**400, 10**5000, -(10**5000), math.nan, math.inf, -0.0, b"\xff", decimal.Decimal("NaN"), 1j, ..., int,
    abs, datetime.timedelta.max, -datetime.timedelta.resolution, datetime.timedelta(), Path("a\nb"),
    Raising(), RaisingText("redis://x"), [Raising()], {"db": Raising()}, {"timeout": 10**5000}, {1: 2},
    "", "\n", "\ud800", "\u2028", "x" * 100_000, ".", "..a:b", ":", "a:", "os.path:join", "disk://[::1",
    f"redis://:{P}@host\n", f"redis://me:{P}@host:1/0", [f"redis://:{P}@host"], {"url": f"redis://:{P}@host"},
    {"password": P}, {"sentinel_kwargs": {"password": P}}, endless(),
)  # fmt: skip

values = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats(), st.timedeltas(), st.binary(max_size=5)),
        st.text(st.characters(), max_size=20),
        st.integers(0, len(ODD) - 1).map(ODD.__getitem__),  # Hypothesis would show what it samples from.
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=2).map(tuple),
        st.dictionaries(st.sampled_from(["db", "timeout", "url", "password", "a\n", 1]), inner, max_size=3),
        st.lists(inner, max_size=2).map(iter),
    ),
    max_leaves=5,
)


def read(**settings: Any) -> Settings:
    app = Celery("proj", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.update(settings)
    return Settings.read(app)


def shown_by(error: BaseException) -> str:
    """What a log shows of *error*, without the source of its traceback."""
    lines = traceback.TracebackException.from_exception(error, limit=0).format()
    return "".join(lines).replace("\n\nThe above exception was the direct cause", "")


def check(error: SettingError, *parts: str) -> None:
    """Check that *error* is on one line that is not long, has *parts*, and shows no password."""
    text = str(error)
    assert len(text.splitlines()) == 1
    assert len(text) < 3000
    text.encode()
    assert [part for part in parts if part not in text] == []
    assert P not in shown_by(error)


@given(st.sampled_from(NAMES), values, share=FEWER)
@example("jobtastic_lease", 10**400)
@example("jobtastic_namespace", 10**5000)
@example("jobtastic_key_required", Raising())
@example("jobtastic_store", endless())
@example("jobtastic_store_options", [endless()])
@example("jobtastic_key_context", f"redis://me:{P}@host:1/0")
@example("jobtastic_key_context", "..a:b")
@example("jobtastic_store", RaisingText("memory://"))
@example("jobtastic_lease", {"password": P})
def test_a_setting_is_accepted_or_refused_by_its_name(name, value):
    try:
        settings = read(**{name: value})
    except SettingError as error:
        check(error, f"{name}=")
    else:
        assert P not in repr(settings)


@given(st.text(st.characters(), max_size=20), values, share=FEWER)
@example("x\ny", None)
@example("stroe", {"db": 10**5000})
@example("stroe", endless())
def test_an_unknown_setting_is_refused(name, value):
    if f"jobtastic_{name}" not in NAMES:
        with pytest.raises(SettingError) as refusal:
            read(**{f"jobtastic_{name}": value})
        check(refusal.value, "unknown setting")


def test_an_iterator_is_no_list_of_names():
    """It would be empty once it was looked at, and everything would be shown."""
    with pytest.raises(SettingError, match="jobtastic_memleak_redact"):
        read(jobtastic_memleak_redact=iter(["iban"]))


OPTIONS = (
    "timeout", "size_limit", "trust_folder", "may_unpickle", "clock", "db", "username", "password", "ssl",
    "ssl_cert_reqs", "protocol", "master_name", "min_other_sentinels", "sentinel_kwargs", "sentinel_password",
    "retry", "host", "health_check_interval", "client_name", "socket_timeout", "nosuch",
)  # fmt: skip
STORES = (
    "memory://", "disk:///srv/store", "redis://host", "rediss://host", "redis+cluster://host",
    "sentinel://host?master_name=main", "unix:///run/redis.sock", "memcached://host", "django://default",
)  # fmt: skip


@given(st.sampled_from(STORES), st.dictionaries(st.sampled_from(OPTIONS), values, max_size=2), share=FEWER)
@example("redis://host", {"timeout": math.nan})
@example("disk:///srv/store", {"size_limit": Raising()})
@example("disk:///srv/store", {"trust_folder": {"url": f"redis://:{P}@host"}})
@example("memory://", {"clock": 3, "password": Raising()})
@example("sentinel://host?master_name=main", {"min_other_sentinels": "²"})
def test_an_option_of_a_store_is_accepted_or_refused(url, options):
    try:
        shown = repr(open_store(url, **options))
    except SettingError as error:
        check(error, url.partition(":")[0])
    else:
        assert P not in shown
