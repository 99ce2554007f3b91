"""When the counted instructions of a path are too many."""

from __future__ import annotations

import re

import pytest

from benchmarks import instructions


@pytest.mark.parametrize(("now", "grown"), [(1.25, False), (1.26, True)])
def test_a_path_may_grow_by_a_quarter(now: float, grown: bool):
    wrong = instructions.compared({"a key": now, "an event": 1.0}, {"a key": 1.0, "an event": 1.0})
    assert bool(wrong and re.match("a key: more than", wrong)) is grown


def test_a_python_of_which_nothing_is_recorded_fails_nothing():
    assert instructions.compared({"a key": 9.0}, None) is None
