"""One thing that a record says, held against what was found now."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.jobs import Request

_DIGEST_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Check:
    """What became of one field.

    Attributes:
        field: Of the record.
        holds: None where it could not be found out anew.
        text: What was recorded and what it is now, or why that is not known.
    """

    field: str
    holds: bool | None
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where to look for what records were made from.

    Attributes:
        read_command: Returns what a command in a record asks for, as the command line reads it.
        data_dir: Folder of the official images.
        data_files: What stood in for them.
        weights_dir: Folder of trained and fetched weights.
        published_dir: Folder that has published weights, if any.
        results_dir: Folder of the records.
    """

    read_command: Callable[[str], Request]
    data_dir: Path
    data_files: tuple[Path, ...]
    weights_dir: Path
    published_dir: Path | None
    results_dir: Path

    def read_request(self, command: str) -> Request:
        """Return what a command in a record asks for, without images, and offline.

        Raises:
            RequestError: It is not one that this version of the project takes.
        """
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
    """Return whether a field is what it was; figures may differ by rounding in the last digits."""
    if isinstance(recorded, (int, float)) and isinstance(now, (int, float)):
        holds = math.isclose(recorded, now, rel_tol=1e-9)
    else:
        holds = recorded == now
    return Check(field=field, holds=holds, text=f"recorded {_show(recorded)}, now {_show(now)}")


def unknown(fields: str | Iterable[str], reason: str) -> list[Check]:
    """Return that fields could not be found out anew, and why, in one line."""
    name = fields if isinstance(fields, str) else ", ".join(fields)
    return [Check(field=name, holds=None, text=f"not recomputed: {reason}")]


def _show(value: object) -> str:
    if isinstance(value, str) and len(value) == 64:
        return f"{value[:_DIGEST_SHOWN]}…"
    return f"{value:.10g}" if isinstance(value, float) else str(value)
