"""What the URLs and options of the Redis store take, and what is said of wrong ones."""

import sys
import traceback
from contextlib import closing

import pytest
import redis

from jobtastic_signals import SettingError, StoreError
from jobtastic_signals.stores import open_store
from tests.support.redis_servers import redis_server, tls_options
from tests.support.servers import reserve_port

PASSWORD = "p@ss/w:rd%;? #&ö"
QUOTED = "p%40ss%2Fw%3Ard%25%3B%3F%20%23%26%C3%B6"


@pytest.fixture(scope="module")
def guarded_server(tmp_path_factory):
    """Yield a server with a password for the default user, and another user whose password is a number."""
    folder = tmp_path_factory.mktemp("guarded")
    with redis_server(folder) as server:
        server.ask("ACL SETUSER", "ann", "on", ">0070", "~*", "&*", "+@all")
        server.ask("CONFIG SET", "requirepass", PASSWORD)
        yield server


@pytest.mark.parametrize(
    ("url", "options"),
    [
        (f"redis://:{QUOTED}@127.0.0.1:{{port}}/0", {}),
        (f"redis://default:{QUOTED}@127.0.0.1:{{port}}", {}),
        (f"redis://127.0.0.1:{{port}}?password={QUOTED}", {}),
        ("redis://127.0.0.1:{port}", {"password": PASSWORD}),
        ("redis://:right%40last@127.0.0.1:{port}", {"password": "wrong"}),
        ("redis://ann:0070@127.0.0.1:{port}", {}),
        ("redis://127.0.0.1:{port}?username=ann&password=0070", {}),
        ("valkey://127.0.0.1:{port}", {"username": "ann", "password": "0070"}),
    ],
)
def test_passwords_reach_the_server_as_they_are(guarded_server, url, options):
    if "right" in url:
        url = url.replace("right%40last", QUOTED)
    with closing(open_store(url.format(port=guarded_server.port), timeout=10, **options)) as store:
        assert store.lookup("key") is None


@pytest.mark.parametrize("user", ["", ":wrong-s3cret@", "ann:wrong-s3cret@"])
def test_a_wrong_password_is_an_error_and_is_not_told(guarded_server, user):
    store = open_store(f"redis://{user}127.0.0.1:{guarded_server.port}", timeout=10)
    with pytest.raises(redis.RedisError) as refusal:
        store.lookup("key")
    assert "s3cret" not in "".join(traceback.format_exception(refusal.value)) + repr(store)


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("redis://:s3cret@host:port", {}, "that is no URL"),
        ("redis://:s3c/ret@host", {}, "that is no URL"),
        ("redis://:s3cret@[host", {}, "that is no URL"),
        ("redis:", {}, "must specify one of the following schemes"),
        ("redis://s3cret/s3cret@host", {}, "a database is a number"),
        ("redis://host/one", {}, "a database is a number"),
        ("redis://host?db=one&password=s3cret", {}, "Invalid value for"),
        ("redis://host;redis://other", {}, "redis:// is one server, not 2"),
        ("redis://host?pasword=s3cret", {}, "pasword"),
        ("redis://host", {"pasword": "s3cret"}, "pasword"),
        ("redis://host?ssl_ca_certs=/a", {}, "ssl_ca_certs"),
        ("rediss://host?ssl_cert_reqs=nonsense", {}, "nonsense"),
        ("redis://host?timeout=0", {}, "timeout=0.0 is not a positive number"),
        ("redis://host", {"timeout": "soon"}, "timeout='soon' is not a positive number"),
        ("redis://host", {"timeout": True}, "timeout=True is not a positive number"),
        ("redis://host?master_name=main", {}, "master_name"),
        ("sentinel://host:26379/0", {}, "master_name"),
        ("sentinel://host?master_name=main&sentinel_pasword=s3cret", {}, "pasword"),
        ("sentinel://host", {"master_name": "main", "sentinel_kwargs": {"nosuch": 1}}, "nosuch"),
        ("sentinel://host?sentinel_kwargs=a", {"master_name": "main"}, "sentinel_kwargs is not a dict"),
        ("sentinel://host?min_other_sentinels=a", {"master_name": "main"}, "min_other_sentinels='a'"),
        ("redis+cluster://host;redis+cluster://other?nosuch=1", {}, "nosuch"),
    ],
)
def test_what_is_wrong_in_a_url_or_its_options_is_told_and_no_password(url, options, said):
    with pytest.raises(SettingError) as refusal:
        open_store(url, **options)
    text = "".join(traceback.format_exception(refusal.value))
    assert said in str(refusal.value)
    assert "jobtastic_store='" in str(refusal.value)
    # In the lines of this file they stand.
    assert "s3c" not in "".join(line for line in text.splitlines() if not line.startswith("    "))


def test_without_redis_py_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)
    for name in [name for name in sys.modules if name.startswith("jobtastic_signals.stores.redis")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(StoreError) as error:
        open_store("rediss://:s3cret@host")
    assert str(error.value) == (
        "rediss:// needs redis, which is not installed: pip install 'jobtastic-signals[redis]'"
    )


# TLS


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """Yield the address of a server that asks for certificates, and one that it takes, with its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, options = tls_options(folder)
    port = reserve_port()
    with redis_server(folder, *options, "--tls-auth-clients", "yes", "--tls-port", str(port)):
        yield f"127.0.0.1:{port}", cert


def test_certificates_are_given_in_the_query_as_to_redis_py_or_celery(tls):
    host, cert = tls
    own = f"ssl_certfile={cert}&ssl_keyfile={cert.with_name('key.pem')}"
    for url in (
        f"rediss://{host}?{own}&ssl_ca_certs={cert}",
        f"rediss://{host}?{own}&ssl_ca_certs={cert}&ssl_cert_reqs=required",
        f"rediss://{host}?{own}&ssl_cert_reqs=CERT_NONE",
        f"redis://{host}?{own}&ssl_ca_certs={cert}&ssl=true",
    ):
        with closing(open_store(url, timeout=10)) as store:
            assert store.lookup("key") is None


@pytest.mark.parametrize("query", ["", "?ssl_cert_reqs=none"], ids=["the server's", "the client's"])
def test_a_certificate_that_is_missing_is_an_error(tls, query):
    store = open_store(f"rediss://{tls[0]}{query}", timeout=10)
    with pytest.raises(redis.ConnectionError):
        store.lookup("key")
