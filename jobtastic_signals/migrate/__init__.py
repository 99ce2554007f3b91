"""Finds what a project uses of jobtastic, celery-once, celery-singleton, celery-heimdall and celery-progress.

Run it on a folder or a file. It prints each place, and what to write there instead::

    python -m jobtastic_signals.migrate PATH

It reads the source, and runs and changes nothing.
"""
