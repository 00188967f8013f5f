"""One tree run along one path and along several: accuracy, operations and latency of each way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.tree_source import Loaded, evaluation_precision, tree_batches
from harness.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from harness.records.cell import Record
    from trunk.curve import Point
    from trunk.routing import Trunk

_MOST_PATHS = 100_000
_MOST_VALUES = 100
_TIMED_IMAGES = 128


def parse_numbers(option: str, text: str, least: float, most: float, *, whole: bool) -> list[float]:
    """Return the ascending numbers of a list such as 0.1,0.2; a RequestError says what is wrong."""
    try:
        values = sorted({float(part) for part in text.split(",")})
    except ValueError:
        values = [math.nan]
    in_range = all(least <= value <= most for value in values)
    if not in_range or len(values) > _MOST_VALUES or (whole and any(v % 1 for v in values)):
        kind = "whole numbers" if whole else "numbers"
        raise RequestError(
            f"{option} '{text}': {kind} from {least:g} to {most:g} wanted, at most "
            f"{_MOST_VALUES}, such as {'2,3' if whole else '0,0.1,0.2'}"
        )
    return values


def parse_ways(beams: str, thresholds: str) -> list[tuple[int, float]]:
    """Return the numbers of paths and thresholds to try: one path, then all combinations."""
    several = parse_numbers("--beam", beams, 1, _MOST_PATHS, whole=True)
    least = parse_numbers("--threshold", thresholds, 0, 1, whole=False)
    return [(1, 0.0), *((int(beam), t) for beam, t in product(several, least) if beam > 1)]


def read_controls(paths: Sequence[Path], loaded: Loaded) -> list[Point]:
    """Return a point for each record of another network; its test images must be the tree's."""
    from harness.records.cell import CELLS
    from harness.records.predictions import make_predictions
    from trunk.curve import Point

    labels, points = loaded.data.test.labels.numpy(), []
    labels_sha256 = make_predictions(labels, labels).labels_sha256
    for path in paths:
        record = CELLS.read(path)
        part = record.accuracy
        found, wanted = record.data.data_sha256, loaded.data.source.sha256
        if found != wanted:
            raise RequestError(
                f"{path}: of the images {record.data.data_name} ({found[:8]}), the tree is run on "
                f"{loaded.data.source.name} ({wanted[:8]})"
            )
        if part.test_labels_sha256 not in (None, labels_sha256):
            raise RequestError(f"{path}: its test images are not those that the tree is run on")
        low, high = part.accuracy_top1_low, part.accuracy_top1_high
        if part.accuracy_top1 is None or low is None or high is None or part.n_test is None:
            raise RequestError(f"{path}: it has no accuracy: {record.status}, {record.reason}")
        points.append(
            Point(
                name=_name(record, loaded.trunk.tree.root.network.backbone),
                images=part.n_test,
                accuracy_top1=part.accuracy_top1,
                accuracy_top1_low=low,
                accuracy_top1_high=high,
                gmacs=record.operations.gmacs,
            )
        )
    return points


def _name(record: Record, backbone: str) -> str:
    """Name a network by its nodes: one if it is flat, and which where they are not `backbone`."""
    flat = len(record.paths) == 1
    tree = record.settings.settings.get("tree") or {}
    nodes = tree.get("backbone", backbone)
    words = ["one"] * flat + [nodes] * (nodes != backbone)
    return f"{record.title} of {' '.join(words)} node{'s' * (not flat)}" if words else record.title


def measure_ways(loaded: Loaded, ways: Sequence[tuple[int, float]]) -> tuple[list[Point], str]:
    """Run the test images through a tree in each way; say what disturbed the timing, if anything.

    All ways have the logits of the widest one, and are timed in the same rounds. Gains and losses
    are counted against the first way.
    """
    import numpy as np

    from harness.measure.accuracy import wilson_interval
    from trunk.curve import Point

    labels, runs = _run_ways(loaded, ways)
    latencies, busy = _time_ways(loaded, ways)
    gmacs, levels = _node_gmacs(loaded.trunk), [len(n.path) + 1 for n in loaded.trunk.tree.nodes]
    first, count, points = runs[0][0] == labels, len(labels), []
    for (beam, threshold), (classes, ran), latency in zip(ways, runs, latencies, strict=True):
        right = classes == labels
        low, high = wilson_interval(int(right.sum()), count)
        # A single path has one node on each level.
        several = ran.sum(1) > (ran * np.array(levels)).max(1)
        points.append(
            Point(
                name=loaded.spec.label,
                beam=beam,
                threshold=threshold if beam > 1 else None,
                images=count,
                accuracy_top1=100 * float(right.mean()),
                accuracy_top1_low=100 * low,
                accuracy_top1_high=100 * high,
                gained=int((right & ~first).sum()),
                lost=int((first & ~right).sum()),
                several_percent=100 * float(several.mean()),
                gmacs=float(ran.mean(0) @ np.array(gmacs)),
                latency_ms=latency,
            )
        )
    return points, busy


def _run_ways(
    loaded: Loaded, ways: Sequence[tuple[int, float]]
) -> tuple[NDArray[Any], list[tuple[NDArray[Any], NDArray[Any]]]]:
    """Return the labels, and of each way the classes N and the nodes that ran, bool N×nodes."""
    import torch

    from trunk.beam import Beam

    paths, thresholds = zip(*ways, strict=True)
    # A narrower search runs no node that the widest one does not run.
    widest = loaded.trunk.prepare_for_inference().with_beam(max(paths), min(thresholds))
    beams = [Beam(paths=count, threshold=threshold) for count, threshold in ways]
    labels: list[Tensor] = []
    found: list[list[tuple[Tensor, Tensor]]] = [[] for _ in ways]
    with evaluation_precision(loaded), torch.inference_mode():
        for images, targets in tree_batches(loaded, loaded.data.test):
            labels.append(targets)
            search = widest.search(images)
            for beam, results in zip(beams, found, strict=True):
                narrowed = search.narrowed(beam)
                results.append((narrowed.labels, narrowed.ran))
    runs = [
        (torch.cat([c for c, _ in each]).numpy(), torch.cat([ran for _, ran in each]).numpy())
        for each in found
    ]
    return torch.cat(labels).numpy(), runs


def _node_gmacs(trunk: Trunk) -> list[float]:
    """Return 10^9 multiply-accumulates of each node."""
    import torch

    from harness.measure.operations import count_macs

    return [
        count_macs(network, torch.zeros(1, *node.network.input_shape)) / 1e9
        for node, network in zip(trunk.tree.nodes, trunk.networks.values(), strict=True)
    ]


def _time_ways(loaded: Loaded, ways: Sequence[tuple[int, float]]) -> tuple[list[float], str]:
    """Return the mean milliseconds of single test images, and why the machine counts as busy."""
    import torch

    from harness.measure.conditions import undisturbed
    from harness.measure.latency import measure_latency
    from harness.networks.build import make_preprocess

    settings, test = loaded.job.settings, loaded.data.test
    generator = torch.Generator().manual_seed(settings.seed)
    order = torch.randperm(len(test), generator=generator)[:_TIMED_IMAGES]
    stored, _ = next(test.batches(order, len(order)))
    singles = torch.split(make_preprocess(settings, loaded.spec)(stored), 1)
    compiled = loaded.trunk.prepare_for_single_images()

    def run_each(search: Trunk) -> Callable[[Tensor], object]:
        return lambda _: [search.route(image) for image in singles]

    calls = {str(way): run_each(compiled.with_beam(*way)) for way in ways}
    with undisturbed("cpu", f"{loaded.dataset}, accuracy against cost") as conditions:
        limits = settings.measurement
        found = measure_latency(
            calls,
            dict.fromkeys(calls, singles[0]),
            rounds=limits.latency_rounds,
            seconds=limits.latency_seconds,
            seed=settings.seed,
        )
    means = [found[str(way)].latency_ms_p50 / len(singles) for way in ways]
    return means, conditions.busy or ""
