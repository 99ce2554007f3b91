"""What ``celery -A proj jobtastic watch`` does: look at tasks again and again, and show what changed."""
