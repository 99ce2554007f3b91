"""What users read has short sentences, and leaves out words that readers stumble over."""

from __future__ import annotations

import re

import pytest

from tests.support.pages import PAGES, name_of
from tests.support.prose import LONG, Sentence, prose_of, sentences, sentences_of


def test_hardly_any_sentence_is_long():
    whole = [each for each in sentences() if each.text.endswith((".", ":", "?"))]
    long = [each for each in whole if each.words > LONG]
    assert len(long) < len(whole) / 100, long


#: What contributors write in spite of themselves, and what to write instead.
UNWANTED = {
    r"\btold\b|\btells?\b": "report, log, return or say",
    r"\bmend": "fix",
    r"\bin place of\b": "instead of",
    r"\bof which\b": "another sentence",
    r"\bthose who\b": "users, callers or people who",
    r"\band its kin\b": "and its variants",
}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_has_words_that_readers_stumble_over(page):
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = {word: better for word, better in UNWANTED.items() if re.search(word, text)}
    assert found == {}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.parent.name in ("how-to", "reference")], ids=name_of
)
def test_each_page_starts_with_what_the_reader_can_do_after_it(page):
    assert page.read_text().split("\n", 3)[2].startswith(("After this page", "After these"))


def test_code_is_one_word_and_cells_and_items_are_sentences():
    table = "| one | two |\n|---|---|\n| three | four five |"
    text = f"# Title\n\nIt is `a b c`. See [the page](x.md).\n\n{table}\n\n- six\n"
    found = [(each.text, each.words) for each in sentences_of("here", text)]
    assert found[:2] == [("It is `a b c`.", 3), ("See the page.", 3)]
    assert [text for text, _ in found[2:]] == ["one", "two", "three", "four five", "six"]


def test_examples_in_docstrings_do_not_count():
    text = prose_of("Do it.\n\n:param n: how often.\n\n>>> do(1)\n2\n\nThen stop.")
    assert [each.text for each in sentences_of("here", text)] == ["Do it.", "how often.", "Then stop."]


def test_a_long_sentence_is_found():
    assert Sentence("here", "so " * (LONG + 1)).words > LONG
