"""How a project fares whose store fails, and whether it recovers."""

import itertools

from tests.support.servers import wait_until
from tests.support.stores.project import warnings_of_ours


def goes_on_without_sharing(project, value, times=2):
    """Use *project* in every way, and return the one warning."""
    before = project.runs
    with warnings_of_ours() as warned:
        for _ in range(times):
            assert project.publishes(value)
            assert project.run(value) == value * 2
    assert project.runs == before + times, "each call runs its body"
    # The store of an earlier test, whose server is gone, may notice that only now.
    ours = f"the store {project.url} ", f"the store {project.url}: "
    warned = [each for each in warned if each.startswith(ours) or not each.startswith("the store ")]
    assert len(warned) == 1, warned
    assert project.url in warned[0]
    assert "share nothing" in warned[0]
    return warned[0]


def recovers(project, value):
    """Whether *project* shares again, without another word."""
    with warnings_of_ours() as warned:
        shares = project.shares(value)
    return shares and warned == []


def wait_until_recovered(project):
    """Wait until *project* shares again. An attempt that half works leaves a result, so each has a value."""
    values = itertools.count(1000)
    wait_until(lambda: recovers(project, next(values)), what="the store")
