"""Pauses between attempts."""

import random

from jobtastic_signals.support.pauses import pause


def test_a_pause_leaves_the_random_numbers_of_the_user_alone():
    before = random.getstate()
    pause(0.001)
    assert random.getstate() == before
