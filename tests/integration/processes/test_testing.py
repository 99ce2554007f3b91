"""The tools for users' tests find what they look for, and nothing where there is nothing."""

from __future__ import annotations

import subprocess
import sys


def test_what_the_tools_need_is_named_where_it_is_missing():
    code = "import sys; sys.modules['hypothesis'] = None; import jobtastic_signals.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'jobtastic-signals[testing]'" in done.stderr


def test_the_package_itself_needs_none_of_it():
    code = "import sys, jobtastic_signals; print({'hypothesis', 'pytest'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n"


def test_what_only_some_processes_need_is_not_imported_before():
    stores = {"diskcache", "pymemcache", "redis", "sqlite3"}
    others = {"asyncio", "flask", "psutil", "starlette"}
    code = (
        "import sys, celery; before = set(sys.modules); import jobtastic_signals; "
        f"print({stores | others} & (set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


# What a store is held to; tests/integration/stores does so, and the page on testing shows one that fails.


def test_a_suite_without_a_store_says_what_it_needs(tmp_path):
    (tmp_path / "test_mine.py").write_text(
        "from jobtastic_signals.testing import StoreConformance\n\nclass TestMine(StoreConformance): ...\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    done = subprocess.run([*command, "-k", "new_key", str(tmp_path)], capture_output=True, text=True)
    assert "TestMine needs a fixture make_store: a function that is given a clock" in done.stdout


def test_importing_the_plugin_loads_nothing_that_only_some_users_need():
    code = "import sys, celery.apps.worker; before = set(sys.modules); import jobtastic_signals; "
    code += "late = {'asyncio', 'diskcache', 'django', 'flask', 'psutil', 'redis', 'sqlite3'}; "
    code += "print(late & (set(sys.modules) - before) or 'none')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "none"
