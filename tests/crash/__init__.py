"""The crash and contention harness: processes die and servers fail, and afterwards the journal is checked.

* ``rows.py`` is the table: each row is one fault at one moment, with one store, broker and acknowledgement.
* ``scenario.py`` carries a row out, on a site (``site.py``) with servers and workers of its own.
  ``faults.py`` does the damage, and ``destroyed.py`` notes what is lost for ever.
* ``contention.py`` lets many callers disturb each other.
* ``journal.py`` is what runs, calls and faults leave behind, and ``checks.py`` says what is wrong with it.

A row goes on by what the journal says, and never by time. Whatever stops at a *point* waits there until the
harness opens it. So no row depends on the speed of the machine.

Without ``-m`` two of the short rows run, and all of these in ``tox -e thorough``.

* All of them: ``tox -e crash``, or ``pytest tests/crash -m crash -n 6 --dist loadgroup``.
* One: ``pytest tests/crash -m crash -k child_killed-body-redis``.
* ``CRASH_SECONDS`` (20) is how long callers contend on each store, and ``CRASH_CALLERS`` (64) how many.
* A row that fails prints its journal, and where that is kept.
"""
