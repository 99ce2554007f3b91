"""The concerns, one class in one file each; :class:`.Middleware` documents what they can do."""

from .base import Middleware

__all__ = ["Middleware"]
