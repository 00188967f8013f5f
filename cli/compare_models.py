"""Compare image classifiers before anyone trains: size, operations, memory traffic, roofline.

Takes models of torchvision, timm (timm:NAME) and transformers (hf:TYPE), folders of
monolithic_architectures (ours:NAME), patterns such as 'resnet*', any callable that returns a module
(path/to/file.py:build?num_classes=10, package.module:callable), ONNX files, and repositories of the
Hugging Face Hub (owner/name). No weights are loaded, nothing is computed, but for --measure.
--where, --pareto, --top and --like read the table of the zoo, results/zoo.
docs/MODEL_COMPARISON_METRICS.md explains each figure.
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
    str | None,
    Option(metavar="PIXELS", help="Side of the images, or 1024x768; each model's own by default."),
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
Form = Annotated[
    str | None, Option(help="train or deploy: one form of re-parameterised networks, not both.")
]
Transpose = Annotated[
    bool | None,
    Option(
        "--transpose/--no-transpose",
        help="Models down, metrics across, or the other way; down by default above six models.",
        show_default=False,
    ),
]
SortBy = Annotated[
    str | None,
    Option(
        help="params, flops, macs, activations, memory, efficiency, ai, latency, depth, size, "
        "peak, name or, of the zoo, accuracy."
    ),
]
Recommend = Annotated[str | None, Option(help="mobile, server, memory or latency.")]
PerLayer = Annotated[str, Option(metavar="MODEL", help="Show the layers of a model.")]
BlockDepth = Annotated[
    str | None, Option(metavar="NUMBER", help="With --per-layer: blocks at this depth of names.")
]
Format = Annotated[str, Option(help="table, markdown, csv, json or html.")]
Plot = Annotated[Path | None, Option(help="Draw roofline and sizes into a .png or .svg file.")]
WithResults = Annotated[
    str, Option(metavar="DATASET", help="Show what was measured on a data set beside.")
]
ResultsDir = Annotated[Path, Option(help="Folder of results.", show_default="results")]
TimmResults = Annotated[
    Path | None, Option(help="Published accuracies of timm: its results-imagenet.csv.")
]
Measure = Annotated[
    bool, Option("--measure", help="Time the models on this machine, beside the prediction.")
]
Where = Annotated[
    str, Option(metavar="EXPRESSION", help="Of the zoo: 'gmacs < 0.5 and params < 5e6'.")
]
Pareto = Annotated[
    str, Option(metavar="FIGURES", help="Of the zoo: what nothing beats in accuracy,gmacs.")
]
Top = Annotated[str | None, Option(metavar="NUMBER", help="Of the zoo: the first so many.")]
Like = Annotated[str, Option(metavar="MODEL", help="Of the zoo: models of the most similar costs.")]


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
    form: Form = None,
    transpose: Transpose = None,
    sort_by: SortBy = None,
    recommend: Recommend = None,
    per_layer: PerLayer = "",
    block_depth: BlockDepth = None,
    format: Format = "table",  # noqa: A002
    plot: Plot = None,
    with_results: WithResults = "",
    results_dir: ResultsDir = ROOT / "results",
    timm_results: TimmResults = None,
    measure: Measure = False,
    where: Where = "",
    pareto: Pareto = "",
    top: Top = None,
    like: Like = "",
) -> None:
    """Compare models side by side, without weights."""
    options = {**locals(), "names": names or []}  # the fields of harness.profiling.request.Request
    from harness.profiling.request import parse_request

    try:
        with exit_on_error():
            request = parse_request(options)
            if request.list_all:
                sys.exit(_list(request))
            sys.exit(_search(request) if request.asks_the_zoo else _compare(request))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _list(request: Request) -> int:
    from harness.profiling.names import matching_names

    for pattern in request.names or ["*"]:
        print(*matching_names(pattern), sep="\n")
    return 0


def _width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _search(request: Request) -> int:
    """Show rows of the zoo; return 2 if none fits."""
    from harness.profiling.zoo_page import render_zoo
    from harness.profiling.zoo_table import choose_rows, read_versions

    rows, notes = choose_rows(request)
    print(render_zoo(rows, notes, read_versions(), request.format, _width()), end="")
    return 0 if len(rows) else 2


def _compare(request: Request) -> int:
    """Show what is asked for; return 0, 1 if some models failed, 2 if nothing could be shown."""
    from harness.profiling.names import resolve_names

    if request.names or not request.per_layer:
        resolve_names(request.names)  # a wrong name is refused before torch is loaded
    from harness.profiling.comparing import compare
    from harness.profiling.forms import render
    from harness.profiling.plots import plot_report
    from harness.report.canvas import save_figure

    report = compare(request)
    print(render(report, request.format, transpose=request.transpose, width=_width()), end="")
    if request.plot is not None and report.analyses:
        save_figure(partial(plot_report, report), [request.plot])
        print(f"{request.plot} written", file=sys.stderr)
    return int(bool(report.failures)) if report.analyses or report.layers_of else 2


if __name__ == "__main__":
    typer.run(main)
