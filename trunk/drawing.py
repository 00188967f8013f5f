"""Pictures of a tree: its traffic, a node's likelihood matrix, how a class belongs with others.

Each is written as SVG and PNG beside each other; the same input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import RequestError
from trunk.canvas import (
    FAINT,
    INK,
    MARK,
    PAPER,
    SHADES,
    name_ticks,
    new_figure,
    save,
    text_width,
    write,
)
from trunk.layout import Layout, layout_tree
from trunk.traffic import Edge
from trunk.tree import Node, Tree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

Names = Sequence[str]
"""Class names, in the order of the labels."""

Matrix = Sequence[Sequence[float]]

# Inches, in the picture of a tree.
_HEAD, _RIBBON, _THIN_RIBBON, _LOWEST_BOX = 0.95, 1.05, 0.06, 0.34
# More classes than this leave no room for a number in each square of a matrix.
_MOST_NUMBERED_CLASSES = 15
_LEAST_LIKELIHOOD = 1e-3


def draw_tree(
    tree: Tree, names: Names, edges: Sequence[Edge], stem: Path, *, title: str
) -> tuple[Path, Path]:
    """Draw a tree from left to right, with ribbons as wide as the traffic on its edges.

    Args:
        tree: The tree.
        names: Of all its classes.
        edges: Its traffic, from `trunk.traffic.edge_traffic`.
        stem: The files, less their .svg and .png.
        title: Above the picture.

    Returns:
        The files written.

    Raises:
        CellError: A file cannot be written.
    """
    layout = layout_tree(tree, edges, _HEAD)
    box = max(text_width(_headline(node), 8) for node in tree.nodes) + 0.2
    column = box + _RIBBON
    width, height = layout.depth * column + 0.1, layout.bottom + 0.1
    figure = new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    colours = _accuracy_colours(edges)
    for edge in edges:
        _draw_ribbon(axes, edge, layout, column, colours)
    for node in tree.nodes:
        _draw_box(axes, node, layout, column, box)
    _draw_leaves(axes, names, layout, column)
    _draw_legend(axes, colours, title)
    return save(figure, stem)


def draw_likelihood(node: Node, names: Names, stem: Path, *, title: str) -> tuple[Path, Path]:
    """Draw a node's averaged softmax likelihood, its classes by group and the groups in squares.

    Likelihoods that make two classes similar, above v/n, have a dot.

    Args:
        node: A node whose likelihood is known.
        names: Of all classes of the tree.
        stem: The files, less their .svg and .png.
        title: Above the picture, before the name of the node.

    Returns:
        The files written.

    Raises:
        RequestError: The node's likelihood is not known.
        CellError: A file cannot be written.
    """
    if node.likelihood is None:
        raise RequestError(f"node {node.name}: its likelihood matrix is not known")
    order = [node.classes.index(label) for group in node.groups for label in group]
    values = [[node.likelihood[i][j] for j in order] for i in order]
    labels = [names[node.classes[i]] for i in order]
    cell = 0.42 if len(order) <= _MOST_NUMBERED_CLASSES else 0.2
    side = max(2.4, cell * len(order))
    figure = new_figure(side + 1.6, side + 1.2, constrained=True)
    axes = figure.add_subplot()
    _draw_matrix(axes, values, labels, side / len(order))
    _draw_groups(axes, node)
    text = f"{title}: node {node.name}, likelihood of {len(order)} classes in %\nsquares: groups"
    if node.volatility is not None:
        text += _mark_similar(axes, values, order, node.volatility)
    axes.set_title(text, loc="left", fontsize=9, parse_math=False)
    return save(figure, stem)


def draw_membership(
    node: Node, names: Names, label: int, degrees: Mapping[int, float], stem: Path, *, title: str
) -> tuple[Path, Path]:
    """Draw how much a class belongs with each other class of its node, the most first.

    Args:
        node: The node.
        names: Of all classes of the tree.
        label: The class.
        degrees: By each other class of the node, in (0, 1).
        stem: The files, less their .svg and .png.
        title: Above the picture, before the name of the class.

    Returns:
        The files written.

    Raises:
        CellError: A file cannot be written.
    """
    others = sorted(degrees, key=lambda other: (-degrees[other], other))
    figure = new_figure(max(3.6, 0.2 * len(others) + 0.8), 2.6, constrained=True)
    axes = figure.add_subplot(xlim=(-0.7, len(others) - 0.3), ylim=(0, 1.02), ylabel="membership")
    heights = [degrees[other] for other in others]
    shades = [SHADES[0] if height > 0.5 else SHADES[3] for height in heights]
    axes.bar(range(len(others)), heights, color=shades, edgecolor=INK, linewidth=0.4)
    axes.axhline(0.5, color=MARK, linestyle="--", linewidth=1)
    name_ticks(axes, "x", [names[other] for other in others], 0.2)
    axes.spines[["top", "right"]].set_visible(False)
    text = f"{title}: node {node.name}, class {names[label]}\nabove one half: similar"
    axes.set_title(text, loc="left", fontsize=9, parse_math=False)
    return save(figure, stem)


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
    # White lines part the ribbons of a node, but would hide a thin one.
    border = "white" if half > _THIN_RIBBON / 2 else colour
    axes.add_patch(PathPatch(outline, facecolor=colour, edgecolor=border, linewidth=0.5))


def _draw_box(axes: Axes, node: Node, layout: Layout, column: float, width: float) -> None:
    """Draw a node as a box with its name, its number of classes and its figures."""
    from matplotlib.patches import FancyBboxPatch

    left, middle = column * len(node.path), layout.middles[node.path]
    height = max(layout.thickness(node.path), _LOWEST_BOX)
    box = FancyBboxPatch(
        (left, middle - height / 2),
        width,
        height,
        boxstyle="round,pad=0,rounding_size=0.05",
        facecolor=PAPER,
        edgecolor=INK,
        linewidth=0.8,
        clip_on=False,
    )
    axes.add_patch(box)
    figures = " · ".join(_figures(layout.edges[node.path])) if node.path else "all images"
    centre = left + width / 2
    write(axes, centre, middle - 0.07, _headline(node), size=8, align="center", bold=True)
    write(axes, centre, middle + 0.08, figures, size=7.5, align="center", colour=FAINT)


def _draw_leaves(axes: Axes, names: Names, layout: Layout, column: float) -> None:
    """Draw each leaf as a bar, with the name of its class and, below each other, its figures."""
    leaves = [edge for edge in layout.edges.values() if len(edge.classes) == 1]
    longest = max(text_width(name, 9) for name in names)
    for leaf in leaves:
        left, middle = column * len(leaf.child), layout.middles[leaf.child]
        half = max(layout.thickness(leaf.child), 0.08) / 2
        axes.vlines(left, middle - half, middle + half, color=INK, linewidth=2)
        write(axes, left + 0.08, middle, names[leaf.classes[0]], size=9, align="left", bold=True)
        # From the right and right-aligned, so that decimals stand below each other.
        for text, offset in zip(reversed(_figures(leaf)), (1.06, 0.52), strict=False):
            x = left + longest + offset
            write(axes, x, middle, text, size=7.5, align="right", colour=FAINT)


def _draw_legend(axes: Axes, colours: ScalarMappable, title: str) -> None:
    """Write the title, and what widths, colours and figures mean."""
    write(axes, 0, 0.1, title, size=11, align="left", bold=True)
    bar = axes.inset_axes((0, 0.49, 1.7, 0.1), transform=axes.transData)
    axes.figure.colorbar(colours, cax=bar, orientation="horizontal")
    bar.xaxis.set_major_formatter("{x:.0f}%")
    bar.tick_params(labelsize=7)
    width = "Width, first figure: share of all images."
    colour = "Colour, second figure: accuracy, the share of these whose class lies here."
    write(axes, 1.9, 0.42, width, size=7.5, align="left", colour=FAINT)
    write(axes, 1.9, 0.59, colour, size=7.5, align="left", colour=FAINT)


def _headline(node: Node) -> str:
    return f"{node.name} · {len(node.classes)} classes"


def _figures(edge: Edge) -> tuple[str, ...]:
    if edge.accuracy_percent is None:
        return ("no image",)
    return f"{edge.share_percent:.1f}%", f"{edge.accuracy_percent:.1f}%"


def _draw_matrix(axes: Axes, values: Matrix, labels: Names, cell: float) -> None:
    """Draw a matrix on a logarithmic scale, so that what is rarely confused shows as well."""
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    norm = LogNorm(_LEAST_LIKELIHOOD, 1, clip=True)
    shades = LinearSegmentedColormap.from_list("likelihood", ("#ffffff", *reversed(SHADES)))
    image = axes.imshow(values, cmap=shades, norm=norm)
    name_ticks(axes, "x", labels, cell)
    name_ticks(axes, "y", labels, cell)
    axes.set(xlabel="mean softmax output for class", ylabel="images of class")
    if len(values) <= _MOST_NUMBERED_CLASSES:
        for y, row in enumerate(values):
            for x, value in enumerate(row):
                colour = "white" if norm(value) > 0.7 else INK
                write(axes, x, y, f"{100 * value:.1f}", size=7, align="center", colour=colour)
    side = cell * len(values)
    beside = axes.inset_axes((1 + 0.15 / side, 0, 0.14 / side, 1))
    bar = axes.figure.colorbar(image, cax=beside, extend="min", extendfrac=0.03)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    bar.ax.tick_params(labelsize=8)


def _draw_groups(axes: Axes, node: Node) -> None:
    """Draw a square around each group."""
    from matplotlib.patches import Rectangle

    start = -0.5
    for group in node.groups:
        size = len(group)
        square = Rectangle((start, start), size, size, fill=False, edgecolor=MARK, linewidth=1.6)
        square.set_clip_on(False)
        axes.add_patch(square)
        start += size


def _mark_similar(axes: Axes, values: Matrix, order: Sequence[int], volatility: float) -> str:
    """Put a dot where two classes are similar, and return what dots mean.

    Args:
        axes: With the matrix.
        values: The likelihood, in the order shown.
        order: Each class's place among those of the node: only pairs in ascending order count.
        volatility: v.
    """
    count, threshold = len(order), volatility / len(order)
    above = [[x for x in range(count) if row[x] > threshold] for row in values]
    dots = [(x, y) for y, row in enumerate(above) for x in row if order[y] < order[x]]
    aside = 0.34 if count <= _MOST_NUMBERED_CLASSES else 0
    axes.scatter([x + aside for x, _ in dots], [y - aside for _, y in dots], s=7, color=MARK)
    return f"; dots: similar, above v/n = {volatility:g}/{count} = {100 * threshold:.2f}%"
