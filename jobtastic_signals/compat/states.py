"""The state of a run that reports progress, where code written for jobtastic imports it from."""

from ..results.backend import PROGRESS

__all__ = ["PROGRESS"]
