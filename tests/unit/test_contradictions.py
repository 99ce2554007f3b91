"""Options that have no effect beside the others are errors when the task is defined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from celery import Celery, Task

from jobtastic_signals import Middleware, OptionError
from tests.support.unit_apps import real


def double(n: int) -> int:
    return 2 * n


def add(app: Celery, **options: Any) -> Task:
    return real(app.task(double, name="proj.double", shared=False, **options))


FAILURES: Mapping[str, Any] = {"cache_failures_for": {ValueError: 60}}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (FAILURES, "cache_failures_for needs herd_avoidance_timeout, .*, or cache_duration"),
        ({"cache_when": bool}, "cache_when needs cache_duration"),
        ({"cache_when": bool, "herd_avoidance_timeout": 60}, "cache_when needs cache_duration"),
        ({"cache_when": bool, "cache_duration": -1}, "cache_when needs cache_duration"),
        ({"cache_max_bytes": 5}, "cache_max_bytes needs cache_duration"),
        ({"cache_tags": ["{n}"]}, "cache_tags needs cache_duration, .* or cache_failures_for"),
        ({"cache_tags": ["{n}"], "herd_avoidance_timeout": 60}, "cache_tags needs cache_duration"),
    ],
    ids=str,
)
def test_an_option_without_effect_is_an_error_that_says_what_it_needs(new_app, options, reason):
    with pytest.raises(OptionError, match=rf"task 'proj\.double': {reason}"):
        add(new_app(), **options)


@pytest.mark.parametrize(
    "options",
    [
        {**FAILURES, "herd_avoidance_timeout": 60},
        {**FAILURES, "cache_duration": 0},
        {**FAILURES, "herd_avoidance_timeout": 60, "cache_tags": ["{n}"]},
        {"cache_when": bool, "cache_max_bytes": 5, "cache_tags": ["{n}"], "cache_duration": 0},
        {"cache_failures_for": {}, "cache_tags": [], "memleak_threshold": 5},
    ],
    ids=str,
)
def test_an_option_with_effect_is_none(new_app, options):
    add(new_app(), **options)


def test_all_of_them_are_said_at_once(new_app):
    with pytest.raises(OptionError) as caught:
        add(new_app(), cache_when=bool, cache_max_bytes=5, cache_tags=["{n}"])
    assert [line.split()[2] for line in str(caught.value).splitlines()] == [
        "cache_when",
        "cache_max_bytes",
        "cache_tags",
    ]


@pytest.mark.parametrize(
    ("options", "reasons"),
    [
        ({"on_duplicate": "raise"}, ["on_duplicate='raise' needs herd_avoidance_timeout"]),
        ({"on_duplicate": "raise", "herd_avoidance_timeout": 60.0}, []),
        ({"on_duplicate": "join"}, []),
        (
            {"cache_stale_for": 60.0},
            [
                "cache_stale_for needs a positive cache_duration",
                "cache_stale_for needs herd_avoidance_timeout",
            ],
        ),
        (
            {"cache_stale_for": 60.0, "cache_duration": 0.0, "herd_avoidance_timeout": 60.0},
            ["cache_stale_for needs a positive cache_duration"],
        ),
        (
            {"cache_stale_for": 60.0, "cache_duration": 5.0},
            ["cache_stale_for needs herd_avoidance_timeout"],
        ),
        ({"cache_stale_for": 60.0, "cache_duration": 5.0, "herd_avoidance_timeout": 60.0}, []),
    ],
    ids=str,
)
def test_options_about_runs_at_the_same_time_need_claims(new_app, options, reasons):
    lines = []
    try:
        add(new_app(), **{"cache_duration": -1, **options})
    except OptionError as error:
        lines = str(error).splitlines()
    assert len(lines) == len(reasons)
    assert all(reason in line for line, reason in zip(lines, reasons, strict=True))


def test_a_middleware_of_the_users_own_checks_options_too(new_app):
    class Careful(Middleware):
        def check_options(self, task, policy):
            if policy.caches and not policy.avoids_herds:
                raise OptionError(f"{task.name} lets runs overlap")

    app = new_app(middleware=(Careful(),))
    with pytest.raises(OptionError, match=r"proj\.double lets runs overlap"):
        add(app, cache_duration=60)
