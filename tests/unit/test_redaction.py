"""What is secret in a setting is shown nowhere: in no error, log, event, check or ``repr``."""

from __future__ import annotations

import dataclasses
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from jobtastic_signals import SettingError, events
from jobtastic_signals.cli.check.project import check_backend
from jobtastic_signals.cli.check.store import StoreHere
from jobtastic_signals.errors import JobtasticError
from jobtastic_signals.settings import Settings
from jobtastic_signals.stores import open_store
from jobtastic_signals.stores.guard import GuardedStore
from jobtastic_signals.support.redaction import (
    is_secret_name,
    place_of,
    redacted_arguments,
    redacted_repr,
    without_passwords,
)
from tests.support.passwords import PASSWORD as P

#: A URL, and how it is shown.
URLS = {
    # As documented.
    f"redis://:{P}@host/0": "redis://**@host/0",
    f"redis://{P}@host/0": "redis://**@host/0",
    f"redis://me:{P}@host:6379/0": "redis://**@host:6379/0",
    f"rediss://me:{P}@host/0?timeout=1": "rediss://**@host/0?timeout=1",
    f"valkey://:{P}@host": "valkey://**@host",
    f"redis://host/0?password={P}&db=1": "redis://host/0?password=**&db=1",
    f"unix:///run/redis.sock?db=1&password={P}": "unix:///run/redis.sock?db=1&password=**",
    f"redis+socket:///run/redis.sock?password={P}": "redis+socket:///run/redis.sock?password=**",
    f"unix://me:{P}@/run/redis.sock": "unix://**@/run/redis.sock",
    f"redis://me:{P}@[::1]:6379/0": "redis://**@[::1]:6379/0",
    # Passwords with characters that ought to be quoted.
    f"redis://me:{P}@{P}@host/0": "redis://**@host/0",
    f"redis://me:{P}/{P}@host/0": "redis://**",
    f"redis://me:{P}#{P}@host/0": "redis://**",
    f"redis://me:{P}?{P}@host/0": "redis://**",
    f"redis://me:{P}&{P}@host/0": "redis://**@host/0",
    f"redis://me:{P}:{P}@host/0": "redis://**@host/0",
    f"redis://me:{P};{P}@host/0": "redis://**@host/0",
    f"redis://me:{P} {P}@host/0": "redis://**@host/0",
    f"redis://me:{P}\n{P}@host/0": "redis://**@host/0",
    f"redis://me:{P}@{P}/{P}@host/0": "redis://**",
    f"redis://me:[{P}]@host/0": "redis://**@host/0",
    f"redis://host?password={P}@{P}": "redis://**",
    f"redis://host?password={P}&{P}": "redis://host?password=**&**",
    f"redis://host?password={P}&{P}=1": "redis://host?password=**&**=**",
    f"redis://host?password={P}#{P}": "redis://host?password=**#**",
    f"redis://host?password={P}={P}": "redis://host?password=**",
    # Quoted, whole or in part.
    f"redis://me%3A{P}%40host/0": "redis://**",
    f"redis://:{P}%40{P}@host/0": "redis://**@host/0",
    f"redis://:{P}%40host/0": "redis://**",
    f"redis:%2F%2F:{P}@host/0": "**",
    f"disk:///me%3A{P}%40host/store": "disk:///**",
    f"disk:///me%253A{P}%2540host/store": "disk:///**",
    f"redis://host/0?%70assword={P}": "redis://host/0?**=**",
    # No host, no port, no slash.
    f"redis://:{P}": "redis://**",
    f"redis://:{P}/0": "redis://**",
    f"redis://host:{P}/0": "redis://**",
    f"redis://host:6379:{P}": "redis://**",
    f"redis://me:{P}": "redis://**",
    f"redis:/:{P}@host/0": "**",
    f"redis:{P}@host/0": "**",
    f"redis//:{P}@host/0": "**",
    f"redis://host/{P}": "redis://host/**",
    f"redis://host/0/{P}": "redis://host/**",
    f"redis://host#{P}": "redis://host#**",
    f"redis://host?{P}": "redis://host?**",
    # The scheme is forgotten, or mistyped.
    f":{P}@host/0": "**",
    f"me:{P}@host:6379/0": "**",
    f"//me:{P}@host/0": "**",
    f"//{P}/0": "**",
    f"://:{P}@host": "**",
    P: "**",
    f"{P}@redis://host/0": "**",
    f"me:{P}+redis://host/0": "**",
    f"me:{P}+x@host/0": "**",
    f"redsi://:{P}@host/0": "redsi://**@host/0",
    f"http://me:{P}@host/0": "http://**@host/0",
    f"redis ://:{P}@host/0": "**",
    f" redis://:{P}@host/0": "**",
    f"'redis://:{P}@host/0'": "**",
    f"JOBTASTIC_STORE=redis://:{P}@host/0": "**",
    # Stores that take no password.
    f"disk://me:{P}@/srv/store": "disk://**@/srv/store",
    f"disk://me:{P}@host/srv/store": "disk://**@host/**",
    f"disk:///me:{P}@host/srv/store": "disk://**",
    f"disk:///srv/store?password={P}": "disk:///srv/store?password=**",
    f"disk://{P}/@srv": "disk://**",
    f"memory://me:{P}@host/0?ssl_password={P}": "memory://**@host/0?ssl_password=**",
    f"django://me:{P}@default": "django://**@default",
    f"django://default?password={P}": "django://default?password=**",
    f"django://default:{P}": "django://**",
    # Several servers.
    f"sentinel://:{P}@a:1;sentinel://b:2/0": "sentinel://**@a:1;sentinel://b:2/0",
    f"sentinel://a:1;sentinel://:{P}@b:2/0": "sentinel://a:1;sentinel://**@b:2/0",
    f"sentinel://a:1;:{P}@b:2/0": "sentinel://**@b:2/0",
    f"sentinel://a:1?Sentinel_Password={P}&master_name=main": (
        "sentinel://a:1?Sentinel_Password=**&master_name=main"
    ),
    f"redis+cluster://:{P}@a:1;redis+cluster://me:{P}@b:2": "redis+cluster://**@a:1;redis+cluster://**@b:2",
    f"memcached://me:{P}@a:11211,b:11211": "memcached://**@a:11211,b:11211",
    f"memcached://a:11211,me:{P}@b:11211": "memcached://**@b:11211",
    f"memcached://a:11211,b:{P}": "memcached://**",
    f"memcached://a:{P}": "memcached://**",
    # A store of somebody's own.
    f"proj.stores:Mine+redis://:{P}@host": "proj.stores:Mine+redis://**@host",
    f"proj.stores:Mine+:{P}@host": "**",
    # Result backends and brokers.
    f"db+postgresql+psycopg2://me:{P}@host/proj": "db+postgresql+psycopg2://**@host/**",
    f"mongodb://me:{P}@a:1,b:2/proj?authSource={P}": "mongodb://**@a:1,b:2/**?authSource=**",
    f"sqs://AKIA:{P}/{P}@": "sqs://**",
    f"amqp://me:{P}@host:5672//": "amqp://**@host:5672/**",
}

HARMLESS = (
    "",
    "redis://host:6379/0?db=1&timeout=0.5",
    "disk:///srv/store",
    "disk:///srv/my%20store?size_limit=1000",
    "memory://",
    "django://default",
    "memcached://a:11211,b:11211",
    "memcached:///run/memcached.sock",
    "sentinel://a:1;sentinel://b:2/0?master_name=main",
    "proj.stores:Mine+redis://host",
    "/srv/store",
)

OPTIONS: tuple[dict[str, Any], ...] = (
    *(
        {name: P}
        for name in (
            *("password", "Password", "pasword", "passwd", "pwd", "pass", "passphrase", "secret", "token"),
            *(
                "auth",
                "api_key",
                "apikey",
                "ssl_key",
                "ssl_keyfile",
                "ssl_password",
                "private_key",
                "credential",
            ),
            *("credentials", "username", "user", "connection", "anything", P, f"pass {P}"),
        )
    ),
    {"auth": ("me", P)},
    {"nodes": [{"host": "a", "password": P}]},
    {"sentinel_kwargs": {"password": P}},
    {"sentinel_kwargs": {"nodes": [[P]]}},
    {"sentinel_kwargs": {"deeper": {"pwd": P}}},
    {"url": f"redis://:{P}@host"},
    {"url": P},
    {"timeout": [P]},
    {"timeout": f"redis://:{P}@host"},
    {"master_name": P + " " + P},
)


def test_there_are_as_many_spellings_as_have_leaked():
    assert len(URLS) + len(OPTIONS) >= 68


@pytest.mark.parametrize(("url", "expected"), URLS.items())
def test_a_url_is_shown_without_its_passwords(url, expected):
    assert without_passwords(url) == expected
    assert without_passwords(expected) == expected
    assert redacted_repr(url) == repr(expected)


@pytest.mark.parametrize("url", HARMLESS)
def test_a_url_without_a_secret_is_shown_as_it_is(url):
    assert without_passwords(url) == url


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_are_shown_without_what_may_be_secret(options):
    shown = redacted_repr(options)
    assert P not in shown
    assert "**" in shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"password": 12345, "db": 1, "timeout": 0.5}, "{'password': '**', 'db': 1, 'timeout': 0.5}"),
        ({"sentinel_kwargs": {"db": 1, "pwd": "x"}}, "{'sentinel_kwargs': {'db': 1, 'pwd': '**'}}"),
        ({"url": "redis://:x@host"}, "{'url': 'redis://**@host'}"),
        ({1: None}, "{'**': '**'}"),
        (Path("/srv/store"), "PosixPath('/srv/store')"),
        (Path("me:x@host"), "<PosixPath>"),
        (["x"], "<list>"),
        (12345, "<int>"),
        (None, "None"),
        (True, "True"),
    ],
)
def test_a_setting_is_shown_as_its_repr_without_what_is_secret(value, expected):
    assert redacted_repr(value) == expected


# Everywhere that a store is named.


def read(**settings: Any) -> Settings:
    app = Celery("proj", set_as_current=False)
    app.conf.update(settings)
    return Settings.read(app)


def errors_of(function: Any, *arguments: Any, **options: Any) -> Iterator[str]:
    """Everything that a traceback of the call could show, but lines of code."""
    try:
        yield repr(function(*arguments, **options))
    except (JobtasticError, TypeError, ValueError, ImportError) as raised:
        error: BaseException | None = raised
        while error is not None:
            yield from traceback.format_exception_only(error)
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def checks_of(settings: dict[str, Any]) -> Iterator[str]:
    try:
        found = read(**settings)
    except SettingError:
        return
    yield repr(found)
    here = StoreHere(found)
    yield here.url
    for finding in here.check():
        yield str(finding)


def guarded(url: str, heard: list[Any]) -> Iterator[str]:
    def fail() -> Any:
        raise OSError("no connection")

    with events.store_unavailable.connected_to(lambda sender, **_: heard.append(sender)):
        store = GuardedStore(fail, url)
        store.lookup("key")
    yield store.url
    with pytest.raises(JobtasticError) as refusal:
        store.lookup("key", required=True)
    yield str(refusal.value)


@pytest.fixture
def connects_nowhere(monkeypatch):
    """No store gets as far as its server: names like those here may exist."""

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)


@pytest.mark.usefixtures("connects_nowhere")
@pytest.mark.parametrize("url", URLS)
def test_no_place_shows_a_password_of_a_url(url, caplog, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    caplog.set_level(logging.DEBUG)
    heard: list[Any] = []
    shown = [
        *errors_of(open_store, url),
        *errors_of(open_store, url, nosuch=1),
        *errors_of(read, jobtastic_store=url),
        *errors_of(read, jobtastic_stroe=url),
        *errors_of(read, jobtastic_store_options=url),
        *errors_of(read, jobtastic_store_options={"url": url}, nosuch=url),
        *guarded(url, heard),
        *(checks_of({"jobtastic_store": url}) if not url.startswith("disk") else ()),
        str(check_backend(Celery("proj", set_as_current=False, result_backend=url))),
    ]
    assert [text for text in (*shown, *map(str, heard), caplog.text) if P in text] == []


@pytest.mark.usefixtures("connects_nowhere")
@pytest.mark.parametrize("scheme", ["redis://host", "sentinel://host", "memory://", "memcached://host"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_no_place_shows_a_password_of_an_option(options, scheme, caplog, tmp_path):
    settings = {"jobtastic_store": scheme, "jobtastic_store_options": options}
    shown = [
        *errors_of(open_store, scheme, **options),
        *errors_of(read, jobtastic_store_option=options),
        *errors_of(read, **settings),
        *checks_of(settings),
    ]
    assert [text for text in (*shown, caplog.text) if P in text] == []


def test_the_guard_names_the_store_in_its_warning_and_event(caplog):
    heard: list[Any] = []
    with caplog.at_level(logging.INFO):
        list(guarded(f"memory://me:{P}@host/0?ssl_password={P}", heard))
    assert heard == ["memory://**@host/0?ssl_password=**"]
    assert "memory://**@host/0?ssl_password=**" in caplog.text


# The default folder.


@pytest.mark.parametrize(
    "url",
    [
        "redis://:{}@host/0",
        "redis://me:{}@host/0",
        "redis://me:{}/x@host/0",
        "redis://me:{}?x@host/0",
        "redis://me:{}#x@host/0",
        "redis://host/0?password={}",
        "redis://host/0?password=a@{}",
        "redis://:{}",
        "redis:{}@host",
        ":{}@host",
        "sentinel://:{}@a:1;sentinel://b:{}@c:2/0",
        "db+postgresql://me:{}@host/proj?sslpassword={}",
        "sqs://AKIA:{}/x@",
    ],
)
def test_the_place_of_a_url_does_not_depend_on_a_password(url):
    assert place_of(url.replace("{}", P)) == place_of(url.replace("{}", "hunter2"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("redis://host/0", "redis://host/1"),
        ("redis://:x@host/0", "redis://:x@host/1"),
        ("redis://host?db=0", "redis://host?db=1"),
        ("redis://one", "redis://other"),
        ("redis://host", "rediss://host"),
        ("db+postgresql://me:x@host/staging", "db+postgresql://me:x@host/production"),
        ("db+sqlite:///staging.sqlite", "db+sqlite:///production.sqlite"),
        ("amqp://me:x@host/staging", "amqp://me:x@host/production"),
        ("django-db", "rpc"),
    ],
)
def test_two_places_are_distinguished(one, other):
    assert place_of(one) != place_of(other)


# Arguments of tasks.


@pytest.mark.parametrize(
    "name",
    [
        *("password", "Password", "PASSWORD", "user_password", "userPassword", "new-password", "password2"),
        *("pasword", "passwd", "pwd", "db_pwd", "dbpwd", "db_pass", "passphrase", "secret", "client_secret"),
        *(
            "token",
            "access_token",
            "accessToken",
            "authtoken",
            "tokens",
            "api_key",
            "apikey",
            "APIKey",
            "x-api-key",
        ),
        *("auth", "oauth", "basic_auth", "authorization", "Authorization", "credential", "credentials"),
        *(
            "private_key",
            "privateKey",
            "ssh_key",
            "ssl_key",
            "access_key_id",
            "session",
            "session_id",
            "sessionid",
        ),
        *(
            "cookie",
            "cookies",
            "set_cookie",
            "csrf_token",
            "jwt",
            "bearer",
            "otp",
            "pin",
            "cvv",
            "signing_key",
        ),
    ],
)
def test_common_names_of_secrets_are_known(name):
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "user",
            "username",
            "author",
            "authors",
            "key",
            "keys",
            "keyboard",
            "primary_key",
            "tokenizer",
            "compass",
        ),
        *(
            "passenger",
            "passed",
            "bypass",
            "secretary",
            "sessions_per_day",
            "pinned",
            "customer",
            "monkey",
            "spin",
        ),
    ],
)
def test_other_names_are_not_taken_for_secrets(name):
    assert not is_secret_name(name)


@dataclasses.dataclass
class Login:
    user: str
    password: str


class Careless:
    def __init__(self) -> None:
        self.password = P


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"password": "x", "n": 1}, {"password": "[redacted]", "n": 1}),
        ([{"a": [{"token": "x"}]}], [{"a": [{"token": "[redacted]"}]}]),
        (({"pwd": "x"}, 2), [{"pwd": "[redacted]"}, 2]),
        (Login("ada", "x"), {"user": "ada", "password": "[redacted]"}),
        ([Login("ada", "x")], [{"user": "ada", "password": "[redacted]"}]),
        ("postgresql://me:x@host/db", "postgresql://[redacted]@host/db"),
        ("see https://host/page", "see https://host/page"),
        ("ada@example.org", "ada@example.org"),
        ({1: "x"}, {1: "x"}),
    ],
)
def test_secrets_are_found_inside_of_values(value, expected):
    assert redacted_arguments({"value": value}, ()) == {"value": expected}


def test_attrs_classes_and_pydantic_models_are_looked_into():
    attr = pytest.importorskip("attr")
    pydantic = pytest.importorskip("pydantic")
    made = attr.make_class("Made", ["user", "password"])
    model = pydantic.create_model("Model", user=(str, ...), password=(str, ...))
    shown = redacted_arguments(
        {"attrs": made("ada", P), "model": model(user="ada", password=P)}, frozenset(["user"])
    )
    hidden = {"user": "[redacted]", "password": "[redacted]"}
    assert shown == {"attrs": hidden, "model": hidden}


def test_what_holds_no_secret_stays_the_same_object():
    class Ours:
        pass

    values = {"a": [1, {"b": (2, "c")}], "d": Ours(), "e": Login("ada", "")}
    shown = redacted_arguments({"values": values["a"], "ours": values["d"]}, ())
    assert shown["values"] is values["a"]
    assert shown["ours"] is values["d"]


def test_a_value_that_contains_itself_has_an_end():
    loop: dict[str, Any] = {"n": 1}
    loop["loop"] = loop
    assert "[redacted]" in repr(redacted_arguments({"value": loop}, ()))


def test_names_that_are_given_come_beside_the_common_ones():
    arguments = {"iban": "x", "password": "x", "deep": {"iban": "x"}}
    assert redacted_arguments(arguments, ["iban"]) == {
        "iban": "[redacted]",
        "password": "[redacted]",
        "deep": {"iban": "[redacted]"},
    }
    assert redacted_arguments(arguments, False) == arguments
    assert redacted_arguments(arguments, True) == dict.fromkeys(arguments, "[redacted]")
