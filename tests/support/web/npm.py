"""Scripts of other projects, from npm packages. None of them is part of this repository."""

from __future__ import annotations

import os
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import pytest

from tests.support.servers import need

#: The versions that the tests know.
PACKAGES = {
    "turbo": "@hotwired/turbo@8.0.23",
    "idiomorph": "idiomorph@0.7.4",
    "htmx": "htmx.org@2.0.8",
    "morphdom": "morphdom@2.7.8",
    "babel": "@babel/standalone@7.28.5",
    "vue-compiler": "@vue/compiler-sfc@3.5.25",
}


@cache
def npm_file(package: str, path: str) -> bytes:
    """Return a file of *package*; without npm or a network, skip the test on a laptop and fail it in CI."""
    with tempfile.TemporaryDirectory() as folder:
        command = [need("npm"), "pack", "--silent", PACKAGES[package]]
        packed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
        if packed.returncode:
            message = f"{PACKAGES[package]} cannot be fetched: {packed.stderr}"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            file = archive.extractfile(f"package/{path}")
            assert file is not None
            return file.read()
