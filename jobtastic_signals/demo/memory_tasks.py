"""A task that leaks and one that does not, in the program that the demo is about."""

# mypy: disallow-untyped-decorators=False

from .stage import note_run
from .tasks import app

__all__ = ["MEGABYTES", "THRESHOLD", "leaky", "tidy"]

#: What a run of either needs. Twice the threshold, so noise of less than that makes no difference.
MEGABYTES, THRESHOLD = 8, 4

_kept: list[list[bytes]] = []


@app.task(name="leaky", memleak_threshold=THRESHOLD)
def leaky() -> None:
    note_run("leaky")
    _kept.append(_rows())


@app.task(name="tidy", memleak_threshold=THRESHOLD)
def tidy() -> None:
    note_run("tidy")
    _rows()


def _rows() -> list[bytes]:
    # Small objects, whose memory Python itself gives back to the system. That of large ones goes to malloc,
    # which may keep it where a thread has forked the process, as the one in place of a killed one.
    return [bytes(479) for _ in range(MEGABYTES * 2_000)]  # 512 bytes each, with the object's own 33
