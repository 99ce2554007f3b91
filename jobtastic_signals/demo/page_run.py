"""Running the demo's page, and cleaning up afterwards."""

from __future__ import annotations

import logging

from flask import Flask
from werkzeug.serving import BaseWSGIServer, make_server

from .interrupts import ending_on_signals
from .show import Show
from .stage import Stage, open_stage
from .worker import Worker, WorkerError, running_worker

__all__ = ["serve"]

TITLE = "jobtastic-signals, watched in a browser"

YOUR_TURN = (
    "Open this address, make the report, and click again while it is being made, or in a second tab. Ctrl-C "
    "here ends the page and its worker."
)


def serve(*, plugin: bool) -> int:
    """Serve the page until Ctrl-C. Return the exit status."""
    show = Show()
    status = 0
    try:
        with ending_on_signals(), open_stage(plugin=plugin) as stage, running_worker(stage) as worker:
            status = _serve(show, stage, worker, plugin)
    except KeyboardInterrupt:
        # This is the normal end.
        pass
    show.say("The worker has been stopped, and its folder removed.")
    return status


def _serve(show: Show, stage: Stage, worker: Worker, plugin: bool) -> int:
    # Not earlier, since the tasks read the environment that open_stage() sets.
    from .page import create_page

    show.headline(TITLE)
    try:
        with show.waiting("starting a worker"):
            worker.wait_until_ready()
    except WorkerError as error:
        show.trouble(str(error), worker.last_words())
        return 1
    server = _listening(create_page(stage, plugin=plugin))
    show.say(f"http://127.0.0.1:{server.port}/")
    show.say(YOUR_TURN)
    # Returns at the first KeyboardInterrupt, with the socket closed.
    server.serve_forever()
    return 0


def _listening(page: Flask) -> BaseWSGIServer:
    """Return a server on a free port that only this machine can reach."""
    # No log line for each request; failures are still logged.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    return make_server("127.0.0.1", 0, page, threaded=True)
