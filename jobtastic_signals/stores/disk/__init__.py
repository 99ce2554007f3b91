"""``disk://``."""

from .store import DiskStore

__all__ = ["DiskStore"]
