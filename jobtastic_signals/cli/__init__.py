"""``celery -A proj jobtastic``: the plugin's commands."""

from .commands import jobtastic

__all__ = ["jobtastic"]
