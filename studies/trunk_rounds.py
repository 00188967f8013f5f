"""What the rounds of an evaluation gave, as one table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.report.table import Table
from studies.trunk_ways import NAMES, PUBLISHED, RESIDENT

_HEADER = (
    "Way",
    "Images/s",
    "× published",
    "Accuracy, same images",
    "Accuracy, all images",
    "Latency, ms",
    "× resident",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Round:
    """What one piece of the test images gave, each by the name of the way.

    Attributes:
        images_per_s: Speed.
        right: Whether the class was right, for each image that the way was given.
        latency_ms: Time of one image alone.
    """

    images_per_s: dict[str, float]
    right: dict[str, Tensor]
    latency_ms: dict[str, float]


def render(rounds: Sequence[Round], threads: int) -> str:
    """Return a Markdown table of all ways, with what its figures mean below it."""
    table = Table.of_texts(_HEADER, (_row(rounds, name) for name in NAMES)).markdown()
    everything, same = (len(rounds) * len(rounds[0].right[n]) for n in (RESIDENT, PUBLISHED))
    return (
        f"{table}\n{everything} images in {len(rounds)} rounds, {threads} CPU thread(s). The "
        f"published way was given the first {same // len(rounds)} of each round: "
        f'"same images" are those {same}.\n'
        "Speeds and times are medians over the rounds; × is the median of the ratio within a "
        "round, and its range. Latency: of the first images of each round, one at a time."
    )


def _row(rounds: Sequence[Round], name: str) -> list[str]:
    rates = [each.images_per_s for each in rounds]
    seen = len(rounds[0].right[PUBLISHED])
    right = [each.right[name] for each in rounds]
    same = _percent([flags[:seen] for flags in right])
    everything = _percent(right) if name != PUBLISHED else "—"
    speed = f"{statistics.median(rate[name] for rate in rates):.0f}"
    ratios = _spread([rate[name] / rate[PUBLISHED] for rate in rates])
    return [name, speed, ratios, same, everything, *_latency_cells(rounds, name)]


def _latency_cells(rounds: Sequence[Round], name: str) -> list[str]:
    times = [each.latency_ms for each in rounds]
    if name not in times[0]:
        return ["—", "—"]
    ratios = [time_ms[RESIDENT] / time_ms[name] for time_ms in times]
    return [f"{statistics.median(time_ms[name] for time_ms in times):.2f}", _spread(ratios)]


def _percent(right: Sequence[Tensor]) -> str:
    return f"{100 * torch.cat([*right]).double().mean().item():.2f}"


def _spread(ratios: Sequence[float]) -> str:
    if min(ratios) == max(ratios):
        return f"{ratios[0]:.2f}"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
