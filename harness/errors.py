"""The two ways to fail, and the near matches that go with a wrong name."""

from __future__ import annotations

import contextlib
import difflib
import sys
import unicodedata
from collections.abc import Iterable, Iterator

# A message lists no more names than these.
_MOST_NAMES = 25
_LONGEST = 900


def printable(text: str) -> str:
    """Return text on one line that every terminal and file takes.

    Control characters, and the bytes of a file name that are not UTF-8, become escapes as in
    Python.
    """
    return "".join(
        each if each.isprintable() or unicodedata.category(each) == "Zs" else _escape(each)
        for each in text
    )


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # the way in which Python holds such a byte
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


class _OneLineError(Exception):
    """An error whose message is one line, whatever is quoted in it."""

    def __str__(self) -> str:
        text = printable(super().__str__())
        # Libraries quote whole files.
        return text if len(text) < _LONGEST else f"{text[: _LONGEST - 200]} … {text[-150:]}"


class RequestError(_OneLineError):
    """The request cannot be carried out as it stands: one line, exit code 2, nothing written."""

    exit_code = 2


class NotPublishedError(RequestError):
    """Weights are asked for that were never published; left out where `all` was asked for."""


class CellError(_OneLineError):
    """A cell broke while it ran: one line, kept in its record, exit code 1."""

    exit_code = 1


@contextlib.contextmanager
def exit_on_error() -> Iterator[None]:
    """End the program where the block fails, with one line and the exit code of the error."""
    try:
        yield
    except (CellError, RequestError, OSError) as error:
        sys.exit(print_error(error))


def print_error(error: CellError | RequestError | OSError) -> int:
    """Print an error on standard error, as one line, and return the exit code that goes with it."""
    if isinstance(error, OSError):
        path = f"{str(error.filename)[:200]}: " if error.filename else ""
        error = RequestError(f"{path}{error.strerror or error}")
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str = "") -> RequestError:
    """Return the error for a name that is not among `known`, with its near matches.

    Args:
        kind: What the name should have been, as the user says it ("model", "setting").
        name: What was given.
        known: Every name that would have been right.
        hint: Where all the names are to be found, e.g. "--list shows all".
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        help_text = f"did you mean {' or '.join(near)}?"
    elif names:
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        help_text = f"known: {', '.join(names[:_MOST_NAMES])}{more}"
    else:
        help_text = "none are known"
    return RequestError(f"unknown {kind} '{name[:80]}': {help_text}{f' ({hint})' if hint else ''}")
