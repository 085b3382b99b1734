"""Strings from boards and users, made harmless."""

from __future__ import annotations

import csv
import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.table.inert import csv_cell, markdown_cell, printable


@given(st.text())
def test_nothing_unseen_is_left(text: str) -> None:
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in printable(text))


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_what_can_be_seen_is_shown_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("a\u202egpj.exe", "a\\u202egpj.exe"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\x9b2J", "\\x9b2J"),
    ],
)
def test_terminal_escapes_are_shown_not_obeyed(hostile: str, shown: str) -> None:
    assert printable(hostile) == shown


@pytest.mark.parametrize("formula", ["=cmd()", "+1", "-1", "@SUM(A1)", "  =1", "\uff1d1"])
def test_a_spreadsheet_sees_no_formula(formula: str) -> None:
    assert csv_cell(formula) == f"'{formula}"


@given(st.text())
def test_a_csv_cell_stays_one_cell(text: str) -> None:
    stream = io.StringIO()
    csv.writer(stream).writerow([csv_cell(text), "next"])
    assert len(list(csv.reader(io.StringIO(stream.getvalue())))) == 1


def test_markdown_shows_markup_and_html_as_text() -> None:
    assert markdown_cell("a|b") == "a\\|b"
    assert markdown_cell("<script>") == "&lt;script&gt;"
    assert markdown_cell("[x](y) *b*\n") == "\\[x\\]\\(y\\) \\*b\\*\\\\n"
