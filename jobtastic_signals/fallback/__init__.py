"""Answering calls while the broker is down."""

#: The functions of :mod:`.api`, which tasks with our options also have as methods.
FUNCTIONS = (
    "adelay_or_eager",
    "adelay_or_fail",
    "async_or_eager",
    "async_or_fail",
    "delay_or_eager",
    "delay_or_eager_on_commit",
    "delay_or_fail",
    "delay_or_fail_on_commit",
)
