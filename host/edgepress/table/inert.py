"""Strings from boards, models and users, made harmless where they are shown.

A board's name may hold terminal escapes, a recipe's a spreadsheet formula. Nothing is refused for it; it is shown as
what it is.
"""

from __future__ import annotations

import html
import unicodedata

# Cc: control characters. Cf: invisible ones that turn the text around them (bidi overrides, CVE-2021-42574). Cs: halves
# of pairs, which cannot be written. Zl, Zp: line ends that no terminal shows as such.
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

# What a spreadsheet takes for the start of a formula (OWASP, "CSV Injection"); the last four are full-width twins.
_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")

_MARKDOWN_SPECIAL = frozenset("\\`*_{}[]()#!|~")

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "µ": r"\textmu{}",
    "±": r"$\pm$",
    "◆": r"$\blacklozenge$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def printable(text: str) -> str:
    """Return text with every character that is not seen replaced by its escape, e.g. ``\\x1b``."""
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in _HIDDEN_CATEGORIES
        else character
        for character in text
    )


def brief(value: object) -> str:
    """A value as printable text; of a hash the first seven digits."""
    text = str(value)
    is_hash = len(text) in (40, 64) and set(text) <= set("0123456789abcdef")
    return text[:7] if is_hash else printable(text)


def csv_cell(text: str) -> str:
    """Return text that a spreadsheet shows and does not compute: a formula gets an apostrophe before it."""
    shown = printable(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA_STARTS) else shown


def markdown_cell(text: str) -> str:
    """Return text that Markdown shows as it is: neither markup nor HTML nor the end of a cell."""
    shown = html.escape(printable(text), quote=False)
    return "".join(f"\\{character}" if character in _MARKDOWN_SPECIAL else character for character in shown)


def latex_text(text: str) -> str:
    """Return text that LaTeX sets as it is."""
    return "".join(_LATEX.get(character, character) for character in printable(text))
