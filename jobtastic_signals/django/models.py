"""What the admin needs to list the shared runs, and to say who may see them. There is no table."""

from __future__ import annotations

from django.db import models

__all__ = ["SharedRun"]


class SharedRun(models.Model):  # type: ignore[misc]  # Django has no types
    """A row of the admin's index, and the permissions to view and to change."""

    class Meta:
        managed = False
        default_permissions: tuple[str, ...] = ("view", "change")
        verbose_name = "shared run"
        verbose_name_plural = "shared runs"
