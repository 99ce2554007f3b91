"""Every error of this package is a :exc:`JobtasticError`."""

from __future__ import annotations

from kombu.exceptions import OperationalError

__all__ = [
    "BrokerUnavailableError",
    "UnkeyableError",
    "JobtasticError",
    "OptionError",
    "SettingError",
    "StoreError",
]


class JobtasticError(Exception):
    """Root of all errors that this package raises."""


class OptionError(JobtasticError, ValueError):
    """An option on a task is wrong, unknown or misspelt; raised when the task binds to its app."""


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
