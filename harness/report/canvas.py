"""The canvas of all figures: style for light and dark pages, layout, reproducible files."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import printable
from harness.util.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, GRID, PAPER, MARK = "#1a202c", "#5a6675", "#dfe5ec", "#ffffff", "#d9480f"
# Okabe and Ito's colours, which the colour-blind can tell apart: blue, vermilion, green, purple.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#a0568c")
# ColorBrewer's YlGnBu from dark to light, which can be told apart in grey, too.
SHADES = ("#253494", "#2c7fb8", "#41b6c4", "#a1dab4", "#e4f3c5")
# The replacements of colours on a dark page.
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
# Text stays text, which is small and searchable, and "$" is no mathematics. Without a salt, the ids
# of an SVG are random.
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "modelcomparisons",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.sans-serif": ["DejaVu Sans", "Verdana"],
    "font.size": 9.5,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), FAINT),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("axes.grid", "axes.axisbelow"), True),
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "grid.color": GRID,
    "savefig.pad_inches": 0.15,
}
_PNG_COLOURS = 128
_KINDS = ("svg", "png")


def new_figure(width: float, height: float) -> Figure:
    """Return a figure of that size in inches, independent of any display or global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    return figure


def bare_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Return axes of that size in inches; a saved figure grows to hold what lies outside them."""
    figure = new_figure(width, height)
    figure.set_layout_engine(None)
    return figure, figure.add_axes((0, 0, 1, 1))


def drawable(text: str) -> str:
    """Return text with the characters that the figures' font lacks written in Latin letters."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(map(_drawable, text))


@cache
def _drawable(character: str) -> str:
    from anyascii import anyascii
    from matplotlib.font_manager import FontProperties, findfont, get_font

    fonts = [
        get_font(findfont(FontProperties(family="DejaVu Sans", weight=weight)))
        for weight in ("normal", "bold")
    ]
    drawn = all(font.get_char_index(ord(character)) for font in fonts)
    if character == "\n" or (drawn and character.isprintable()):
        return character
    # Marks on a letter that is written otherwise have no letter of their own.
    mark = unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf")
    return anyascii(character) or ("" if mark else printable(character) if not drawn else " ")


def settle(figure: Figure) -> None:
    """Fix the layout of a figure, the same on every machine.

    Logarithms differ in the last bit between processors, and with them the room for the numbers
    along an axis. So positions are rounded, to less than a thousandth of a pixel.
    """
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.transforms import Bbox

    if not isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        return  # it has no layout, or is settled already
    for _ in range(2):  # the room that the numbers need depends on the room that there is
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position(Bbox(axes.get_position(original=True).get_points().round(6)))


def figure_files(stem: Path) -> tuple[Path, ...]:
    """Return the files of a figure, by their common name."""
    return tuple(stem.with_name(f"{stem.name}.{kind}") for kind in _KINDS)


def is_current(stem: Path, digest: str) -> bool:
    """Return whether both files of a figure are there and carry this digest."""
    return all(path.exists() and digest in _head(path) for path in figure_files(stem))


def save_figure(
    plot: Callable[[], Figure], files: Iterable[Path], *, digest: str = "", palette: bool = False
) -> None:
    """Draw a figure and write it to files, as SVG or PNG by their endings.

    The files carry `digest`, that of the figure's data. With `palette`, PNGs are a third as large,
    but shades have steps.

    Raises:
        CellError: A file cannot be written.
    """
    paths = list(files)
    kinds = [path.suffix[1:].lower() for path in paths]
    pictures = render_figure(plot, kinds, digest=digest, palette=palette)
    for path, picture in zip(paths, pictures, strict=True):
        with atomic_path(path) as temporary:
            temporary.write_bytes(picture)


def render_figure(
    plot: Callable[[], Figure], kinds: Iterable[str], *, digest: str = "", palette: bool = False
) -> list[bytes]:
    """Draw a figure once and return it as SVG or PNG, for each kind; see `save_figure`."""
    import matplotlib as mpl
    from matplotlib.text import Text

    with mpl.rc_context(_STYLE):
        figure = plot()
        for text in figure.findobj(Text):
            text.set_text(drawable(text.get_text()))
        settle(figure)
        mpl.rcParams["savefig.bbox"] = None if figure.get_layout_engine() else "tight"
        return [
            _svg(figure, digest) if kind == "svg" else _png(figure, digest, palette)
            for kind in kinds
        ]


def _svg(figure: Figure, digest: str) -> bytes:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Source": digest or None})
    return out.getvalue().replace("<defs>", f"<defs>\n{_dark_style()}", 1).encode()


def _dark_style() -> str:
    """Return a style sheet that replaces the colours where the reader prefers dark pages."""
    rules = [
        f'[style*="{what}: {light}"]{{{what}:{dark} !important}}'
        for light, dark in _DARK.items()
        for what in ("fill", "stroke")
    ]
    return f"<style>@media (prefers-color-scheme:dark){{{''.join(rules)}}}</style>\n"


def _png(figure: Figure, digest: str, palette: bool) -> bytes:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    drawn, out, info = io.BytesIO(), io.BytesIO(), PngInfo()
    figure.savefig(drawn, format="png")
    if digest:
        info.add_text("Source", digest)
    with Image.open(drawn) as image:
        picture = image.convert("RGB")
    if palette:
        picture = picture.quantize(_PNG_COLOURS, dither=Image.Dither.NONE)
    picture.save(out, format="png", optimize=True, pnginfo=info)
    return out.getvalue()


def _head(path: Path) -> str:
    # The metadata of a PNG or SVG are at its beginning.
    with path.open("rb") as file:
        return file.read(4096).decode("latin-1")
