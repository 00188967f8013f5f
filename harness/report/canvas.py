"""What the figures share: colours for light and dark, no global state, the same bytes twice."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.util.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK, FAINT, GRID, PAPER = "#1a202c", "#5a6675", "#dfe5ec", "#ffffff"
# Okabe and Ito's, which the colour-blind can tell apart: blue, vermilion, green, purple.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#a0568c")
# What becomes of each where the page is dark; what is not named stays.
_DARK = {
    INK: "#e6edf3",
    FAINT: "#a3b0bf",
    GRID: "#2b333d",
    PAPER: "#14181d",
    SERIES[0]: "#5db1ec",
    SERIES[1]: "#f08b4c",
    SERIES[2]: "#3fc7a0",
    SERIES[3]: "#d596c4",
}
# Text stays text: small, and searchable. A salt, as the names of a picture's parts are random.
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "modelcomparisons",
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans", "Verdana"],
    "font.size": 9.5,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), FAINT),
    "axes.facecolor": PAPER,
    "grid.color": GRID,
}
_PNG_COLOURS = 128
KINDS = ("svg", "png")


def new_figure(width: float, height: float) -> Figure:
    """Return a figure of that size in inches, independent of any display or global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=120, facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def number_logarithmic(axis: Axis) -> None:
    """Write 1, 2 and 5 of each ten along a logarithmic axis, as plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def figure_files(stem: Path) -> tuple[Path, ...]:
    """Return the files of a figure, by their common name."""
    return tuple(stem.with_name(f"{stem.name}.{kind}") for kind in KINDS)


def is_current(stem: Path, digest: str) -> bool:
    """Whether both files of a figure are there and were drawn from what has this digest."""
    return all(path.exists() and digest in _head(path) for path in figure_files(stem))


def draw(stem: Path, digest: str, plot: Callable[[], Figure]) -> None:
    """Write a figure as SVG and PNG, which carry the digest of what they were drawn from.

    Raises:
        CellError: A file cannot be written.
    """
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        figure = plot()
        pictures = (_svg(figure, digest), _png(figure, digest))
    for path, picture in zip(figure_files(stem), pictures, strict=True):
        with atomic_path(path) as temporary:
            temporary.write_bytes(picture)


def _svg(figure: Figure, digest: str) -> bytes:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Source": digest})
    return out.getvalue().replace("<defs>", f"<defs>\n{_dark_style()}", 1).encode()


def _dark_style() -> str:
    """Return a style sheet that exchanges the colours where the reader prefers dark pages."""
    rules = [
        f'[style*="{what}: {light}"]{{{what}:{dark} !important}}'
        for light, dark in _DARK.items()
        for what in ("fill", "stroke")
    ]
    return f"<style>@media (prefers-color-scheme:dark){{{''.join(rules)}}}</style>\n"


def _png(figure: Figure, digest: str) -> bytes:
    """Return a PNG with a palette, a third as large as one without."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    drawn, out, info = io.BytesIO(), io.BytesIO(), PngInfo()
    figure.savefig(drawn, format="png")
    info.add_text("Source", digest)
    with Image.open(drawn) as image:
        few = image.convert("RGB").quantize(_PNG_COLOURS, dither=Image.Dither.NONE)
        few.save(out, format="png", optimize=True, pnginfo=info)
    return out.getvalue()


def _head(path: Path) -> str:
    """Return the beginning of a file, where a PNG or SVG has its metadata."""
    with path.open("rb") as file:
        return file.read(4096).decode("latin-1")
