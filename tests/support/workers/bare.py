"""An app that has the project's configuration, and neither its tasks nor the plugin."""

import json
import os

from celery import Celery

app = Celery("bare")
app.conf.update(json.loads(os.environ["TEST_PROJECT"]))
