"""Tests of the package.

``unit``
    No process, no server: ``tox -e unit``.
``integration``
    With servers, workers and browsers, a folder for each kind.
``properties``
    What holds for all keys, with examples that Hypothesis makes up.
``support``
    What tests share. The servers and workers of :mod:`.support.shared` run for the whole session.

Long tests have the marker ``thorough`` and run by ``tox -e thorough``, which measures coverage too.
"""
