"""What the pictures share: colours, figures without global state, text, files without chance.

The shades go from dark to light all one way, so that they can be told apart in grey and by the
colour-blind.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.util.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of ColorBrewer's YlGnBu.
SHADES = ("#253494", "#2c7fb8", "#41b6c4", "#a1dab4", "#e4f3c5")
INK, FAINT, PAPER, MARK = "#1a202c", "#4a5568", "#f1f5f9", "#d9480f"


def new_figure(width: float, height: float, *, constrained: bool = False) -> Figure:
    """Return a figure of that size in inches, independent of any display or global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layout: Literal["constrained"] | None = "constrained" if constrained else None
    figure = Figure(figsize=(width, height), layout=layout, dpi=120)
    FigureCanvasAgg(figure)
    return figure


def write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    *,
    size: float,
    align: Literal["left", "center", "right"],
    colour: str = INK,
    bold: bool = False,
) -> None:
    """Write a text, centred on its height; a "$" is a "$"."""
    axes.text(
        x,
        y,
        text,
        fontsize=size,
        horizontalalignment=align,
        verticalalignment="center",
        color=colour,
        fontweight="bold" if bold else "normal",
        parse_math=False,
    )


def text_width(text: str, size: float) -> float:
    """Return how wide a text in bold is, in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(weight="bold", size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72


def name_ticks(axes: Axes, which: Literal["x", "y"], names: Sequence[str], cell: float) -> None:
    """Name the squares or bars along an axis, which are `cell` inches wide."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    turned = which == "x" and max(text_width(name, 8) for name in names) > 0.9 * cell
    angle = 90 if turned else 0
    axis.set_ticks(range(len(names)), names, fontsize=8, rotation=angle, parse_math=False)


def save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write a figure as SVG and PNG, without what would differ from one run to the next.

    Args:
        figure: What to write, whole: it grows by what sticks out.
        stem: The files, less their .svg and .png.

    Returns:
        The files written.

    Raises:
        CellError: A file cannot be written.
    """
    import matplotlib as mpl

    svg, png = (stem.with_name(f"{stem.name}.{kind}") for kind in ("svg", "png"))
    # Without a salt, the names of a picture's parts are random.
    with mpl.rc_context({"svg.hashsalt": "trunk"}), atomic_path(svg) as temporary:
        figure.savefig(
            temporary, format="svg", bbox_inches="tight", pad_inches=0.15, metadata={"Date": None}
        )
    with atomic_path(png) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight", pad_inches=0.15)
    return svg, png
