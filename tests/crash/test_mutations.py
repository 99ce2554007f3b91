"""The edits of ``tests/mutations.py`` fit the source; the script itself takes minutes."""

from tests import mutations


def test_each_mutation_fits_the_source() -> None:
    assert mutations.main(["--list"]) == 0


def test_each_safeguard_of_the_package_is_taken_out() -> None:
    safeguards = (
        "delivery token",
        "queued/running distinction",
        "short queued claims",
        "the result kept for displaced calls",
        "release after an unclaimed run",
        "regaining",
        "dropping expires when waiting",
        "owner check on release",
        "lease",
        "forgetting",
        "fresh calls",
        "leaving",
        "one next claim",
        "one renewal of a stale result",
        "successes",
        "serving",
        "bypassing",
        "refusing duplicates",
        "refusing",
        "keeping what the author wants",
        "keeping what is small",
        "keeping the failures that are named",
        "releasing whatever runs",
        "tags",
        "the result kept for a next claim that is dropped",
    )
    names = {each.safeguard.partition(",")[0] for each in mutations.MUTATIONS}
    assert names == set(safeguards)
