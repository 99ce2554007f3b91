"""Every error that this package raises is a :exc:`JobtasticError`. Tasks raise :exc:`UserFacingError`."""

from __future__ import annotations

from kombu.exceptions import OperationalError

__all__ = [
    "BrokerUnavailableError",
    "DuplicateCallError",
    "UnkeyableError",
    "JobtasticError",
    "OptionError",
    "SettingError",
    "StoreError",
    "UnreadableStateError",
    "UserFacingError",
]


class JobtasticError(Exception):
    """Root of all errors that this package raises."""


class OptionError(JobtasticError, ValueError):
    """An option is wrong, unknown or misspelt; raised when the task binds to its app, or by the call."""


class DuplicateCallError(JobtasticError):
    """An identical call is in flight, and ``on_duplicate="raise"`` refuses another one.

    It is raised in the caller. Where a worker finds the duplicate, the task fails with it.

    :ivar task_name: the name of the task.
    :ivar owner: the task id of the call in flight.
    :ivar is_running: whether it runs; it is queued otherwise.
    :ivar lease_left: seconds for which it certainly blocks others, unless it ends before.
    :ivar seconds_left: seconds until it is expected to end; ``None`` if nobody knows.

    >>> error = DuplicateCallError("proj.report", "3f0c1f5e", True, 27.25, 90.0)
    >>> print(error)
    proj.report: an identical call runs as 3f0c1f5e, for about 90 s more, and on_duplicate='raise' refuses \
this one; read that result with AsyncResult(owner), or call again later
    """

    # All of them are ``args``, so an error from a worker keeps them, whatever the result serializer.
    def __init__(
        self,
        task_name: str,
        owner: str,
        is_running: bool,
        lease_left: float,
        seconds_left: float | None = None,
    ) -> None:
        super().__init__(task_name, owner, is_running, lease_left, seconds_left)
        self.task_name: str = task_name
        self.owner: str = owner
        self.is_running: bool = is_running
        self.lease_left: float = lease_left
        self.seconds_left: float | None = seconds_left

    def __str__(self) -> str:
        state = "runs" if self.is_running else "is queued"
        left = "" if self.seconds_left is None else f", for about {self.seconds_left:.0f} s more,"
        return (
            f"{self.task_name}: an identical call {state} as {self.owner}{left} and on_duplicate='raise' "
            "refuses this one; read that result with AsyncResult(owner), or call again later"
        )


class SettingError(JobtasticError, ValueError):
    """A ``jobtastic_...`` setting in the Celery configuration is wrong or unknown."""


class UnkeyableError(JobtasticError, TypeError):
    """An argument has no canonical form, so the call has no cache key.

    Give the argument a ``to_str`` in ``significant_kwargs``, or leave it out there.

    :ivar argument: its name.
    """

    def __init__(self, message: str, *, argument: str | None = None) -> None:
        super().__init__(message)
        self.argument = argument


class StoreError(JobtasticError):
    """A store cannot be used: it holds what it should not, or its driver is missing."""


class BrokerUnavailableError(JobtasticError, OperationalError):
    """The broker has not answered in time.

    What it says by itself is another :exc:`kombu.exceptions.OperationalError`.
    """


class UnreadableStateError(JobtasticError):
    """What the result backend has of a task cannot be decoded in this process."""


class UserFacingError(Exception):
    """Raise this in a task to fail with a text for the people who wait for it.

    The endpoints send the text as ``message``, and the element shows it. All other exceptions are shown to
    people as a failure without a reason, because their texts may reveal what is not for them.

    Celery's result serializers keep the class of an exception and its positional arguments. So a subclass
    takes positional arguments, and passes the text to this class. The process that reads the status must
    have imported it.

    >>> class NoRows(UserFacingError):
    ...     def __init__(self, file):
    ...         super().__init__(f"{file} has no rows.")
    >>> str(NoRows("sales.csv")), NoRows("sales.csv")
    ('sales.csv has no rows.', NoRows('sales.csv'))
    """

    # ``args`` stay those of the subclass: its exceptions are rebuilt by calling it with them.
    def __init__(self, message: object, /) -> None:
        self._message = str(message)

    def __str__(self) -> str:
        # An ``__init__`` of a subclass may not have called this one.
        return getattr(self, "_message", None) or super().__str__()
