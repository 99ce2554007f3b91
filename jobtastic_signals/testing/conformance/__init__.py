"""What every store must do: the docstrings of :class:`jobtastic_signals.Store`, sentence by sentence."""

from __future__ import annotations

from .atomicity import Atomicity
from .claims import Claims
from .contents import Contents
from .counts import Counts
from .deliveries import Deliveries
from .forgetting import Forgetting
from .late_owners import LateOwners
from .leaving import Leaving
from .lifetimes import Lifetimes
from .machine import Agreement
from .next_claims import NextClaims
from .results import Results
from .stale_results import StaleResults

__all__ = ["StoreConformance"]


# pytest begins with the last.
class StoreConformance(
    Agreement,
    Atomicity,
    Lifetimes,
    Contents,
    Counts,
    Leaving,
    Forgetting,
    StaleResults,
    NextClaims,
    LateOwners,
    Results,
    Deliveries,
    Claims,
):
    """Holds a store to the contract.

    All that a subclass gives it is the fixture ``make_store``::

        class TestMyStore(StoreConformance):
            @pytest.fixture
            def make_store(self):
                return lambda clock: MyStore("my://server", clock=clock)

    It returns a function: given a clock, that returns a store which goes by it, on storage that is empty. The
    fixtures ``store`` and ``clock`` (a :class:`~jobtastic_signals.testing.Clock`) serve tests of your own.

    The attributes ``examples``, ``steps`` and ``rounds`` say how much is tried, ``largest`` how many bytes a
    payload has, and ``shared_by_processes = False`` that a forked child goes on with a copy of its own.
    """
