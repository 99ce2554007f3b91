"""Whatever stands in a URL instead of a task token gets an answer of ours, and never another task."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, unquote

import pytest
from celery import Celery
from django.conf import UserSettingsHolder, global_settings, settings
from hypothesis import example
from hypothesis import strategies as st

from jobtastic_signals.web.endpoint import Endpoint
from jobtastic_signals.web.tokens import SecretSigner

from .profiles import FEWER, given

SIGNERS: dict[str, Any] = {
    "Flask or ASGI": SecretSigner("of this site"),
    "old and new secrets": SecretSigner(["an old one", "of this site"]),
    "Django": None,
    "without a secret": None,
}
STRANGER = SecretSigner("of another site")
IDS = ("a", "b", "c7b92a4c-5e1d-4c76-9d8b-0d6b8a3f2f10", "x" * 255)

#: Characters with a meaning in a token, in a path or in a header, and those that only look like them.
ODD = (
    "~",
    "~~",
    "\r\n",
    "\n",
    "\0",
    "%0d%0a",
    "%00",
    "/",
    "..",
    "?",
    "#",
    " ",
    "é",
    "\uff5e",
    "\u0661",
    "\ud800",
    "=",
)


def endpoint(signer, authorize=None):
    app = Celery("proj", broker="memory://", backend="cache+memory://", set_as_current=False)
    return Endpoint(app, lambda: signer, authorize=authorize, max_age=60, stream=True, traceback=False)


ENDPOINTS = {name: (signer, endpoint(signer)) for name, signer in SIGNERS.items()}
WITH_AUTHORIZE = endpoint(SIGNERS["Flask or ASGI"], lambda request, task_id: task_id == "a")


@pytest.fixture(autouse=True, scope="module")
def _django_has_a_key():
    """For these tests: Django can be configured but once, and other tests of this process need more."""
    before, holder = settings._wrapped, UserSettingsHolder(global_settings)
    holder.SECRET_KEY = "secret"
    settings._wrapped = holder
    from jobtastic_signals.web.django import _Signer

    ENDPOINTS["Django"] = _Signer(), endpoint(_Signer())
    yield
    settings._wrapped = before


names = st.sampled_from(list(SIGNERS))

#: What is done to a token, given a place in it, another token and an odd text.
CHANGES = (
    lambda token, at, other, odd: token,
    lambda token, at, other, odd: token[:at],
    lambda token, at, other, odd: token[at:],
    lambda token, at, other, odd: token[:at] + odd + token[at:],
    lambda token, at, other, odd: token[:at] + odd + token[at + 1 :],
    lambda token, at, other, odd: token[:at] + other[at:],
    lambda token, at, other, odd: other.partition("~")[0] + "~" + token.partition("~")[2],
    lambda token, at, other, odd: token + odd,
    lambda token, at, other, odd: token.swapcase(),
    lambda token, at, other, odd: quote(token, safe="", errors="replace"),
    lambda token, at, other, odd: unquote(token.replace("~", "%7E")),
    lambda token, at, other, odd: "".join(f"%{ord(each):02x}" for each in token),
    lambda token, at, other, odd: base64.urlsafe_b64encode(token.encode(errors="replace")).decode(),
    lambda token, at, other, odd: token.translate({ord("~"): "\uff5e", ord("a"): "\u0430"}),
    lambda token, at, other, odd: token * (at + 1),
)

texts = st.one_of(
    st.text(st.characters(), max_size=30),
    st.lists(st.sampled_from([*ODD, *IDS]), max_size=6).map("".join),
    st.sampled_from(["x" * 100_000, "~" * 100_000, "x~" * 10_000]),
)


@st.composite
def changed_tokens(draw):
    """Return what makes a reference from two tokens of a signer, changed a few times, and these tokens."""
    ids, strange = draw(st.tuples(*[st.sampled_from(IDS)] * 2)), draw(st.booleans())
    steps = [
        (draw(st.sampled_from(CHANGES)), draw(st.integers(0, 60)), draw(st.sampled_from(ODD)))
        for _ in range(draw(st.integers(1, 2)))
    ]

    def make(signer):
        signed = [(STRANGER if strange or signer is None else signer).sign(each) for each in ids]
        reference = signed[0]
        for change, at, odd in steps:
            reference = change(reference, at, signed[1], odd)
        return reference, [] if strange else signed

    return make


def answer_of(endpoint, reference):
    """The answer to *reference*, which is a sound one whatever that is."""
    answer = endpoint.answer(SimpleNamespace(method="GET", headers={}), reference, endpoint.status)
    body = json.loads(answer.body)
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert all(text.isprintable() for text in answer.headers.values())
    if answer.status != 200:
        assert answer.status in (400, 403, 404)
        assert set(body) == {"error"}
        assert len(answer.body) < 500
    return answer.status, body


@given(names, texts, share=FEWER)
@example("Django", "\ud800")
@example("Flask or ASGI", "a\r\nSet-Cookie: x=1")
@example("Flask or ASGI", "a~\n")
def test_a_text_is_refused(name, text):
    assert answer_of(ENDPOINTS[name][1], text)[0] in (400, 403)


@given(names, changed_tokens(), share=FEWER)
@example("Django", lambda signer: (STRANGER.sign("a"), []))
@example("Flask or ASGI", lambda signer: ("a~AAAAAA~AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", []))
@example("Flask or ASGI", lambda signer: ("a~" + "9" * 90 + "~x", []))
@example("Flask or ASGI", lambda signer: (signer.sign("a") + "..", []))
def test_a_changed_token_shows_the_task_that_was_signed_or_none(name, make):
    signer, endpoint = ENDPOINTS[name]
    reference, signed = make(signer)
    status, body = answer_of(endpoint, reference)
    if status == 200:
        # The last character of a signature has bits without a meaning, so it can be another.
        assert reference[:-1] in [token[:-1] for token in signed]
        assert body["task"]["id"] == reference.partition("~")[0]


@pytest.mark.parametrize("name", SIGNERS)
def test_a_token_is_accepted_by_the_site_that_signed_it(name):
    signer, endpoint = ENDPOINTS[name]
    assert (signer is None) == (name == "without a secret")
    status, body = answer_of(endpoint, (signer or STRANGER).sign("b"))
    assert (status, body.get("task", {}).get("id")) == ((200, "b") if signer else (403, None))


@given(texts, share=FEWER)
@example("a\n")
@example("\uff41")
def test_a_plain_id_shows_that_very_task_if_authorize_allows_it(text):
    status, body = answer_of(WITH_AUTHORIZE, text)
    assert (status == 200) == (text == "a")
    assert status != 200 or body["task"]["id"] == "a"
