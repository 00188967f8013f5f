"""Fills in the parts of the README that are made from the records, between its marks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest

from harness.errors import RequestError

README_MARK = "<!-- results: {} -->"
VERDICTS = "verdicts"
"""The mark of the summary; every other is a data set's."""

_END = README_MARK.format("end")
_MARK = re.compile(r"<!-- results: (\S+) -->")
# A comment that may be a misspelt mark.
_NEARLY = re.compile(r"<!--[^>]*\bresults?\b\s*:[^>]*-->", re.IGNORECASE)


def fill_readme(text: str, parts: Mapping[str, str]) -> str:
    """Return the README with these parts between the marks of their names.

    Raises:
        RequestError: The marks are not in pairs, one is misspelt or there twice, or names nothing
            that could be made. What was written by hand between damaged marks is not lost.
    """
    pieces, done = [], 0
    for name, start, end in _pairs(text):
        if name not in parts:
            raise RequestError(
                f"README.md: {README_MARK.format(name)}: no records of '{name}' in results/records"
            )
        pieces += [text[done:start], f"\n{parts[name]}"]
        done = end
    return "".join([*pieces, text[done:]])


def _pairs(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield the name of each mark, where its part begins, and where the end mark begins."""
    _check_spelling(text)
    marks, seen = list(_MARK.finditer(text)), set()
    for opened, closed in zip_longest(marks[::2], marks[1::2]):
        if opened[0] == _END:
            raise _damage(text, opened, "without a mark before it")
        if opened[1] in seen:
            raise _damage(text, opened, "is there twice")
        if closed is None or closed[0] != _END:
            raise RequestError(f"README.md: {opened[0]} has no {_END} after it")
        seen.add(opened[1])
        yield opened[1], opened.end(), closed.start()


def _check_spelling(text: str) -> None:
    for found in _NEARLY.finditer(text):
        if not _MARK.fullmatch(found[0]):
            known = (README_MARK.format(name) for name in ("<data set>", VERDICTS))
            raise _damage(text, found, f"is no mark: {', '.join(known)} or {_END} wanted")


def _damage(text: str, mark: re.Match[str], what: str) -> RequestError:
    line = 1 + text.count("\n", 0, mark.start())
    return RequestError(f"README.md: line {line}: {mark[0]} {what}")
