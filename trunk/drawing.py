"""Pictures of a tree: its traffic, a node's likelihood matrix, and a class's memberships.

In every function, `names` are the names of all classes of the tree, in the order of the labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.report.canvas import FAINT, GRID, INK, MARK, PAPER, SHADES, bare_axes
from harness.report.labels import (
    MOST_NUMBERED_CLASSES,
    name_ticks,
    plot_matrix,
    short_names,
    text_width,
)
from trunk.layout import Layout, layout_tree
from trunk.traffic import Edge
from trunk.tree import Node, Tree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

# Inches, in the picture of a tree.
_HEAD, _RIBBON, _THIN_RIBBON, _LOWEST_BOX = 0.95, 1.05, 0.06, 0.34
_LEAST_LIKELIHOOD = 1e-3
_NAME: dict[str, Any] = {"va": "center", "weight": "bold"}
_FIGURES: dict[str, Any] = {"va": "center", "color": FAINT, "size": 7.5}


def plot_tree(tree: Tree, names: Sequence[str], edges: Sequence[Edge], title: str) -> Figure:
    """Draw a tree from left to right, with ribbons as wide as the traffic on its edges.

    The edges are those of `trunk.traffic.edge_traffic`.
    """
    layout = layout_tree(tree, edges)
    headlines = {node: f"{node.name} · {len(node.classes)} classes" for node in tree.nodes}
    box = max(text_width(headline, 8) for headline in headlines.values()) + 0.2
    column = box + _RIBBON
    width, bottom = layout.depth * column + 0.1, layout.bottom + 0.1
    figure, axes = bare_axes(width, bottom + _HEAD)
    axes.set(xlim=(0, width), ylim=(bottom, -_HEAD))
    axes.set_axis_off()
    colours = _accuracy_colours(edges)
    for edge in edges:
        _draw_ribbon(axes, edge, layout, column, colours)
    for node, headline in headlines.items():
        _draw_box(axes, node, headline, layout, column * len(node.path), box)
    _draw_leaves(axes, names, layout, column)
    _draw_legend(axes, colours, title)
    return figure


def plot_likelihood(node: Node, names: Sequence[str], title: str) -> Figure:
    """Draw the averaged softmax likelihood of a node whose likelihood and volatility are known.

    The classes are sorted by group, and each group is in a square. The scale is logarithmic, so
    that rare confusion shows as well. Likelihoods above v/n, which make two classes similar, have
    a dot. The title begins the text above the picture.
    """
    from matplotlib.colors import LinearSegmentedColormap, LogNorm
    from matplotlib.patches import Rectangle

    likelihood, volatility = node.likelihood or (), node.volatility or 0.0
    order = [node.classes.index(label) for group in node.groups for label in group]
    values = [[likelihood[i][j] for j in order] for i in order]
    figure, axes, bar = plot_matrix(
        values,
        [names[node.classes[i]] for i in order],
        lambda y, x: f"{100 * values[y][x]:.1f}",
        norm=LogNorm(_LEAST_LIKELIHOOD, 1, clip=True),
        cmap=LinearSegmentedColormap.from_list("likelihood", ("#ffffff", *reversed(SHADES))),
        extend="min",
    )
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    axes.set(xlabel="mean softmax output for class", ylabel="images of class")
    count, threshold = len(order), volatility / len(order)
    text = (
        f"{title}: node {node.name}, likelihood of {count} classes in %\nsquares: groups; "
        f"dots: similar, above v/n = {volatility:g}/{count} = {100 * threshold:.2f}%"
    )
    axes.set_title(text, loc="left", fontsize=9, pad=10)
    start = -0.5
    for size in map(len, node.groups):
        square = Rectangle((start, start), size, size, fill=False, edgecolor=MARK, linewidth=1.6)
        axes.add_patch(square).set_clip_on(False)
        start += size
    # Grouping reads only the part of the matrix above the diagonal.
    dots = [
        (x, y)
        for y in range(count)
        for x in range(count)
        if values[y][x] > threshold and order[y] < order[x]
    ]
    aside = 0.34 if count <= MOST_NUMBERED_CLASSES else 0
    axes.scatter([x + aside for x, _ in dots], [y - aside for _, y in dots], s=7, color=MARK)
    return figure


def plot_membership(
    node: Node, names: Sequence[str], label: int, degrees: Mapping[int, float], title: str
) -> Figure:
    """Draw the `trunk.explaining.memberships` of a class of a node, the largest first.

    The title begins the text above the picture.
    """
    others = sorted(degrees, key=lambda other: (-degrees[other], other))
    heights = [degrees[other] for other in others]
    figure, axes = bare_axes(max(2.8, 0.2 * len(others)), 1.8)
    axes.set(xlim=(-0.7, len(others) - 0.3), ylim=(0, 1.02), ylabel="membership")
    shades = [SHADES[0] if height > 0.5 else SHADES[3] for height in heights]
    axes.bar(range(len(others)), heights, color=shades, edgecolor=INK, linewidth=0.4)
    axes.axhline(0.5, color=MARK, linestyle="--", linewidth=1)
    name_ticks(axes.xaxis, [names[other] for other in others], 0.2)
    text = f"{title}: node {node.name}, class {short_names(names)[label]}\nabove one half: similar"
    axes.set_title(text, loc="left", fontsize=9)
    return figure


def _accuracy_colours(edges: Sequence[Edge]) -> ScalarMappable:
    """Return the colour scale of accuracies, from the multiple of 10 below the lowest to 100%."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    lowest = min(e.accuracy_percent for e in edges if e.accuracy_percent is not None)
    norm = Normalize(min(10 * (lowest // 10), 90), 100)
    return ScalarMappable(norm, LinearSegmentedColormap.from_list("accuracy", SHADES))


def _draw_ribbon(
    axes: Axes, edge: Edge, layout: Layout, column: float, colours: ScalarMappable
) -> None:
    """Draw an edge as a ribbon, or as a dotted line where no image went."""
    import numpy as np
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    start, end = layout.starts[edge.child], layout.middles[edge.child]
    right = column * len(edge.child)
    left = right - _RIBBON
    bend, half = (left + right) / 2, layout.thickness(edge.child) / 2
    there = [(left, start), (bend, start), (bend, end), (right, end)]
    curve = [Outline.CURVE4] * 3
    if edge.accuracy_percent is None:
        line = Outline(there, [Outline.MOVETO, *curve])
        axes.add_patch(PathPatch(line, fill=False, linestyle=":", edgecolor=FAINT))
        return
    outline = Outline(
        [(x, y - half) for x, y in there] + [(x, y + half) for x, y in reversed(there)],
        [Outline.MOVETO, *curve, Outline.LINETO, *curve],
    )
    colour = colours.to_rgba(np.array(edge.accuracy_percent))
    # Lines of the page's colour separate the ribbons of a node, but would hide a thin one.
    border = PAPER if half > _THIN_RIBBON / 2 else colour
    axes.add_patch(PathPatch(outline, facecolor=colour, edgecolor=border, linewidth=0.5))


def _draw_box(
    axes: Axes, node: Node, headline: str, layout: Layout, left: float, width: float
) -> None:
    """Draw a node as a box with a headline and its figures."""
    from matplotlib.patches import FancyBboxPatch

    middle = layout.middles[node.path]
    height = max(layout.thickness(node.path), _LOWEST_BOX)
    shape = "round,pad=0,rounding_size=0.05"
    box = FancyBboxPatch((left, middle - height / 2), width, height, shape)
    box.set(facecolor=GRID, edgecolor=INK, linewidth=0.8, clip_on=False)
    axes.add_patch(box)
    figures = " · ".join(_figures(layout.edges[node.path])) if node.path else "all images"
    centre = left + width / 2
    axes.text(centre, middle - 0.07, headline, size=8, ha="center", **_NAME)
    axes.text(centre, middle + 0.08, figures, ha="center", **_FIGURES)


def _draw_leaves(axes: Axes, names: Sequence[str], layout: Layout, column: float) -> None:
    """Draw each leaf as a bar, with the name of its class and its figures, in aligned columns."""
    leaves = [edge for edge in layout.edges.values() if len(edge.classes) == 1]
    names = short_names(names)
    longest = max(text_width(name, 9) for name in names)
    for leaf in leaves:
        left, middle = column * len(leaf.child), layout.middles[leaf.child]
        half = max(layout.thickness(leaf.child), 0.08) / 2
        axes.vlines(left, middle - half, middle + half, color=INK, linewidth=2)
        axes.text(left + 0.08, middle, names[leaf.classes[0]], size=9, **_NAME)
        # From the right and right-aligned, so that decimals stand below each other.
        for text, offset in zip(reversed(_figures(leaf)), (1.06, 0.52), strict=False):
            axes.text(left + longest + offset, middle, text, ha="right", **_FIGURES)


def _draw_legend(axes: Axes, colours: ScalarMappable, title: str) -> None:
    """Write the title and the meaning of widths, colours and figures."""
    axes.text(0, 0.1 - _HEAD, title, size=11, **_NAME)
    bar = axes.inset_axes((0, 0.49 - _HEAD, 1.7, 0.1), transform=axes.transData)
    axes.figure.colorbar(colours, cax=bar, orientation="horizontal")
    bar.xaxis.set_major_formatter("{x:.0f}%")
    bar.tick_params(labelsize=7)
    width = "Width, first figure: share of all images."
    colour = "Colour, second figure: accuracy, the share of these whose class lies here."
    axes.text(1.9, 0.42 - _HEAD, width, **_FIGURES)
    axes.text(1.9, 0.59 - _HEAD, colour, **_FIGURES)


def _figures(edge: Edge) -> tuple[str, ...]:
    if edge.accuracy_percent is None:
        return ("no image",)
    return f"{edge.share_percent:.1f}%", f"{edge.accuracy_percent:.1f}%"
