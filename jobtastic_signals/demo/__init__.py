"""The demo: ``python -m jobtastic_signals.demo``, or ``tox -e demo``.

It starts a real worker in processes of its own, brings about what plain Celery does badly, and says what
it measured. It needs no server, and leaves nothing behind.
"""
