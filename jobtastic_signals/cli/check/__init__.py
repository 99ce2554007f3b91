"""``celery -A proj jobtastic check``: finds out whether sharing works, and what to fix."""
