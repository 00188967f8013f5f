"""Pictures of attention: images, and the share of attention that each of their patches gets."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from harness.report.canvas import drawable, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOUR, _OPACITY = "#ff6a00", 0.9
# As many letters of a caption as an image is wide.
_LETTERS = 24


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionPicture:
    """The content of such a picture.

    Attributes:
        images: uint8 N×H×W×C with 1 or 3 channels.
        shares: The share of the class token's attention that each patch gets: N×rows×columns.
        even_share: The share of each patch if all tokens got the same.
    """

    title: str
    images: np.ndarray
    captions: tuple[str, ...]
    shares: np.ndarray
    even_share: float


def plot_attention(picture: AttentionPicture) -> Figure:
    """Draw images above the same images under their attention.

    The more of the attention a patch gets, the less the colour over it lets through, by the same
    scale on all images.
    """
    from matplotlib.colors import LinearSegmentedColormap, to_rgba

    count = len(picture.images)
    shades = [to_rgba(_COLOUR, opacity) for opacity in (0, _OPACITY)]
    figure = new_figure(max(5.6, 1.7 * count + 1.3), 4.3)
    above, below = figure.subplots(2, count, squeeze=False)
    top = float(picture.shares.max())
    for index, image in enumerate(picture.images):
        for axes in (above[index], below[index]):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
            axes.set_axis_off()
        above[index].set_title(fill(drawable(picture.captions[index]), _LETTERS), fontsize=9)
        height, width = image.shape[:2]
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
    figure.suptitle(picture.title, fontsize=10)
    return figure
