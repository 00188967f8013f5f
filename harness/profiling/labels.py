"""Names beside points, none over another where that can be helped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""

_SIZE = 8  # points
_WIDTH = 0.6  # of a letter, in sizes
_NEAR, _STEP, _STEPS = 6, 9, 60  # points, points, tries


def place_labels(axes: Axes, places: Sequence[tuple[float, float]], names: Sequence[str]) -> None:
    """Write each name beside its point, with a line to it where it had to move away.

    Args:
        axes: With its final limits and size.
        places: In the axes' data coordinates.
        names: One for each.
    """
    scale = 72 / axes.figure.dpi
    centres = [tuple(scale * axes.transData.transform(place)) for place in places]
    frame = axes.get_window_extent()
    inside = tuple(scale * side for side in (frame.x0, frame.y0, frame.x1, frame.y1))
    taken: list[Box] = [(x - 4, y - 4, x + 4, y + 4) for x, y in centres]
    for place, (x, y), name in zip(places, centres, names, strict=True):
        width = _WIDTH * _SIZE * len(name)
        candidates = list(_candidates(x, y, width))
        fitting = [box for box in candidates if _within(box, inside)] or candidates
        box = next((box for box in fitting if not _hits(box, taken)), fitting[0])
        taken.append(box)
        moved = abs((box[1] + box[3]) / 2 - y) > _STEP
        label = axes.annotate(
            name,
            place,
            (box[0] - x, box[1] - y),
            textcoords="offset points",
            fontsize=_SIZE,
            parse_math=False,
            arrowprops={"arrowstyle": "-", "color": "#a0aec0", "linewidth": 0.6} if moved else None,
        )
        # The axes are to keep their size, which the places go by.
        label.set_in_layout(False)


def _candidates(x: float, y: float, width: float) -> Iterator[Box]:
    """Yield places right and left of a point, then higher and lower and higher again."""
    for step in range(_STEPS):
        for rise in dict.fromkeys((step * _STEP, -step * _STEP)):
            bottom = y + rise - _SIZE / 2
            for left in (x + _NEAR, x - _NEAR - width):
                yield left, bottom, left + width, bottom + _SIZE


def _hits(box: Box, others: Sequence[Box]) -> bool:
    left, bottom, right, top = box
    return any(
        left < other[2] and other[0] < right and bottom < other[3] and other[1] < top
        for other in others
    )


def _within(box: Box, frame: Sequence[float]) -> bool:
    left, bottom, right, top = frame
    return left <= box[0] and bottom <= box[1] and box[2] <= right and box[3] <= top
