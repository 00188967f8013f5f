"""Describe errors in one line."""

from __future__ import annotations

import logging
import traceback

from harness.errors import CellError, RequestError

_MOST_CHARACTERS = 500


def describe_error(error: Exception) -> str:
    """Return an error's kind and message on one line; torch's messages can run over several."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def explain(error: Exception) -> str:
    """Return one line on what went wrong in a job, and log the traceback."""
    logging.getLogger("harness").info("%s", traceback.format_exc())
    ours = isinstance(error, (CellError, RequestError))
    reason = " ".join(str(error).split()) if ours else describe_error(error)
    return reason[:_MOST_CHARACTERS]
