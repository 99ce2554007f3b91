"""Options of a middleware of the user's own: read, checked and named like the built-in ones."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, Task

from jobtastic_signals import Middleware, Option, OptionError
from jobtastic_signals.options import finite_number
from tests.support.unit_apps import is_changed, real


def add_task(app: Celery, **options: Any) -> Task:
    def double(n):
        return 2 * n

    return real(app.task(double, name="proj.double", shared=False, **options))


class Priced(Middleware):
    options = (Option("price", default=0, accepts="the price of a run in cents, as 5", parse=finite_number),)

    def __init__(self) -> None:
        self.paid: list[Any] = []

    def before_run(self, run):
        self.paid.append(run.policy["price"])


def test_an_option_of_its_own_is_read_and_has_a_default(new_app):
    priced = Priced()
    app = new_app(middleware=(priced,))
    add_task(app, price=5).apply((21,))
    cached = real(app.task(lambda_free, name="proj.other", shared=False, cache_duration=1))
    cached.apply((1,))
    assert priced.paid == [5, 0]


def lambda_free(n):
    return n


@pytest.mark.parametrize("options", [{"price": "much"}, {"price": True}])
def test_an_option_of_its_own_is_checked(new_app, options):
    app = new_app(middleware=(Priced(),))
    with pytest.raises(OptionError, match=r"'proj\.double': price=.* it takes the price of a run"):
        add_task(app, **options)


def test_an_option_of_its_own_may_be_misspelt_like_any_other(new_app):
    class Budgeted(Middleware):
        options = (Option("monthly_budget", 0, "cents", finite_number),)

    app = new_app(middleware=(Budgeted(),))
    with pytest.raises(OptionError, match="did you mean 'monthly_budget'"):
        add_task(app, montly_budget=5)


def test_an_option_means_nothing_where_its_middleware_is_not(new_app):
    app, with_it = new_app(), new_app(middleware=(Priced(),))
    assert not is_changed(add_task(app, price="much"))
    assert is_changed(add_task(with_it, price=5))
