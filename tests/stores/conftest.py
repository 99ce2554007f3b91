import pytest

from jobtastic_signals.testing import Clock


@pytest.fixture
def clock():
    return Clock()
