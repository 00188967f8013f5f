"""Describe errors in one line."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

from harness.errors import CellError, RequestError

_MOST_CHARACTERS = 500


def describe_error(error: BaseException) -> str:
    """Return an error's kind and message on one line; torch's messages can run over several.

    An error without a message, as an assertion is, is described by the line that raised it.
    """
    return " ".join(f"{type(error).__name__}: {str(error) or _raising_line(error)}".split())


def _raising_line(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "no message"
    # torch's own checks are named by the line that calls them.
    last = next((each for each in reversed(frames) if "/torch/" not in each.filename), frames[-1])
    where = "/".join(Path(last.filename).parts[-2:])
    return f"raised by '{last.line}' in {where}, line {last.lineno}"


def explain(error: Exception) -> str:
    """Return one line on what went wrong in a job, and log the traceback."""
    logging.getLogger("harness").info("%s", traceback.format_exc())
    ours = isinstance(error, (CellError, RequestError))
    reason = " ".join(str(error).split()) if ours else describe_error(error)
    return reason[:_MOST_CHARACTERS]
