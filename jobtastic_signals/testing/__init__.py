"""Tools for the tests of projects that use this package, and of stores.

Needs ``pip install 'jobtastic-signals[testing]'``.
"""

try:
    import hypothesis  # noqa: F401  # the modules below use it
    import pytest
except ImportError as _error:
    raise ImportError(
        "jobtastic_signals.testing needs Hypothesis and pytest: pip install 'jobtastic-signals[testing]'"
    ) from _error

# Before anything imports it.
pytest.register_assert_rewrite(f"{__name__}.conformance")

from .clock import Clock  # noqa: E402
from .conformance import StoreConformance  # noqa: E402
from .isolation import isolated_store, jobtastic_in_memory  # noqa: E402
from .keys import assert_key_survives_serializer, assert_keys_distinguish, calls  # noqa: E402

__all__ = [
    # Checks of cache keys.
    "assert_key_survives_serializer",
    "assert_keys_distinguish",
    "calls",
    # A store for one test.
    "isolated_store",
    "jobtastic_in_memory",
    # The contract of a store.
    "Clock",
    "StoreConformance",
]
