"""How entries are written and read again."""

import json
import logging

import pytest

from jobtastic_signals.stores import records
from jobtastic_signals.stores.entry import FORMAT_VERSION, Claim, Entry, Result
from jobtastic_signals.stores.records import Pieces, ResultInPieces, dump, load, warn_of_unreadable
from jobtastic_signals.support.rare_warnings import rare_warnings
from tests.support.stores.unreadable import ENTRY, FIELDS, FULL, UNREADABLE, changed

RESULT = Result("owner", b"", "FAILURE", 1 / 3, 2 / 3, 1e9 + 0.1, 2e9 + 0.2)


@pytest.mark.parametrize(
    "entry",
    [
        ENTRY,
        FULL,
        Entry(),
        Entry(Claim("ключ\n", 1 / 3, 0.1)),
        Entry(None, RESULT),
        Entry(None, ResultInPieces.of(RESULT, Pieces("0" * 32, 7))),
    ],
)
def test_what_is_written_is_read_again_to_the_last_digit(entry):
    assert load(dump(entry)) == entry


def test_a_record_is_a_line_of_json_with_names_and_then_the_payload():
    head, _, payload = dump(ENTRY).partition(b"\n")
    assert payload == b"4\n2"
    assert json.loads(head) == {
        "version": FORMAT_VERSION,
        "claim": {
            "owner": "owner",
            "expires": 2e9 + 0.1,
            "since": 1e9,
            "delivery": "owner/1",
            "awaited": True,
            "message_expires": 2e9,
        },
        "result": {
            "owner": "owner",
            "state": "SUCCESS",
            "began": 1e9,
            "ended": 1e9,
            "expires": None,
            "kept": None,
        },
    }


@pytest.mark.parametrize("path", ["later", "claim.later", "result.later"])
@pytest.mark.parametrize("value", [None, 7, "text", {"a": ["list"]}])
def test_fields_that_a_later_version_adds_are_ignored(path, value):
    assert load(changed(path, value)) == ENTRY


def test_a_whole_number_is_a_time():
    assert load(changed("claim.since", 7)).claim.since == 7.0


@pytest.mark.parametrize("record", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_an_error(record):
    with pytest.raises(ValueError):  # noqa: PT011  # each says something else
        load(record)


@pytest.mark.parametrize("path", [f"{part}.{name}" for part in ("claim", "result") for name in FIELDS[part]])
def test_a_field_that_is_missing_is_an_error(path):
    with pytest.raises(ValueError, match=path.partition(".")[2]):
        load(changed(path, ...))


@pytest.mark.parametrize("time", [float("nan"), float("inf")])
def test_a_time_that_could_not_be_read_is_not_written(time):
    with pytest.raises(ValueError, match="JSON"):
        dump(Entry(Claim("owner", time, 0.0)))


# The warning


@pytest.fixture
def warned(monkeypatch, caplog):
    monkeypatch.setattr(records, "_warned", set())

    def texts():
        return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]

    return texts


def test_it_is_warned_once_for_each_key_of_a_store(warned):
    for _ in range(3):
        for store in ("memory://", "other://"):
            for key in ("one", "two"):
                warn_of_unreadable(store, key, b"7", ValueError("why"))
                rare_warnings.forget()
    assert len(warned()) == 4
    assert warned()[0] == (
        "the store memory://: the entry of one cannot be read (ValueError: why), so it counts as absent: b'7'"
    )


def test_a_store_full_of_what_cannot_be_read_is_one_warning_in_a_minute(warned):
    for number in range(5000):
        warn_of_unreadable("memory://", f"key-{number}", b"7", ValueError("why"))
    warn_of_unreadable("other://", "key", b"7", ValueError("why"))
    assert len(warned()) == 2


def test_a_warning_shows_little_of_what_is_there(warned):
    warn_of_unreadable("memory://", "k" * 10_000, b"x" * 10_000, ValueError("why"))
    (warning,) = warned()
    assert len(warning) < 500


def test_it_is_not_remembered_without_end_what_was_warned_of(warned, monkeypatch):
    monkeypatch.setattr(records, "_MOST_WARNED", 3)
    for number in range(10):
        warn_of_unreadable("memory://", f"key-{number}", b"7", ValueError("why"))
        rare_warnings.forget()
        assert len(records._warned) <= 3
    assert len(warned()) == 10
