"""Results: what Celery's result backend and the store know of a task id."""
