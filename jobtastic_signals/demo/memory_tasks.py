"""A task that leaks and one that does not, in the demo's program."""

# mypy: disallow-untyped-decorators=False

from .stage import note_run
from .tasks import app

__all__ = ["MEGABYTES", "THRESHOLD", "leaky", "tidy"]

#: The memory that a run of either task needs is twice the threshold, so smaller noise makes no difference.
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
    # Small objects, since Python returns their memory to the system. The memory of large objects goes back to
    # malloc, which may keep it in a process that a thread has forked, such as the one that replaces a killed
    # one.
    return [bytes(479) for _ in range(MEGABYTES * 2_000)]  # 512 bytes each, with the object's own 33
