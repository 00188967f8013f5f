"""Names and numbers in figures: beside points, along axes, in the squares of a matrix."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import printable
from harness.report.canvas import FAINT, INK, bare_axes, drawable, settle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure

# More classes than this leave no room for a number in each square.
MOST_NUMBERED_CLASSES = 15
# Longer names would take more room than the squares.
_MOST_LETTERS, _LAST_LETTERS = 32, 12
# Numbers keep these colours on a dark page, as the squares keep theirs.
_ON_LIGHT, _ON_DARK = "#08306b", "#fefefe"
# The directions from a point in which its name is tried first.
_DIRECTIONS = ["northeast", "east", "west", "northwest", "southeast", "southwest"]


@dataclass(frozen=True, kw_only=True)
class Label:
    """A name of `size` points, and the position of its point in data coordinates."""

    x: float
    y: float
    text: str
    colour: str = INK
    size: float = 8.5


def place_labels(axes: Axes, labels: Sequence[Label]) -> None:
    """Write names where they hide nothing, each with a line to its point.

    The first labels get the best places. All else must have been drawn, and the limits be final.
    """
    from textalloc import allocate

    figure = axes.get_figure(root=True)
    if figure is None or not labels:
        return
    settle(figure)
    axes.autoscale(False)
    xs, ys = [label.x for label in labels], [label.y for label in labels]
    lines = _lines(axes)
    allocate(
        axes,
        xs,
        ys,
        text_list=[label.text for label in labels],
        x_scatter=xs,
        y_scatter=ys,
        x_lines=[xs for xs, _ in lines],
        y_lines=[ys for _, ys in lines],
        textsize=[label.size for label in labels],
        textcolor=[label.colour for label in labels],
        linecolor=FAINT,
        linewidth=0.5,
        direction=_DIRECTIONS,
    )


def _lines(axes: Axes) -> list[Any]:
    """Return the lines that names must not cross, error bars and steps among them."""
    import numpy as np
    from matplotlib.collections import LineCollection

    lines = [line.get_path().vertices for line in axes.lines if line.get_linestyle() != "None"]
    bars = [each for each in axes.collections if isinstance(each, LineCollection)]
    segments = [segment for each in bars for segment in each.get_segments()]
    return [np.transpose(vertices) for vertices in (*lines, *segments)]


def plot_matrix(
    values: Sequence[Sequence[float]],
    names: Sequence[str],
    write: Callable[[int, int], str],
    *,
    extend: Literal["neither", "min"] = "neither",
    **colours: Any,
) -> tuple[Figure, Axes, Colorbar]:
    """Draw a matrix as squares, with a number in each where there is room, and its colour scale.

    The names are those of the columns, and the first ones those of the rows, too: there may be
    more columns than rows. `write` returns the text of a square by row and column; `extend` marks
    that there are values below the scale; `colours` go to `imshow`.
    """
    import numpy as np

    numbered = len(names) <= MOST_NUMBERED_CLASSES
    width = max(2.4, (0.42 if numbered else 0.2) * len(names))
    square = width / len(names)
    figure, axes = bare_axes(width, square * len(values))
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    image = axes.imshow(values, **colours)
    shades = image.to_rgba(np.asarray(values))
    name_ticks(axes.xaxis, names, square)
    name_ticks(axes.yaxis, names[: len(values)])
    for y, row in enumerate(values if numbered else ()):
        for x in range(len(row)):
            colour = _ON_LIGHT if shades[y, x] @ (0.3, 0.6, 0.1, 0) > 0.6 else _ON_DARK
            axes.text(x, y, write(y, x), size=8, ha="center", va="center", color=colour)
    beside = axes.inset_axes((1 + 0.15 / width, 0, 0.14 / width, 1))
    beside.tick_params(labelsize=8)
    return figure, axes, figure.colorbar(image, cax=beside, extend=extend, extendfrac=0.03)


def name_ticks(axis: Axis, names: Sequence[str], room: float = math.inf) -> None:
    """Name the squares or bars along an axis, turned if a name is wider than `room` inches."""
    names = short_names(names)
    turned = max(text_width(name, 8) for name in names) > 0.9 * room
    axis.set_ticks(range(len(names)), names, fontsize=8, rotation=90 if turned else 0)


def short_names(names: Sequence[str]) -> list[str]:
    """Return names that can be drawn; of long ones the middle is left out.

    Names that become alike in this way are numbered.
    """
    drawn = {name: shorten(name) for name in names}
    seen: Counter[str] = Counter()
    alike = Counter(drawn.values())
    for name, text in drawn.items():
        seen[text] += 1
        if alike[text] > 1:
            drawn[name] = f"{text} ({seen[text]})"
    return [drawn[name] for name in names]


def shorten(name: str) -> str:
    """Return a name that can be drawn; of a long one the middle is left out."""
    name = drawable(printable(name)) or "?"
    if len(name) <= _MOST_LETTERS:
        return name
    return f"{name[: _MOST_LETTERS - _LAST_LETTERS - 1]}…{name[-_LAST_LETTERS:]}"


def text_width(text: str, size: float) -> float:
    """Return the width of a bold text, in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(weight="bold", size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(drawable(text), font, False)
    return float(width) / 72


def set_logarithmic(axes: Axes, which: str) -> None:
    """Make the axes `which` ("x", "y" or "xy") logarithmic, with plain numbers along them.

    The data must have been drawn.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    for name in which:
        getattr(axes, f"set_{name}scale")("log")
        axis = axes.xaxis if name == "x" else axes.yaxis
        low, high = axis.get_view_interval()
        # An axis of a few decades would have few numbers otherwise.
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 10_000 * low else (1,)))
        axis.set_major_formatter("{x:.7g}")
        axis.set_minor_formatter(NullFormatter())
