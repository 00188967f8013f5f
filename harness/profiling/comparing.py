"""Making the report that a request asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.progress import track

from harness.errors import RequestError
from harness.profiling.analysis import Analysis, Failure, analyse_all
from harness.profiling.hardware import Roof, find_roof
from harness.profiling.names import ModelName, resolve_names
from harness.profiling.publishers import read_timm_results, torchvision_accuracy
from harness.profiling.ranking import rank, recommend, sort_rows
from harness.profiling.report import Report
from harness.profiling.request import Request, usual_roof
from harness.profiling.results import join_results, read_results, time_analyses


def compare(request: Request) -> Report:
    """Count the models that a request names, and collect what it wants to know of them."""
    names = resolve_names(request.names) if request.names or not request.per_layer else []
    layered = resolve_names([request.per_layer]) if request.per_layer else []
    if len(layered) > 1:
        raise RequestError(
            f"--per-layer {request.per_layer}: one model wanted, this means {len(layered)}"
        )
    dataset = request.with_results
    records = read_results(dataset, request.results_dir) if dataset else {}
    options = replace(request, roof=_find_roof(request))
    console = Console(stderr=True)
    hidden = not console.is_terminal
    tracked = track(names, "counting", console=console, transient=True, disable=hidden)
    rows = analyse_all(tracked, options)
    if request.sort_by:
        rows = sort_rows(rows, request.sort_by)
    analyses = [row for row in rows if isinstance(row, Analysis)]
    found = analyse_all(layered, replace(options, training=True))
    # Why there are no layers is said as of any other model.
    rows += [row for row in found if isinstance(row, Failure) and row not in rows]
    layers_of = next((row for row in found if isinstance(row, Analysis)), None)
    recommendation = None
    counted = [row for row in analyses if not row.graph.uncounted]
    if request.recommend and counted:
        recommendation = recommend(counted, request.recommend, usual_roof(options))
    return Report(
        options=options,
        rows=rows,
        extremes=rank(analyses),
        recommendation=recommendation,
        layers_of=layers_of,
        layers=layers_of.layers(request.block_depth, options.roof) if layers_of else (),
        dataset=dataset,
        measured=join_results(analyses, options, records) if records else {},
        published=_find_published(analyses, request),
        timed=time_analyses(analyses, options) if request.measure else {},
    )


def _find_published(
    analyses: Sequence[Analysis], request: Request
) -> Mapping[ModelName, Mapping[str, Any]]:
    """Return what publishers state of weights that are for the images and classes counted."""
    if request.image_size or (request.channels, request.classes) != (3, 1000):
        return {}
    results = read_timm_results(request.timm_results) if request.timm_results else {}
    found = {
        each.name: torchvision_accuracy(each.name)
        or results.get((each.name.name, str(each.image_size)), {})
        for each in analyses
        if each.name.source in ("torchvision", "timm")
    }
    return {name: figures for name, figures in found.items() if figures}


def _find_roof(request: Request) -> Roof | None:
    if request.hardware:
        return find_roof(request.hardware, request.precision)
    if request.peak_tflops is None or request.bandwidth_gbs is None:
        return None
    return Roof(
        name=f"{request.peak_tflops:g} TFLOP/s and {request.bandwidth_gbs:g} GB/s",
        precision=request.precision,
        peak_gflops_per_s=1e3 * request.peak_tflops,
        bandwidth_gb_per_s=request.bandwidth_gbs,
        source="the command line",
    )
