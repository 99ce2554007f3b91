"""Tokens of one task: how long they stay the same, and how long they are valid, for each framework."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import pytest
from celery import Celery
from django.conf import UserSettingsHolder, global_settings, settings
from flask import Flask
from freezegun import freeze_time

from jobtastic_signals.web import asgi, flask
from jobtastic_signals.web.tokens import ExpiredTokenError, SecretSigner, Signer, Task

DAY = 86_400
#: The start of a twelfth of a day.
START = 1_800_000_000 - 1_800_000_000 % (DAY // 12)


def asgi_signer(max_age: float) -> Signer:
    secret = f"secret of {max_age}"
    asgi.status_routes(Celery(set_as_current=False), secret=secret, max_age=max_age)
    return signer(lambda: asgi.task_token("a", secret=secret), SecretSigner(secret))


def flask_signer(max_age: float) -> Signer:
    app = Flask("site")
    app.secret_key = "secret"
    app.register_blueprint(flask.status_routes(Celery(set_as_current=False), max_age=max_age))

    def token() -> str:
        with app.app_context():
            return flask.task_token("a")

    return signer(token, SecretSigner("secret"))


@pytest.fixture(autouse=True)
def _django_has_a_key() -> Iterator[None]:
    """For one test: Django can be configured but once, and other tests of this process need more."""
    before, holder = settings._wrapped, UserSettingsHolder(global_settings)
    holder.SECRET_KEY = "secret"
    settings._wrapped = holder
    yield
    settings._wrapped = before


def django_signer(max_age: float) -> Signer:
    from jobtastic_signals.web import django

    django._max_ages._shortest.clear()
    django.status_routes(Celery(set_as_current=False), max_age=max_age)
    return signer(lambda: django.task_token("a"), django._Signer())


def signer(token, checking: Signer) -> Signer:
    """Signs the way a site does, and checks what it signed."""

    class Site:
        def sign(self, task: Task) -> str:
            return token()

        def unsign(self, token: str, max_age: float) -> str:
            return checking.unsign(token, max_age)

    return Site()


every_framework = pytest.mark.parametrize("make", [asgi_signer, flask_signer, django_signer])


@every_framework
def test_a_page_that_is_rendered_again_has_the_same_token_for_a_twelfth_of_its_age(make):
    site = make(DAY)
    with freeze_time(_at(START)) as frozen:
        tokens = []
        for seconds in (0, 1, DAY // 12 - 1, DAY // 12):
            frozen.move_to(_at(START + seconds))
            tokens.append(site.sign("a"))
    first, *same, later = tokens
    assert same == [first, first]
    assert later != first


@every_framework
@pytest.mark.parametrize("signed", [0, DAY // 12 - 1])
def test_a_token_expires_within_its_age_and_not_before_eleven_twelfths_of_it(make, signed):
    site = make(DAY)
    with freeze_time(_at(START + signed)) as frozen:
        token = site.sign("a")
        frozen.move_to(_at(START + signed + DAY * 11 // 12))
        assert site.unsign(token, DAY) == "a"
        frozen.move_to(_at(START + signed + DAY + 1))
        with pytest.raises(ExpiredTokenError):
            site.unsign(token, DAY)


@every_framework
@pytest.mark.parametrize("max_age", [1, 11])
def test_a_short_age_is_exact_to_the_second(make, max_age):
    site = make(max_age)
    with freeze_time(_at(START + 5)) as frozen:
        token = site.sign("a")
        assert site.unsign(token, max_age) == "a"
        frozen.move_to(_at(START + 6))
        assert site.sign("a") != token
        frozen.move_to(_at(START + 5 + max_age + 1))
        with pytest.raises(ExpiredTokenError):
            site.unsign(token, max_age)


def test_the_shortest_age_of_several_routes_counts():
    app = Celery(set_as_current=False)
    for max_age in (DAY, 12, DAY):
        asgi.status_routes(app, secret=["old", "of several"], max_age=max_age)
    with freeze_time(_at(START + 5)) as frozen:
        token = asgi.task_token("a", secret="of several")
        frozen.move_to(_at(START + 6))
        assert asgi.task_token("a", secret=["old", "of several"]) != token


def test_a_process_without_routes_signs_with_the_exact_time():
    with freeze_time(_at(START + 5)) as frozen:
        token = asgi.task_token("a", secret="of no routes")
        frozen.move_to(_at(START + 6))
        assert asgi.task_token("a", secret="of no routes") != token


def _at(seconds: float):
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.timezone.utc)
