"""Footnotes of a table: each text once, with a letter."""

from __future__ import annotations

from collections.abc import Iterable

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Footnotes:
    """Gives texts letters in the order in which they are first used.

    Attributes:
        texts: Every text by its letter.
    """

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self._letters: dict[str, str] = {}

    def mark(self, texts: Iterable[str]) -> str:
        """Return the letters of texts, with spaces between them."""
        return " ".join(self._letter(text) for text in texts)

    def _letter(self, text: str) -> str:
        if text not in self._letters:
            letter = _name(len(self._letters))
            self._letters[text] = letter
            self.texts[letter] = text
        return self._letters[text]


def _name(index: int) -> str:
    """Return a to z, then aa, ab and so on."""
    more, last = divmod(index, len(_LETTERS))
    return (_name(more - 1) if more else "") + _LETTERS[last]
