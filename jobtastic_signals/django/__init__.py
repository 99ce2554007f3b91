"""A Django app: system checks, a template tag, and a page of shared runs in the admin.

Example::

    INSTALLED_APPS = ["django.contrib.admin", ..., "jobtastic_signals.django"]

Its label is ``jobtastic``. Each part works without the others. The endpoints are in
:mod:`jobtastic_signals.web.django`.
"""
