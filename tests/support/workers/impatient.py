"""The project, in a worker that often asks Redis for messages that nobody acknowledged."""

import json
import os
from typing import Any

from kombu.transport import redis

from .project import create_app

_restore_visible = redis.QoS.restore_visible


def restore_visible(self: redis.QoS, start: int = 0, num: int = 10, interval: int = 10) -> Any:
    """Look each time, and not only every tenth."""
    return _restore_visible(self, start, num, 1)


redis.QoS.restore_visible = restore_visible  # type: ignore[method-assign]

app = create_app(**json.loads(os.environ["TEST_PROJECT"])).app
