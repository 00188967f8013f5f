"""Pictures of attention: images, and over each what share of it every patch gets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.util.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOUR, _OPACITY = "#ff6a00", 0.9


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionPicture:
    """What is drawn.

    Attributes:
        title: Which network, with which weights, and which of its layers and heads.
        images: uint8 N×H×W×C with 1 or 3 channels.
        captions: One for each image.
        shares: What share of the class token's attention each patch gets: N×rows×columns.
        even_share: What each would get if all tokens got the same.
    """

    title: str
    images: np.ndarray
    captions: tuple[str, ...]
    shares: np.ndarray
    even_share: float


def draw_attention(picture: AttentionPicture, path: Path) -> None:
    """Draw images above the same images under their attention, as PNG or SVG by the path's suffix.

    The more of the attention a patch gets, the less the colour over it lets through, by the same
    scale on all images.

    Raises:
        CellError: The file cannot be written.
    """
    import matplotlib as mpl

    figure = plot_attention(picture)
    kind = path.suffix.removeprefix(".")
    # Without a salt, and with a date, the same picture would be another file each time.
    metadata = {"Date": None} if kind == "svg" else {}
    with mpl.rc_context({"svg.hashsalt": "attention"}), atomic_path(path) as temporary:
        figure.savefig(temporary, format=kind, metadata=metadata)


def plot_attention(picture: AttentionPicture) -> Figure:
    """Return the figure of a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LinearSegmentedColormap, to_rgba
    from matplotlib.figure import Figure

    count = len(picture.images)
    shades = [to_rgba(_COLOUR, opacity) for opacity in (0, _OPACITY)]
    figure = Figure(figsize=(max(5.6, 1.7 * count + 1.3), 4.3), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, count, squeeze=False)
    top = float(picture.shares.max())
    for index in range(count):
        _show(above[index], picture.images[index])
        above[index].set_title(picture.captions[index], fontsize=9, parse_math=False)
        _show(below[index], picture.images[index])
        height, width = picture.images[index].shape[:2]
        shade = below[index].imshow(
            picture.shares[index],
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
            cmap=LinearSegmentedColormap.from_list("attention", shades),
            vmin=0.0,
            vmax=top,
            interpolation="nearest",
        )
    bar = figure.colorbar(shade, ax=[*above, *below], shrink=0.6)
    bar.set_label(f"class token's attention\n(evenly: {picture.even_share:.3g})", fontsize=8)
    figure.suptitle(picture.title, fontsize=10, parse_math=False)
    return figure


def _show(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
    axes.set_axis_off()
