"""The project, in a worker whose processes die where a message's header ``dies`` says so."""

import json
import os
import signal
from typing import Any

from jobtastic_signals import Jobtastic, Middleware
from jobtastic_signals.calls import Run

from .project import create_app


class Dying(Middleware):
    """Comes last, so its ``after_run`` comes before ours, which frees the claim."""

    def after_run(self, run: Run, state: str | None, value: Any) -> None:
        headers = (run.request.headers if run.request is not None else None) or {}
        if headers.get("dies") == "after its success" and run.decision is None:
            os.kill(os.getpid(), signal.SIGKILL)


app = create_app(**json.loads(os.environ["TEST_PROJECT"]), plugin=False).app
Jobtastic(app, middleware=(Dying(),))
