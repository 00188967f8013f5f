"""Pictures of a tree: its traffic, a node's likelihood matrix, how a class belongs with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.report.canvas import FAINT, GRID, INK, MARK, PAPER, SHADES, bare_axes
from harness.report.labels import MOST_NUMBERED_CLASSES, name_ticks, plot_matrix, text_width
from trunk.layout import Layout, layout_tree
from trunk.traffic import Edge
from trunk.tree import Node, Tree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

Names = Sequence[str]
"""Class names, in the order of the labels."""

# Inches, in the picture of a tree.
_HEAD, _RIBBON, _THIN_RIBBON, _LOWEST_BOX = 0.95, 1.05, 0.06, 0.34
_LEAST_LIKELIHOOD = 1e-3
_NAME: dict[str, Any] = {"va": "center", "weight": "bold"}
_FIGURES: dict[str, Any] = {"va": "center", "color": FAINT, "size": 7.5}


def plot_tree(tree: Tree, names: Names, edges: Sequence[Edge], title: str) -> Figure:
    """Draw a tree from left to right, with ribbons as wide as the traffic on its edges.

    Args:
        tree: The tree.
        names: The names of all its classes.
        edges: Its traffic, from `trunk.traffic.edge_traffic`.
        title: The line above the picture.
    """
    layout = layout_tree(tree, edges)
    box = max(text_width(_headline(node), 8) for node in tree.nodes) + 0.2
    column = box + _RIBBON
    width, bottom = layout.depth * column + 0.1, layout.bottom + 0.1
    figure, axes = bare_axes(width, bottom + _HEAD)
    axes.set(xlim=(0, width), ylim=(bottom, -_HEAD))
    axes.set_axis_off()
    colours = _accuracy_colours(edges)
    for edge in edges:
        _draw_ribbon(axes, edge, layout, column, colours)
    for node in tree.nodes:
        _draw_box(axes, node, layout, column, box)
    _draw_leaves(axes, names, layout, column)
    _draw_legend(axes, colours, title)
    return figure


def plot_likelihood(node: Node, names: Names, title: str) -> Figure:
    """Draw a node's averaged softmax likelihood, its classes by group and the groups in squares.

    The scale is logarithmic, so that what is rarely confused shows as well. Likelihoods that make
    two classes similar, above v/n, have a dot.

    Args:
        node: A node whose likelihood and volatility are known.
        names: The names of all classes of the tree.
        title: The text above the picture, before the name of the node.
    """
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

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
    _draw_groups(axes, node)
    # Grouping reads pairs in ascending order alone.
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
    node: Node, names: Names, label: int, degrees: Mapping[int, float], title: str
) -> Figure:
    """Draw how much a class belongs with each other class of its node, the most first.

    Args:
        node: The node.
        names: The names of all classes of the tree.
        label: The class.
        degrees: The membership of each other class of the node, in (0, 1).
        title: The text above the picture, before the name of the class.
    """
    others = sorted(degrees, key=lambda other: (-degrees[other], other))
    heights = [degrees[other] for other in others]
    figure, axes = bare_axes(max(2.8, 0.2 * len(others)), 1.8)
    axes.set(xlim=(-0.7, len(others) - 0.3), ylim=(0, 1.02), ylabel="membership")
    shades = [SHADES[0] if height > 0.5 else SHADES[3] for height in heights]
    axes.bar(range(len(others)), heights, color=shades, edgecolor=INK, linewidth=0.4)
    axes.axhline(0.5, color=MARK, linestyle="--", linewidth=1)
    name_ticks(axes.xaxis, [names[other] for other in others], 0.2)
    text = f"{title}: node {node.name}, class {names[label]}\nabove one half: similar"
    axes.set_title(text, loc="left", fontsize=9)
    return figure


def _accuracy_colours(edges: Sequence[Edge]) -> ScalarMappable:
    """Return the scale of accuracies, from the tens below the lowest to 100%."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    lowest = min(e.accuracy_percent for e in edges if e.accuracy_percent is not None)
    norm = Normalize(min(10 * (lowest // 10), 90), 100)
    return ScalarMappable(norm, LinearSegmentedColormap.from_list("accuracy", SHADES))


def _draw_ribbon(
    axes: Axes, edge: Edge, layout: Layout, column: float, colours: ScalarMappable
) -> None:
    """Draw an edge as a ribbon; as a dotted line where no image went."""
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
    # Lines of the page's colour part the ribbons of a node, but would hide a thin one.
    border = PAPER if half > _THIN_RIBBON / 2 else colour
    axes.add_patch(PathPatch(outline, facecolor=colour, edgecolor=border, linewidth=0.5))


def _draw_box(axes: Axes, node: Node, layout: Layout, column: float, width: float) -> None:
    """Draw a node as a box with its name, its number of classes and its figures."""
    from matplotlib.patches import FancyBboxPatch

    left, middle = column * len(node.path), layout.middles[node.path]
    height = max(layout.thickness(node.path), _LOWEST_BOX)
    shape = "round,pad=0,rounding_size=0.05"
    box = FancyBboxPatch((left, middle - height / 2), width, height, shape)
    box.set(facecolor=GRID, edgecolor=INK, linewidth=0.8, clip_on=False)
    axes.add_patch(box)
    figures = " · ".join(_figures(layout.edges[node.path])) if node.path else "all images"
    centre = left + width / 2
    axes.text(centre, middle - 0.07, _headline(node), size=8, ha="center", **_NAME)
    axes.text(centre, middle + 0.08, figures, ha="center", **_FIGURES)


def _draw_leaves(axes: Axes, names: Names, layout: Layout, column: float) -> None:
    """Draw each leaf as a bar, with the name of its class and, below each other, its figures."""
    leaves = [edge for edge in layout.edges.values() if len(edge.classes) == 1]
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
    """Write the title, and what widths, colours and figures mean."""
    axes.text(0, 0.1 - _HEAD, title, size=11, **_NAME)
    bar = axes.inset_axes((0, 0.49 - _HEAD, 1.7, 0.1), transform=axes.transData)
    axes.figure.colorbar(colours, cax=bar, orientation="horizontal")
    bar.xaxis.set_major_formatter("{x:.0f}%")
    bar.tick_params(labelsize=7)
    width = "Width, first figure: share of all images."
    colour = "Colour, second figure: accuracy, the share of these whose class lies here."
    axes.text(1.9, 0.42 - _HEAD, width, **_FIGURES)
    axes.text(1.9, 0.59 - _HEAD, colour, **_FIGURES)


def _headline(node: Node) -> str:
    return f"{node.name} · {len(node.classes)} classes"


def _figures(edge: Edge) -> tuple[str, ...]:
    if edge.accuracy_percent is None:
        return ("no image",)
    return f"{edge.share_percent:.1f}%", f"{edge.accuracy_percent:.1f}%"


def _draw_groups(axes: Axes, node: Node) -> None:
    """Draw a square around each group."""
    from matplotlib.patches import Rectangle

    start = -0.5
    for size in map(len, node.groups):
        square = Rectangle((start, start), size, size, fill=False, edgecolor=MARK, linewidth=1.6)
        square.set_clip_on(False)
        axes.add_patch(square)
        start += size
