"""Take one safeguard after another out of the package, and see whether a test fails.

    python tests/mutations.py [--only NAME] [--command "python -m pytest ..."] [--list]

Each *mutation* is a small edit of the source, in a copy of the package and its tests in a temporary folder.
The commands run there one after another, until one fails. Exit code 1 means that a mutant survived, 2 that
a command fails without any mutation, or that an edit does not fit the source any more.

This is a script, and no test: it takes minutes.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: The fastest tests first.
COMMANDS = (
    "python -m pytest -x -q -p no:cacheprovider tests/unit/sharing",
    "python -m pytest -x -q -p no:cacheprovider tests/integration/stores/test_conformance.py -k Memory",
)


@dataclass(frozen=True)
class Mutation:
    """One edit.

    :ivar safeguard: what it takes away.
    :ivar path: the file, below the package.
    :ivar before: a text that is there once, after *within*.
    :ivar after: what comes instead of it.
    :ivar within: the line that begins the function; empty for the whole file.
    """

    safeguard: str
    path: str
    before: str
    after: str
    within: str = ""

    def edited(self, text: str) -> str:
        """Return the source with the edit in it.

        :raises LookupError: if the source has changed.
        """
        start = text.find(self.within)
        place = text.find(self.before, start)
        if start < 0 or place < 0 or (not self.within and text.count(self.before) != 1):
            raise LookupError(f"{self.safeguard}: {self.path} has no {self.before!r} after {self.within!r}")
        return text[:place] + self.after + text[place + len(self.before) :]


MUTATIONS = (
    Mutation(
        "delivery token",
        "stores/rules.py",
        "before.delivery == delivery:",
        "before.owner == owner and before.is_running:",
        within="\ndef claim(",
    ),
    Mutation(
        "delivery token, while renewing",
        "stores/rules.py",
        "before.delivery == delivery:",
        "before.owner == owner and before.is_running:",
        within="\ndef renew(",
    ),
    Mutation(
        "delivery token, while completing",
        "stores/endings.py",
        "before.delivery == delivery:",
        "before.owner == owner and before.is_running:",
        within="\ndef complete(",
    ),
    Mutation(
        "delivery token, named by the worker",
        "handlers/runs.py",
        'stamp, token = stamp_of(request, task_id), _token_of(request) or f"/{uuid.uuid4().hex}"',
        "stamp, token = stamp_of(request, task_id), task_id",
    ),
    Mutation(
        "queued/running distinction, for a delivery",
        "stores/rules.py",
        "if live is not None and live.is_running:",
        "if live is not None and (live.is_running or live.owner != owner):",
        within="\ndef claim(",
    ),
    Mutation(
        "queued/running distinction, for a renewal",
        "stores/rules.py",
        "(live is not None and live.is_running)",
        "live is not None",
        within="\ndef renew(",
    ),
    Mutation(
        "short queued claims",
        "sharing/claims.py",
        "return min(self._installation.settings.lease, ",
        "return max(self._installation.settings.lease, ",
    ),
    Mutation(
        "short queued claims, never extended",
        "stores/rules.py",
        "        return _shown(entry.claim or live, entry, now, forgotten), entry\n    queued",
        "        entry = replace(entry, claim=replace(entry.claim or live, expires=now + lease))\n"
        "        return _shown(entry.claim or live, entry, now, forgotten), entry\n    queued",
        within="\ndef lookup_or_claim(",
    ),
    Mutation(
        "the result kept for displaced calls, by a run",
        "stores/rules.py",
        "_others_rely_on(entry, owner) or (before is not None and before.is_running)",
        "before is not None and before.awaited",
        within="\ndef _running(",
    ),
    Mutation(
        "the result kept for displaced calls, by a call",
        "stores/rules.py",
        "_others_rely_on(entry, owner)",
        "entry.claim is not None and entry.claim.awaited",
        within="\ndef _queued(",
    ),
    Mutation(
        "the result kept for displaced calls, at the end",
        "sharing/results.py",
        "kept_for=REMEMBERED_FOR",
        "kept_for=0.0",
    ),
    Mutation(
        "release after an unclaimed run, in the store",
        "stores/endings.py",
        "        if before.delivery is not None and (delivery is None",
        "        if before.delivery is None and delivery is not None:\n"
        "            continue\n"
        "        if before.delivery is not None and (delivery is None",
        within="\ndef release(",
    ),
    Mutation(
        "release after an unclaimed run, by the worker",
        "sharing/middleware.py",
        "        elif share.lease is not None:\n            share.lease.begin()",
        "        elif entry is None:\n            share.lease = None\n"
        "        elif share.lease is not None:\n            share.lease.begin()",
        within="def _decide(",
    ),
    Mutation(
        "regaining",
        "stores/rules.py",
        "    regained =",
        "    if before is None or now >= before.expires:\n        return False, entry\n    regained =",
        within="\ndef renew(",
    ),
    Mutation(
        "regaining, of the same delivery",
        "stores/rules.py",
        "before.delivery == delivery:",
        "before.delivery == delivery and now < before.expires:",
        within="\ndef renew(",
    ),
    Mutation(
        "regaining, by a run that began without the store",
        "sharing/middleware.py",
        "        elif share.lease is not None:\n            share.lease.begin()",
        "        elif share.lease is not None:\n            entry is not None and share.lease.begin()",
        within="def _decide(",
    ),
    Mutation(
        "dropping expires when waiting",
        "sharing/waiting.py",
        "retries=request.retries, expires=None\n    )\n    given = {name: value for name, value in "
        "options.items() if value}\n    again.apply_async(add_to_parent=False, expires=None, **given)",
        "retries=request.retries\n    )\n    given = {name: value for name, value in "
        "options.items() if value}\n    again.apply_async(add_to_parent=False, **given)",
    ),
    Mutation(
        "owner check on release",
        "stores/endings.py",
        "before.owner != owner or ",
        "",
        within="\ndef release(",
    ),
    Mutation(
        "lease",
        "sharing/leases.py",
        "self.seconds: float = min(seconds, longest)",
        "self.seconds = longest",
    ),
    Mutation(
        "lease, renewed",
        "sharing/leases.py",
        "if now + self.seconds < self._ends:",
        "if False:",
    ),
    Mutation(
        "lease, that lapses",
        "stores/entry.py",
        "claim is None or now >= claim.expires or",
        "claim is None or",
        within="def live_claim(",
    ),
    Mutation(
        "forgetting, of runs that have begun",
        "stores/endings.py",
        "if entry.was_forgotten(began, forgotten):",
        "if False:",
        within="\ndef complete(",
    ),
    Mutation(
        "forgetting, by scopes",
        "stores/exchanging.py",
        "return self._last_forgotten(scopes)",
        "return None",
        within="def _forgotten(",
    ),
    Mutation(
        "forgetting, in doubt",
        "stores/entry.py",
        "began <= last",
        "began < last",
        within="def was_forgotten(",
    ),
    Mutation(
        "forgetting, not for earlier calls",
        "stores/entry.py",
        "called < result.began or ",
        "",
        within="def result_for(",
    ),
    Mutation(
        "forgetting, for calls that would join",
        "stores/rules.py",
        "fresh or (live is not None and entry.forgotten_at(live, forgotten) is not None)",
        "fresh",
        within="\ndef lookup_or_claim(",
    ),
    Mutation(
        "one next claim",
        "stores/rules.py",
        "if entry.live_next(now) is not None:",
        "if False:",
        within="\ndef _with_next(",
    ),
    Mutation(
        "the result kept for a next claim that is dropped",
        "stores/rules.py",
        "(entry.claim, entry.next)",
        "(entry.claim,)",
        within="\ndef _others_rely_on(",
    ),
    Mutation(
        "fresh calls, behind a message that is not",
        "stores/rules.py",
        "(fresh and not live.fresh)",
        "False",
        within="\ndef _can_be_joined(",
    ),
    Mutation(
        "fresh calls, answered by a later run only",
        "stores/entry.py",
        "return is_earlier_call or not fresh",
        "return True",
        within="def answers(",
    ),
    Mutation(
        "one renewal of a stale result",
        "stores/rules.py",
        "renewal=owner if live.owner == owner else None",
        "renewal=owner",
        within="\ndef lookup_or_claim(",
    ),
    Mutation(
        "successes, which no failure replaces",
        "stores/endings.py",
        "if is_less and known",
        "if False and known",
        within="\ndef complete(",
    ),
    Mutation(
        "successes, which no result for no time replaces",
        "stores/endings.py",
        'state == "FAILURE" or ttl == 0',
        'state == "FAILURE"',
        within="\ndef complete(",
    ),
    Mutation(
        "successes, which replace failures",
        "stores/endings.py",
        " and not is_more",
        "",
        within="\ndef _came_after(",
    ),
    Mutation(
        "serving, which counts failures too",
        "sharing/middleware.py",
        "Served(error=value) if is_failure",
        "Raised(value) if is_failure",
        within="def _decide(",
    ),
    Mutation(
        "bypassing, seen by the worker",
        "calls.py",
        ' or run.stamp.get("bypass")',
        "",
        within="\ndef key_of(",
    ),
    Mutation(
        "refusing duplicates",
        "sharing/duplicates.py",
        "if asked not in REFUSING or",
        "if True or",
        within="\ndef refusal(",
    ),
    Mutation(
        "refusing, which joins nobody's run",
        "sharing/claims.py",
        "call.on_duplicate not in REFUSING",
        "True",
        within="def request(",
    ),
    Mutation(
        "keeping what the author wants",
        "sharing/results.py",
        "return policy.result_ttl if is_accepted else 0.0",
        "return policy.result_ttl",
        within="\ndef ttl_of(",
    ),
    Mutation(
        "keeping what is small",
        "sharing/results.py",
        "len(data) > largest",
        "False",
        within="\ndef is_too_large(",
    ),
    Mutation(
        "keeping the failures that are named",
        "sharing/results.py",
        "return policy.failure_ttl(value)",
        "return 0.0",
        within="\ndef ttl_of(",
    ),
    Mutation(
        "releasing whatever runs",
        "sharing/inventory.py",
        '"" if also_running else None',
        "None",
        within="\ndef release_claim(",
    ),
    Mutation(
        "tags, which are scopes",
        "keys/tags.py",
        "return (scope, *map(scope_of_tag, self._tags(task, args, kwargs)))",
        "return (scope,)",
    ),
    Mutation(
        "leaving, found once",
        "stores/endings.py",
        " or claim.is_abandoned or",
        " or",
        within="\ndef leave(",
    ),
    Mutation(
        "leaving, after which nobody joins",
        "stores/entry.py",
        "claim.since if claim.is_abandoned else None",
        "None",
        within="def forgotten_at(",
    ),
    Mutation(
        "leaving, not while messages rely on the run",
        "stores/endings.py",
        " or claim.awaited:",
        ":",
        within="\ndef leave(",
    ),
)


def copy_project(folder: Path) -> Path:
    """Copy what the tests need into *folder*. Return the package in there."""
    for name in ("jobtastic_signals", "tests", "docs", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "CHANGELOG.md", "conftest.py", "tox.ini"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
    return folder / "jobtastic_signals"


def first_failure(commands: Sequence[str], folder: Path) -> str | None:
    """Return the last lines of the first command that fails in *folder*; ``None`` if all pass."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    for command in commands:
        words = shlex.split(command)
        words[0] = sys.executable if words[0] == "python" else words[0]
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            return "\n".join((done.stdout + done.stderr).splitlines()[-12:])
    return None


def survives(mutation: Mutation | None, commands: Sequence[str]) -> tuple[bool, str]:
    """Return whether all commands pass with a mutation, and the output of the one that failed."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        package = copy_project(Path(name))
        if mutation is not None:
            file = package / mutation.path
            file.write_text(mutation.edited(file.read_text()))
        failure = first_failure(commands, Path(name))
        return failure is None, failure or ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Try all mutations. Return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--command", action="append", help="instead of the default ones; can be repeated")
    parser.add_argument("--only", default="", help="the beginning of the names of the safeguards")
    parser.add_argument("--list", action="store_true", help="name the mutations, and check that they fit")
    given = parser.parse_args(arguments)
    commands = given.command or list(COMMANDS)
    chosen = [mutation for mutation in MUTATIONS if mutation.safeguard.startswith(given.only)]
    try:
        return _list(chosen) if given.list else _try(chosen, commands)
    except LookupError as error:
        print(error)
        return 2


def _list(mutations: Sequence[Mutation]) -> int:
    for mutation in mutations:
        mutation.edited((ROOT / "jobtastic_signals" / mutation.path).read_text())
        print(f"{mutation.safeguard}: {mutation.path}")
    return 0


def _try(mutations: Sequence[Mutation], commands: Sequence[str]) -> int:
    passes, output = survives(None, commands)
    if not passes:
        print(f"the tests fail without any mutation:\n{output}")
        return 2
    survivors = []
    for mutation in mutations:
        start = time.monotonic()
        survived, output = survives(mutation, commands)
        killer = next(
            (line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))), output[-200:]
        )
        verdict = "SURVIVED" if survived else f"fails: {killer}"
        print(f"{mutation.safeguard} ({time.monotonic() - start:.0f} s): {verdict}", flush=True)
        survivors += [mutation.safeguard] if survived else []
    if survivors:
        print(f"no test misses: {'; '.join(survivors)}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
