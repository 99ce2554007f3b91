"""Reading the result backend in the same step as the store, where both are on one Redis server."""

from __future__ import annotations

import sys
from typing import Any

from celery import Celery

from ..stores import Store
from ..support.time_limits import caught

__all__ = ["tell_of_results"]


def tell_of_results(store: Store, app: Celery[Any]) -> None:
    """Let *store* tell what *app*'s result backend has of an owner, if both are on one Redis server.

    Others keep their results in other ways, also subclasses of Celery's backend.
    """
    module = sys.modules.get("jobtastic_signals.stores.redis.store")
    if module is None or not isinstance(store, module.RedisStore):
        return
    with caught(lambda _: None):  # A backend that cannot be made is reported where it is needed.
        backend = app.backend
        backends = sys.modules.get("celery.backends.redis")
        if backends is not None and type(backend) is backends.RedisBackend:
            store.tell_of(backend.connparams, backend.get_key_for_task("_").removesuffix(b"_"))
