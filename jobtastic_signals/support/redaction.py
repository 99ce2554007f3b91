"""Leave secrets out of what errors, logs, events and ``repr`` show.

Settings are shown by an allow list: of a URL and of options only those parts that are known to be harmless.
Arguments of tasks are shown by name: values of names that are common for secrets are left out.
"""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple
from urllib.parse import unquote

from .safe_text import safe_repr, safe_str
from .shown import one_line

__all__ = [
    "REDACTED",
    "is_secret_name",
    "place_of",
    "redacted_arguments",
    "redacted_repr",
    "scrubbed",
    "without_passwords",
]

HIDDEN = "**"

# Patterns are texts, which ``re`` compiles and keeps when they are first needed. Few processes need them.
_BETWEEN_URLS = r";(?=[A-Za-z+]+://)"
# A store of somebody's own has its class before the scheme.
_SCHEME = r"(?:[A-Za-z_][\w.]*:[A-Z]\w*\+)?[A-Za-z]+[0-9]?(?:[+-][A-Za-z]+[0-9]?)*"
_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?"
_HOSTS = rf"(?:{_HOST}(?:,{_HOST})*)?"
_OPTION_NAME = r"[A-Za-z_]{1,40}"
_OPTION_VALUE = r"[\w.-]{0,64}"
_PATH_OF_A_FILE = r"(?:/[A-Za-z]:)?/(?:[^@:%\x00-\x1f]|%20)*"
_DATABASE = r"(?:/[0-9]{0,4})?"
_WORD = r"[\w.-]*"
_WORDS = r"\w+"

#: The schemes, or their last parts, whose paths lead to files.
_FILES = {"disk", "file", "filesystem", "memcached", "memory", "socket", "sqlite", "unix"}

#: Options of stores and of brokers whose values tell nobody a secret.
_HARMLESS_OPTIONS = {
    "db",
    "health_check_interval",
    "host",
    "master_name",
    "may_unpickle",
    "min_other_sentinels",
    "port",
    "protocol",
    "retry_on_timeout",
    "size_limit",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_timeout",
    "ssl",
    "ssl_cert_reqs",
    "ssl_check_hostname",
    "timeout",
    "trust_folder",
    "virtual_host",
}


class _Url(NamedTuple):
    """The parts of a URL, where they can be told from each other.

    :ivar user: whether there is a user or a password.
    :ivar hosts: the servers; ``None`` if they do not look like servers.
    :ivar rest: what follows the first ``?`` or ``#``, with this character.
    """

    scheme: str
    user: bool
    hosts: str | None
    path: str
    rest: str

    @classmethod
    def parse(cls, url: str) -> _Url | None:
        scheme, separator, beyond = url.partition("://")
        if not separator or len(scheme) > 100 or not re.fullmatch(_SCHEME, scheme):
            return None
        end = re.search(r"[?#]", beyond)
        before, rest = (beyond, "") if end is None else (beyond[: end.start()], beyond[end.start() :])
        authority, slash, path = before.partition("/")
        hosts = authority.rpartition("@")[2]
        servers = hosts if re.fullmatch(_HOSTS, hosts) else None
        return cls(scheme, hosts != authority, servers, slash + path, rest)

    @property
    def is_ambiguous(self) -> bool:
        """Whether a password with a ``/``, ``?`` or ``#`` that is not quoted may reach beyond the servers."""
        return "@" in self.path or "@" in self.rest or not self.path.isprintable()

    @property
    def is_of_files(self) -> bool:
        return re.split(r"[+:]", self.scheme.lower())[-1] in _FILES and not self.hosts


def without_passwords(url: str) -> str:
    """Return *url* with ``**`` for all parts but those that are known to be harmless.

    These are the scheme, the servers, the number of a database, the path of a file, and the options of stores
    that are no secrets. What has neither the form of a URL nor that of a path is hidden as a whole. *url* may
    be several, separated by ``;``.

    >>> without_passwords("redis://me:pass@host:6379/0?ssl_password=word&timeout=1")
    'redis://**@host:6379/0?ssl_password=**&timeout=1'
    >>> without_passwords("me:pass@host")
    '**'
    """
    return ";".join(_shown_url(each) for each in re.split(_BETWEEN_URLS, url))


def place_of(url: str) -> str:
    """Return what distinguishes the place that *url* names from others, whatever its passwords are.

    Not for people: unlike :func:`without_passwords` it has the whole path.
    """
    return ";".join(_place_of_one(each) for each in re.split(_BETWEEN_URLS, url))


def redacted_repr(value: Any, deepest: int = 4) -> str:
    """Return ``repr(value)`` of a setting, such as a URL or a dict of options, without its secrets.

    :param deepest: the number of dicts within each other that are shown. A dict may contain itself.

    >>> redacted_repr({"password": "pass", "db": 1})
    "{'password': '**', 'db': 1}"
    """
    if isinstance(value, str):
        return one_line(repr(without_passwords(value)))
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, Mapping) and deepest:
        items = value.items()
        shown_items = (f"{_shown_name(name)}: {_shown_option(name, each, deepest)}" for name, each in items)
        return one_line("{" + ", ".join(shown_items) + "}")
    if isinstance(value, PurePath) and _is_plain_path(str(value)):
        return repr(value)
    return f"<{type(value).__name__}>"


def scrubbed(text: str, url: str, options: Mapping[str, Any]) -> str:
    """Return *text*, a message about *url* and its *options*, without what they hide.

    For messages of other libraries, which may quote a part of what they got.
    """
    hidden = sorted({each for each in _hidden_in(url, options) if len(each) > 2}, key=len, reverse=True)
    for each in hidden:
        text = text.replace(each, HIDDEN)
    return one_line(text)


def _hidden_in(url: str, options: Mapping[str, Any]) -> Iterator[str]:
    for text in (url, unquote(url)):
        harmless = set(re.findall(_WORDS, without_passwords(text)))
        yield from (each for each in re.findall(_WORDS, text) if each not in harmless)
    for name, value in options.items():
        harmless = set(re.findall(_WORDS, _shown_option(name, value)))
        yield from (each for each in re.findall(_WORDS, safe_str(value)) if each not in harmless)


def _shown_url(url: str) -> str:
    parts = _Url.parse(url)
    if parts is None:
        return url if not url or _is_plain_path(url) else HIDDEN
    if parts.is_ambiguous or parts.hosts is None:
        return f"{parts.scheme}://{HIDDEN}"
    user = f"{HIDDEN}@" if parts.user else ""
    path = parts.path if _is_harmless_path(parts) else f"/{HIDDEN}"
    query, hash_sign, _ = parts.rest.partition("#")
    options = "&".join(_shown_parameter(each) for each in query[1:].split("&")) if query else ""
    end = f"#{HIDDEN}" if hash_sign else ""
    return f"{parts.scheme}://{user}{parts.hosts}{path}{query[:1]}{options}{end}"


def _is_plain_path(text: str) -> bool:
    return text.isprintable() and not text.startswith("//") and bool(re.fullmatch(_PATH_OF_A_FILE, text))


def _is_harmless_path(parts: _Url) -> bool:
    if parts.is_of_files:
        return not parts.path or re.fullmatch(_PATH_OF_A_FILE, parts.path) is not None
    return re.fullmatch(_DATABASE, parts.path) is not None


def _shown_parameter(text: str) -> str:
    name, equals, value = text.partition("=")
    if not equals:
        return HIDDEN
    if name in _HARMLESS_OPTIONS and re.fullmatch(_OPTION_VALUE, value):
        return text
    return f"{name if re.fullmatch(_OPTION_NAME, name) else HIDDEN}={HIDDEN}"


def _shown_name(name: Any) -> str:
    return repr(name) if isinstance(name, str) and re.fullmatch(_OPTION_NAME, name) else repr(HIDDEN)


def _shown_option(name: Any, value: Any, deepest: int = 4) -> str:
    if isinstance(value, Mapping) or name == "url":
        return redacted_repr(value, deepest - 1)
    is_simple = value is None or isinstance(value, (bool, int, float))
    if isinstance(value, str):
        is_simple = re.fullmatch(_OPTION_VALUE, value) is not None
    return safe_repr(value) if name in _HARMLESS_OPTIONS and is_simple else repr(HIDDEN)


def _place_of_one(url: str) -> str:
    parts = _Url.parse(url)
    if parts is None:
        return url if re.fullmatch(_WORD, url) else ""
    if parts.hosts is None or "@" in parts.path:
        return f"{parts.scheme}://"
    options = (each.partition("=") for each in re.split("[?&#]", parts.rest))
    known = sorted(f"{name}={value}" for name, _, value in options if name in _HARMLESS_OPTIONS)
    return f"{parts.scheme}://{parts.hosts}{parts.path}?{'&'.join(known)}"


#: What stands for the value of an argument.
REDACTED = "[redacted]"

# Between words of a name: a change to an upper-case letter, and all that is neither letter nor digit.
_BETWEEN_WORDS = r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+"

# Anywhere in a name: long enough to be nothing else. "secretary" and "author" are no secrets.
_TELLING_PART = (
    r"pas+w(?:or)?d|passphrase|secret(?!ar)|credential|cookie|authoriz|authentic|bearer|"
    r"(?:api|access|private|secret|signing|encryption|ssh|ssl|auth|service|account|master)_?key"
)
# Whole words. As the end of a word: "authtoken" and "dbpwd", but not "tokenizer".
_TELLING_WORD = r"(?:pass|pwd|o?auth|session(?:id)?|sid|jwt|otp|pin|cvv|ssn)|.*(?:tokens?|pwd)"

_DEEPEST = 12


def is_secret_name(name: str) -> bool:
    """Return whether the value of an argument called *name* is probably a secret.

    >>> [is_secret_name(name) for name in ("userPassword", "API-KEY", "auth", "author", "tokenizer")]
    [True, True, True, False, False]
    """
    words = [word for word in re.sub(_BETWEEN_WORDS, "_", name).lower().split("_") if word]
    is_whole_word = any(re.fullmatch(_TELLING_WORD, word) for word in words)
    return is_whole_word or bool(re.search(_TELLING_PART, "_".join(words)))


def redacted_arguments(arguments: Mapping[str, Any], redact: bool | Collection[str]) -> dict[str, Any]:
    """Return *arguments* with :data:`REDACTED` for secret values, however deep they are.

    Looks into dicts, lists, tuples, sets, dataclasses, attrs classes and Pydantic models. An object that has
    a secret is shown as a dict of its fields. URLs lose their user and password.

    :param redact: names that are secret beside the common ones; ``True`` for all values, ``False`` for none.

    >>> redacted_arguments({"user": {"name": "ada", "password": "x"}}, ())
    {'user': {'name': 'ada', 'password': '[redacted]'}}
    """
    if redact is False:
        return dict(arguments)
    if redact is True:
        return dict.fromkeys(arguments, REDACTED)
    return _redacted_items(arguments, redact, 0)


def _redacted_items(items: Mapping[Any, Any], names: Collection[str], depth: int) -> dict[Any, Any]:
    return {
        name: REDACTED
        if isinstance(name, str) and (name in names or is_secret_name(name))
        else _redacted(value, names, depth + 1)
        for name, value in items.items()
    }


_PLAIN = (type(None), bool, int, float, bytes)

_USER_OF_A_URL = r"(?<=://)[^\s]*@"


def _redacted(value: Any, names: Collection[str], depth: int) -> Any:
    """Return *value* itself where it holds nothing secret."""
    if isinstance(value, _PLAIN):
        return value
    if depth > _DEEPEST:
        return REDACTED
    if isinstance(value, str):
        return re.sub(_USER_OF_A_URL, f"{REDACTED}@", value) if "@" in value else value
    fields = dict(value) if isinstance(value, Mapping) else _fields_of(value)
    if fields is not None:
        shown_fields = _redacted_items(fields, names, depth)
        return value if all(shown_fields[each] is fields[each] for each in fields) else shown_fields
    if isinstance(value, (list, tuple, set, frozenset)):
        items = list(value)
        shown_items = [_redacted(each, names, depth + 1) for each in items]
        return value if all(map(operator.is_, items, shown_items)) else shown_items
    return value


def _fields_of(value: Any) -> Mapping[str, Any] | None:
    """Return the fields of an instance of a dataclass, an attrs class or a Pydantic model."""
    cls = type(value)
    found: Iterable[str]
    if dataclasses.is_dataclass(cls):
        found = [field.name for field in dataclasses.fields(cls)]
    elif hasattr(cls, "__attrs_attrs__"):
        found = [field.name for field in cls.__attrs_attrs__]
    elif isinstance(getattr(cls, "model_fields", None), Mapping):
        found = cls.model_fields
    else:
        return None
    return {name: getattr(value, name, None) for name in found}
