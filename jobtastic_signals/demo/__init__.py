"""The demo: ``python -m jobtastic_signals.demo``, or ``tox -e demo``.

It starts a real worker in processes of its own, makes calls that plain Celery would run twice, and says
what it measured. It needs no server, and leaves nothing behind.
"""
