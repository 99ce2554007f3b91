"""Names in a store that are no keys of calls, and what a store holds there about one task id."""

from __future__ import annotations

import re

__all__ = ["internal_name"]

_PLAIN = re.compile(r"[A-Za-z0-9][\x21-\x7e]{0,254}")


def internal_name(kind: str, task_id: str) -> str:
    """Return the name under which a store has something of *kind* about *task_id*.

    No key of a call starts like this, and no stamp can name it. An id that is not plain text, or that is too
    long, counts by its digest.

    >>> internal_name("outcome", "5a1b"), len(internal_name("outcome", "x" * 10_000))
    ('outcome:5a1b', 41)
    """
    if _PLAIN.fullmatch(task_id):
        return f"{kind}:{task_id}"
    import hashlib  # Few ids are like this.

    digest = hashlib.blake2b(task_id.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{kind}:#{digest}"
