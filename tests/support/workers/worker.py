"""What ``celery -A tests.support.workers.worker`` runs, as the environment says."""

import json
import os

from .project import create_app

app = create_app(**json.loads(os.environ["TEST_PROJECT"])).app
