"""Names beside points, so that they hide neither each other nor the points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox, BboxBase

# Points (1/72 inch) from a point to its name.
_GAP = 6.0


@dataclass(frozen=True, kw_only=True)
class Label:
    """A name and the point that it belongs to, in the units of the axes.

    Attributes:
        x: Of the point.
        y: Of the point.
        low: Where a line down from the point ends.
        high: Where a line up from it ends.
        text: The name.
        colour: Of the name.
        size: Of the letters, in points.
    """

    x: float
    y: float
    low: float
    high: float
    text: str
    colour: str
    size: float


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a name may go: right and up of the point in gaps, and how it is aligned."""

    right: float
    up: float
    align: Literal["left", "center", "right"]


# Above the point first, clear of a line to its right.
_PLACES = (
    _Place(right=0.8, up=1.2, align="left"),
    _Place(right=1, up=0, align="left"),
    _Place(right=-1, up=0, align="right"),
    _Place(right=-0.8, up=1.2, align="right"),
    *(_Place(right=0.8, up=up, align="left") for up in (-1.2, 2.6, -2.6, 4, -4)),
    *(_Place(right=-0.8, up=up, align="right") for up in (-1.2, 2.6, -2.6, 4, -4)),
)


def place_labels(axes: Axes, labels: Sequence[Label]) -> None:
    """Write each name in the first place beside its point that is free, else where it hides least.

    What came first has the choice. The axes' limits must be final.
    """
    figure = axes.figure.get_figure(root=True)
    if figure is None:
        raise ValueError("the axes belong to no figure")
    # Limits move what a layout engine places, so it must have had its turn.
    figure.draw_without_rendering()
    taken = [_around(axes, label) for label in labels]
    for label in labels:
        boxes = [_write(axes, label, place) for place in _PLACES]
        hidden = [_hidden(axes, box, taken) for box in boxes]
        chosen = hidden.index(min(hidden))
        for text in axes.texts[-len(_PLACES) :]:
            text.set_visible(False)
        kept = axes.texts[len(axes.texts) - len(_PLACES) + chosen]
        kept.set_visible(True)
        taken.append(boxes[chosen])
    for text in [text for text in axes.texts if not text.get_visible()]:
        text.remove()


def _write(axes: Axes, label: Label, place: _Place) -> Bbox:
    """Write a name and return what it covers, in pixels."""
    text = axes.annotate(
        label.text,
        (label.x, label.y),
        xytext=(_GAP * place.right, _GAP * place.up),
        textcoords="offset points",
        ha=place.align,
        va="center",
        fontsize=label.size,
        color=label.colour,
        parse_math=False,
    )
    # It may reach out of the axes, and needs no room made for it.
    text.set_in_layout(False)
    return text.get_window_extent()


def _around(axes: Axes, label: Label) -> Bbox:
    """Return what a point and its line cover, in pixels."""
    from matplotlib.transforms import Bbox

    x, low = axes.transData.transform((label.x, label.low))
    _, high = axes.transData.transform((label.x, label.high))
    half = 4.0
    return Bbox([[x - half, low - half], [x + half, high + half]])


def _hidden(axes: Axes, box: Bbox, taken: Sequence[Bbox]) -> float:
    """Return how much a box covers of others and of what is outside the axes, in square pixels."""
    outside = box.width * box.height - _shared(box, axes.bbox)
    # Rounded, or what is nothing would not always be 0.
    return round(outside + sum(_shared(box, other) for other in taken), 3)


def _shared(box: BboxBase, other: BboxBase) -> float:
    width = min(box.x1, other.x1) - max(box.x0, other.x0)
    height = min(box.y1, other.y1) - max(box.y0, other.y0)
    return max(width, 0.0) * max(height, 0.0)
