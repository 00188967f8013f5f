"""The child process: reads one job from standard input and does it with its measurement.

The arguments are the name of the measurement and optionally --offline and --verbose. Exit codes:
0 ok, 1 something failed (its record or a line on standard error has the reason), 2 the request was
wrong (one line on standard error, nothing written), 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from harness.errors import RequestError
from harness.measurements import MEASUREMENTS
from harness.measurements.contract import JobT, Measurement
from harness.util import stopping
from harness.util.error_text import explain
from harness.util.offline import go_offline


def main(name: str, options: Sequence[str]) -> int:
    """Do the job on standard input and return the exit code."""
    measurement = MEASUREMENTS[name]
    job: Any = TypeAdapter(measurement.job_type).validate_json(sys.stdin.readline())
    stopping.listen()
    _die_with_parent()
    logging.basicConfig(format="%(message)s")
    # Trackers also take messages that are not shown.
    logging.getLogger("harness").setLevel("INFO")
    for handler in logging.getLogger().handlers:
        handler.setLevel("INFO" if "--verbose" in options else "WARNING")
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


def _die_with_parent() -> None:
    """End this process when standard input closes, because then the parent is gone."""

    def watch() -> None:
        # The file descriptor itself, because a lock on sys.stdin would block the shutdown.
        while os.read(sys.stdin.fileno(), 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
