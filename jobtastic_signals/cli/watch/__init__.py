"""``celery -A proj jobtastic watch``: reads the status of tasks repeatedly, and shows what changed."""
