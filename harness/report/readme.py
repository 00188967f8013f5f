"""Fills in the parts of the README that are made from the records, between its marks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

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
    opened: re.Match[str] | None = None
    seen = set()
    for mark in _MARK.finditer(text):
        line = 1 + text.count("\n", 0, mark.start())
        if (mark[0] == _END) == (opened is None):
            if opened is None:
                raise RequestError(f"README.md: line {line}: {_END} without a mark before it")
            raise RequestError(f"README.md: {opened[0]} has no {_END} after it")
        if opened is None:
            if mark[1] in seen:
                raise RequestError(f"README.md: line {line}: {mark[0]} is there twice")
            seen.add(mark[1])
            opened = mark
        else:
            yield opened[1], opened.end(), mark.start()
            opened = None
    if opened is not None:
        raise RequestError(f"README.md: {opened[0]} has no {_END} after it")


def _check_spelling(text: str) -> None:
    for found in _NEARLY.finditer(text):
        if not _MARK.fullmatch(found[0]):
            line = 1 + text.count("\n", 0, found.start())
            wanted = README_MARK.format("<data set>")
            raise RequestError(
                f"README.md: line {line}: {found[0]} is no mark: {wanted}, "
                f"{README_MARK.format(VERDICTS)} or {_END} wanted"
            )
