"""The child process: reads one job from standard input and does it with its measurement.

The arguments are the name of the measurement and optionally --offline and --verbose. Exit codes:
0 ok, 1 something failed (its record or a line on standard error has the reason), 2 the request was
wrong (one line on standard error, nothing written), 130 interrupted.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from harness.errors import RequestError
from harness.measurements import MEASUREMENTS
from harness.measurements.contract import JobT, Measurement
from harness.util import stopping
from harness.util.error_text import explain
from harness.util.offline import go_offline
from harness.util.parent import end_with_parent


def main(name: str, options: Sequence[str]) -> int:
    """Do the job on standard input and return the exit code."""
    measurement = MEASUREMENTS[name]
    job: Any = TypeAdapter(measurement.job_type).validate_json(sys.stdin.readline())
    stopping.listen()
    end_with_parent()
    logging.basicConfig(format="%(message)s")
    # Trackers also take messages that are not shown.
    logging.getLogger("harness").setLevel("INFO")
    if "--verbose" not in options:
        for handler in logging.getLogger().handlers:
            handler.addFilter(_is_always_shown)
    if "--offline" in options:
        go_offline()
    return do_job(measurement, job)


def do_job(measurement: Measurement[Any, JobT], job: JobT) -> int:
    """Do a job with a measurement; an error is one line on standard error."""
    try:
        return measurement.work(job)
    except RequestError as error:
        print(f"{job}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        print(f"{job}: {explain(error)}", file=sys.stderr)
        return 1


def _is_always_shown(record: logging.LogRecord) -> bool:
    """Whether a line is shown without --verbose: warnings, and progress that no bar shows."""
    progress = record.name == "harness.progress" and not sys.stderr.isatty()
    return progress or record.levelno >= logging.WARNING


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
