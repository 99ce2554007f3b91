"""jobtastic's base class, so that code written for jobtastic runs with only the import changed.

>>> from jobtastic_signals.compat import JobtasticTask

It is for moving. New tasks need no base class, and the page on migrating says what replaces each name.
"""

from .states import PROGRESS
from .task import JobtasticTask

__all__ = ["PROGRESS", "JobtasticTask"]
