"""Durations and sizes in few characters, for tables."""

from __future__ import annotations

__all__ = ["bytes_text", "time_text"]


def time_text(seconds: float | None, otherwise: str = "") -> str:
    """Return a duration in few characters.

    >>> time_text(4.4), time_text(200), time_text(3 * 3600), time_text(1e6), time_text(None)
    ('4 s', '3 min', '3 h', '12 d', '')
    """
    if seconds is None:
        return otherwise
    for size, unit, most in ((1, "s", 100), (60, "min", 100), (3600, "h", 48)):
        if round(seconds / size) < most:
            return f"{round(seconds / size)} {unit}"
    return f"{round(seconds / 86400)} d"


def bytes_text(size: int | None) -> str:
    """Return a number of bytes in few characters.

    >>> bytes_text(0), bytes_text(999), bytes_text(12_345), bytes_text(7_600_000), bytes_text(None)
    ('0 B', '999 B', '12 kB', '7.6 MB', '')
    """
    if size is None:
        return ""
    number = float(size)
    for unit in ("B", "kB", "MB"):
        if number < 999.5:
            return f"{number:.1f} {unit}" if unit != "B" and number < 9.95 else f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"
