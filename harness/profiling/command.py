"""What `cli/compare_models.py` does once its options are read."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from functools import partial

from harness.errors import CellError, RequestError
from harness.profiling.request import Request, parse_request


def run(options: Mapping[str, object]) -> int:
    """Carry out a command line; return 0, 1 if some models failed, 2 if nothing could be shown."""
    try:
        request = parse_request(options)
        return _list(request) if request.list_all else _compare(request)
    except RequestError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except CellError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _list(request: Request) -> int:
    from harness.profiling.names import matching_names

    for pattern in request.names or ["*"]:
        for name in matching_names(pattern):
            print(name)
    return 0


def _compare(request: Request) -> int:
    from harness.profiling.comparing import compare, drawing_roof
    from harness.profiling.forms import render
    from harness.profiling.plots import plot_report
    from harness.report.canvas import save_figure

    report = compare(request)
    shown = bool(report.analyses or report.layers_of)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    text = render(report, request.format, transpose=request.transpose, width=width)
    print(text, end="")
    if request.plot is not None and report.analyses:
        plot = partial(plot_report, report, drawing_roof(report.options))
        save_figure(plot, [request.plot])
        print(f"{request.plot} written", file=sys.stderr)
    return int(bool(report.failures)) if shown else 2
