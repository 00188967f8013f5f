"""What went wrong, said in one line."""

from __future__ import annotations


def describe_error(error: Exception) -> str:
    """Return an error's kind and message on one line; torch's messages can run over several."""
    return " ".join(f"{type(error).__name__}: {error}".split())
