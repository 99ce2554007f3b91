"""For the tests of those who use us, and of those who write stores.

Needs ``pip install 'jobtastic-signals[testing]'``.
"""

try:
    import hypothesis  # noqa: F401  # the modules below use it
    import pytest
except ImportError as error:
    raise ImportError(
        "jobtastic_signals.testing needs Hypothesis and pytest: pip install 'jobtastic-signals[testing]'"
    ) from error

# Before it is imported, and whoever imports it.
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
    # A store of a test's own.
    "isolated_store",
    "jobtastic_in_memory",
    # What a store is held to.
    "Clock",
    "StoreConformance",
]
