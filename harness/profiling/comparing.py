"""Making the report that a request asks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields

from harness.errors import RequestError
from harness.profiling.analysis import Analysis, Failure, Row, analyse_all
from harness.profiling.hardware import USUAL_HARDWARE, find_roof, given_roof
from harness.profiling.layers import group_layers
from harness.profiling.names import ModelName, resolve_names
from harness.profiling.ranking import rank, recommend, sort_rows
from harness.profiling.report import Report
from harness.profiling.request import Options, Request
from harness.profiling.results import join_results, read_results
from harness.profiling.roofline import Roof


def compare(request: Request) -> Report:
    """Count the models that a request names, and collect what it wants to know of them.

    Raises:
        RequestError: A model, the hardware or the data set is unknown.
    """
    names = resolve_names(request.names) if request.names or not request.per_layer else []
    layered = _one_name(request.per_layer) if request.per_layer else None
    dataset = request.with_results
    records = read_results(dataset, request.results_dir) if dataset else {}
    options = make_options(request)
    rows = sort_rows(analyse_all(_with_progress(names), options), request.sort_by)
    layers_of, failed = _find_layered(layered, rows, options)
    analyses = [row for row in rows if isinstance(row, Analysis)]
    return Report(
        options=options,
        rows=[*rows, *failed],
        extremes=rank(analyses),
        recommendation=(
            recommend(analyses, request.recommend, drawing_roof(options))
            if request.recommend and analyses
            else None
        ),
        layers_of=layers_of,
        layers=group_layers(layers_of.graph, options.roof) if layers_of else (),
        dataset=dataset,
        measured=join_results(analyses, options, records) if records else {},
    )


def make_options(request: Request) -> Options:
    """Return how models are counted.

    Raises:
        RequestError: The hardware is unknown, or does not have the precision.
    """
    roof = None
    if request.hardware:
        roof = find_roof(request.hardware, request.precision)
    elif request.peak_tflops is not None and request.bandwidth_gbs is not None:
        roof = given_roof(request.peak_tflops, request.bandwidth_gbs, request.precision)
    same = [field.name for field in fields(Options) if field.name != "roof"]
    return Options(roof=roof, **{name: getattr(request, name) for name in same})


def drawing_roof(options: Options) -> Roof:
    """Return the hardware for recommendations and pictures: that asked for, else the usual one."""
    return options.roof or find_roof(USUAL_HARDWARE, options.precision)


def _one_name(text: str) -> ModelName:
    names = resolve_names([text])
    if len(names) != 1:
        raise RequestError(f"--per-layer {text}: one model wanted, this means {len(names)}")
    return names[0]


def _find_layered(
    name: ModelName | None, rows: Sequence[Row], options: Options
) -> tuple[Analysis | None, list[Failure]]:
    """Return the model whose layers are shown, or its failure where no row has that already."""
    if name is None:
        return None, []
    known = [row for row in rows if row.name == name]
    (found,) = known or analyse_all([name], options)
    if isinstance(found, Analysis):
        return found, []
    return None, [] if known else [found]


def _with_progress(names: Sequence[ModelName]) -> Iterable[ModelName]:
    """Show progress on a terminal, as counting many models takes minutes."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(
        names, "counting", console=console, transient=True, disable=not console.is_terminal
    )
