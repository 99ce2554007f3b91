"""What ``celery -A tests.crash.worker worker`` runs, as the environment says."""

import faulthandler
import json
import os
import signal

from .project import Project, Setup

# A worker that is stuck shows where.
faulthandler.register(signal.SIGUSR2, all_threads=True)

app = Project(Setup(**json.loads(os.environ["CRASH_SETUP"]))).app
