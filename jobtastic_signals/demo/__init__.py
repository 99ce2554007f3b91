"""The demo: ``python -m jobtastic_signals.demo``, or ``tox -e demo``.

It starts a real worker in its own processes, creates situations that plain Celery handles badly, and reports
what it measured. It needs no server, and leaves nothing behind.
"""
