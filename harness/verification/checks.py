"""Checks: fields of records compared with recomputed values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.jobs import Request
from harness.registry import model_code

_DIGEST_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Check:
    """The outcome for one field of a record.

    Attributes:
        holds: Whether the recorded value is right; None if it could not be recomputed.
        text: The recorded and the present value, or why there is no present value.
    """

    field: str
    holds: bool | None
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Places of the files that records were made from.

    Attributes:
        read_command: Parses a command in a record as the command line does.
        data_files: Files of images that stood in for the official ones.
        weights_dir: Folder of trained and fetched weights.
    """

    read_command: Callable[[str], Request]
    data_dir: Path
    data_files: tuple[Path, ...]
    weights_dir: Path
    published_dir: Path | None
    results_dir: Path

    def read_request(self, command: str) -> Request:
        """Return the request of a command in a record, without a data file and offline."""
        return dataclasses.replace(
            self.read_command(command),
            data_dir=self.data_dir,
            data_file=None,
            weights_dir=self.weights_dir,
            published_dir=self.published_dir,
            results_dir=self.results_dir,
            runs_dir=None,
            offline=True,
        )


def compare(field: str, recorded: object, now: object) -> Check:
    """Compare a field with its present value; figures may differ in the last digits."""
    if isinstance(recorded, (int, float)) and isinstance(now, (int, float)):
        holds = math.isclose(recorded, now, rel_tol=1e-9)
    else:
        holds = recorded == now
    return Check(field=field, holds=holds, text=f"recorded {_show(recorded)}, now {_show(now)}")


def unknown(fields: str | Iterable[str], reason: str) -> list[Check]:
    """Return one check for fields that could not be recomputed, with the reason."""
    name = fields if isinstance(fields, str) else ", ".join(fields)
    return [Check(field=name, holds=None, text=f"not recomputed: {reason}")]


def check_code(recorded: str | None, model: str) -> list[Check]:
    """Return a check that says so where a record was made by other code of its model than today's.

    Figures of other code may be right and still not the same today. Records from before the code
    was noted are taken as they are.
    """
    now = model_code(model)
    if recorded is None or recorded == now:
        return []
    return unknown("code_digest", f"the code of {model} was {recorded}, today it is {now}")


def _show(value: object) -> str:
    if isinstance(value, str) and len(value) == 64:
        return f"{value[:_DIGEST_SHOWN]}…"
    return f"{value:.10g}" if isinstance(value, float) else str(value)
