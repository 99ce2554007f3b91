"""What ``celery -A proj jobtastic check`` does: find out whether sharing works here, and what to mend."""
