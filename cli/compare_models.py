"""Compare image classifiers before anyone trains: size, operations, memory traffic, roofline.

Takes models of torchvision, timm (timm:NAME) and transformers (hf:TYPE), folders of
monolithic_architectures (ours:NAME), and patterns such as 'resnet*'. No weights are loaded, nothing
is computed. docs/MODEL_COMPARISON_METRICS.md explains each figure.
"""

from __future__ import annotations

import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from harness.errors import exit_on_error

if TYPE_CHECKING:
    from harness.profiling.request import Request

Names = Annotated[list[str] | None, Argument(help="Models or patterns; with --list, patterns.")]
List = Annotated[bool, Option("--list", help="List the models that fit, and stop.")]
Accounting = Annotated[
    str, Option(help="complete (every operator) or published (as the publication counted).")
]
# Numbers are texts here: they are checked later, and what is wrong is explained in one line.
ImageSize = Annotated[
    str | None, Option(metavar="PIXELS", help="Side of the images; each model's own by default.")
]
BatchSize = Annotated[str, Option(metavar="NUMBER", help="Images in the forward pass.")]
Channels = Annotated[str, Option(metavar="NUMBER", help="Channels of the images.")]
Classes = Annotated[str, Option(metavar="NUMBER", help="Number of classes.")]
Precision = Annotated[str, Option(help="fp32, fp16, bf16 or int8: bytes a number, and the peak.")]
Hardware = Annotated[
    str, Option(help="Of configs/hardware.yaml (a100, h100, h200, t4, ...), or this-machine.")
]
PeakTflops = Annotated[str | None, Option(metavar="NUMBER", help="Other hardware: TFLOP/s ...")]
BandwidthGbs = Annotated[str | None, Option(metavar="NUMBER", help="... and GB/s.")]
Transpose = Annotated[bool, Option("--transpose", help="Models down, metrics across.")]
SortBy = Annotated[
    str | None,
    Option(help="params, flops, macs, memory, efficiency, ai, latency, depth, size or name."),
]
Recommend = Annotated[str | None, Option(help="mobile, server, memory or latency.")]
PerLayer = Annotated[str, Option(metavar="MODEL", help="Show the layers of a model.")]
Format = Annotated[str, Option(help="table, markdown, csv, json or html.")]
Plot = Annotated[Path | None, Option(help="Draw roofline and sizes into a .png or .svg file.")]
WithResults = Annotated[
    str, Option(metavar="DATASET", help="Show what was measured on a data set beside.")
]
ResultsDir = Annotated[Path, Option(help="Folder of results.", show_default="results")]


def main(
    names: Names = None,
    list_all: List = False,
    accounting: Accounting = "complete",
    image_size: ImageSize = None,
    batch_size: BatchSize = "1",
    channels: Channels = "3",
    classes: Classes = "1000",
    precision: Precision = "fp32",
    hardware: Hardware = "",
    peak_tflops: PeakTflops = None,
    bandwidth_gbs: BandwidthGbs = None,
    transpose: Transpose = False,
    sort_by: SortBy = None,
    recommend: Recommend = None,
    per_layer: PerLayer = "",
    format: Format = "table",  # noqa: A002
    plot: Plot = None,
    with_results: WithResults = "",
    results_dir: ResultsDir = ROOT / "results",
) -> None:
    """Compare models side by side, without weights."""
    options = {**locals(), "names": names or []}  # the fields of harness.profiling.request.Request
    from harness.profiling.request import parse_request

    try:
        with exit_on_error():
            request = parse_request(options)
            sys.exit(_list(request) if list_all else _compare(request))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _list(request: Request) -> int:
    from harness.profiling.names import matching_names

    for pattern in request.names or ["*"]:
        for name in matching_names(pattern):
            print(name)
    return 0


def _compare(request: Request) -> int:
    """Show what is asked for; return 0, 1 if some models failed, 2 if nothing could be shown."""
    from harness.profiling.comparing import compare
    from harness.profiling.forms import render
    from harness.profiling.plots import plot_report
    from harness.report.canvas import save_figure

    report = compare(request)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(render(report, request.format, transpose=request.transpose, width=width), end="")
    if request.plot is not None and report.analyses:
        save_figure(partial(plot_report, report), [request.plot])
        print(f"{request.plot} written", file=sys.stderr)
    return int(bool(report.failures)) if report.analyses or report.layers_of else 2


if __name__ == "__main__":
    typer.run(main)
