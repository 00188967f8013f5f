"""Pictures: what is where, to the inch; nothing overlaps or is cut off; the same bytes twice."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.text import Text
from PIL import Image

from harness.errors import CellError
from harness.report.canvas import SHADES, figure_files, save_figure
from tests.trunk.leaves import leaf_paths
from trunk.drawing import plot_likelihood, plot_membership, plot_tree
from trunk.layout import layout_tree
from trunk.traffic import edge_traffic
from trunk.tree import Node, NodeNetwork, Tree

ROOT = Path(__file__).resolve().parents[2]
# Images by predicted class: 14, 6, 0, 10, 10; 40 in all.
CONFUSION = (
    (6, 1, 0, 1, 0),
    (2, 5, 0, 0, 1),
    (3, 0, 0, 5, 0),
    (1, 0, 0, 3, 4),
    (2, 0, 0, 1, 5),
)
NAMES = ("zero", "one", "$two$", "[three]", "four")


def make_node(path, groups, **known):
    network = NodeNetwork(
        backbone="compact", layers="other", input_shape=(1, 8, 8), outputs=len(groups)
    )
    return Node(path=path, groups=groups, network=network, **known)


def wide_tree():
    """47 classes and 12 nodes, three deep, as the published EMNIST tree has them."""
    sizes = (11, 4, 3, 10, 4, 1, 1, 3, 4, 2, 1, 1, 1, 1)
    ends = list(itertools.accumulate(sizes, initial=0))
    groups = tuple(tuple(range(a, b)) for a, b in itertools.pairwise(ends))
    nodes = [make_node((), groups)]
    for index, group in enumerate(groups):
        pairs = (group[:2],) if index in (0, 8) else ()
        rest = group[2 * len(pairs) :]
        if index == 0:
            pairs, rest = (*pairs, rest[:3]), rest[3:]
        if len(group) > 1:
            nodes.append(make_node((index,), (*pairs, *((label,) for label in rest))))
        nodes += [
            make_node((index, place), tuple((label,) for label in pair))
            for place, pair in enumerate(pairs)
        ]
    return Tree(nodes=tuple(nodes))


@pytest.fixture
def save(tmp_path):
    """Save a picture; return its figure and its PNG."""

    def save(plot, *arguments):
        drawn = []
        png = tmp_path / f"picture-{next(numbers)}.png"
        save_figure(lambda: drawn.append(plot(*arguments)) or drawn[0], [png])
        return drawn[0], png

    numbers = itertools.count()
    return save


def written_texts(figure):
    """Return every text that shows, those of axes' ticks too, and where it is."""
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    return [(text, box) for text, box in boxes if box.width > 0]


def overlapping(figure):
    boxes = written_texts(figure)
    return [
        (first, second)
        for (first, a), (second, b) in itertools.combinations(boxes, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 0.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 0.5
    ]


def assert_nothing_is_cut(png):
    pixels = np.asarray(Image.open(png).convert("L"))
    border = (pixels[:5], pixels[-5:], pixels[:, :5], pixels[:, -5:])
    assert all((part == 255).all() for part in border)


def uniform(count):
    return [[90 if i == j else 1 for j in range(count)] for i in range(count)]


def skewed(count):
    """Nearly all images are taken for class 0; none for the last one."""
    return [[500, *[1] * (count - 2), 0] for _ in range(count)]


def test_the_same_tree_gives_the_same_bytes(small_tree, tmp_path):
    edges = edge_traffic(small_tree, CONFUSION)
    written = [figure_files(tmp_path / name) for name in ("a.b", "c")]
    for files in written:
        save_figure(lambda: plot_tree(small_tree, NAMES, edges, "v1.2"), files)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["a.b.png", "a.b.svg", "c.png", "c.svg"]
    for one, other in zip(*written, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert b"<dc:date>" not in written[0][0].read_bytes()


def test_every_name_and_figure_of_a_tree_is_there(small_tree, save):
    edges = edge_traffic(small_tree, CONFUSION)
    figure, _ = save(plot_tree, small_tree, NAMES, edges, "The tree")
    found = {text for text, _ in written_texts(figure)}
    # Worked out by hand in test_traffic.py.
    wanted = {
        *("The tree", "root · 5 classes", "all images"),
        *("0 · 3 classes", "85.0% · 67.6%"),
        *("0-0 · 2 classes", "60.0% · 54.2%"),
        *("zero", "35.0%", "42.9%", "four", "25.0%", "50.0%", "[three]", "30.0%"),
        *("one", "15.0%", "83.3%", "$two$", "no image"),
    }
    assert wanted <= found


def test_ribbons_are_as_wide_as_their_share_and_coloured_by_accuracy(small_tree, save):
    edges = edge_traffic(small_tree, CONFUSION)
    figure, _ = save(plot_tree, small_tree, NAMES, edges, "")
    axes = figure.axes[0]
    patches = [patch for patch in axes.patches if type(patch) is PathPatch]
    layout = layout_tree(small_tree, edges)
    lightness = {}
    for edge, patch in zip(edges, patches, strict=True):
        if edge.accuracy_percent is None:
            assert (patch.get_linestyle(), patch.get_fill()) == (":", False)
            continue
        heights = patch.get_path().vertices[:, 1]
        assert heights[-1] - heights[0] == pytest.approx(layout.thickness(edge.child))
        lightness[edge.accuracy_percent] = sum(patch.get_facecolor()[:3])
    assert len(patches) == len(lightness) + 1 == 7
    assert layout.thickness(()) == pytest.approx(100 / 15 * layout.thickness((1,)))
    assert [lightness[key] for key in sorted(lightness)] == sorted(lightness.values())
    assert len(set(lightness.values())) == 6


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("confusion", [uniform, skewed])
def test_rows_and_ribbons_never_meet(seed, confusion, random_tree):
    tree = random_tree(seed)
    edges = edge_traffic(tree, confusion(tree.num_classes))
    layout = layout_tree(tree, edges)
    for depth in range(layout.depth + 1):
        column = sorted(
            (layout.middles[path] - layout.thickness(path) / 2, layout.thickness(path))
            for path in layout.middles
            if len(path) == depth
        )
        assert column[0][0] > 0
        assert column[-1][0] + column[-1][1] < layout.bottom
        assert all(y + width < below for (y, width), (below, _) in itertools.pairwise(column))
    leaves = [layout.middles[path] for path in leaf_paths(tree)]
    assert len({round(height, 3) for height in leaves}) == tree.num_classes
    for node in tree.nodes:
        children = [(*node.path, index) for index in range(len(node.groups))]
        tops = [layout.starts[path] - layout.thickness(path) / 2 for path in children]
        ends = [layout.starts[path] + layout.thickness(path) / 2 for path in children]
        assert tops[1:] == pytest.approx(ends[:-1])
        assert ends[-1] - tops[0] == pytest.approx(layout.thickness(node.path))
        assert (ends[-1] + tops[0]) / 2 == pytest.approx(layout.middles[node.path])


LONG = tuple(f"class number {label} of them all" for label in range(47))
SHORT = tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt")


@pytest.mark.parametrize(
    ("names", "confusion"), [(SHORT, uniform), (LONG, skewed)], ids=["short", "long"]
)
def test_a_wide_tree_can_be_read(names, confusion, save):
    tree = wide_tree()
    assert (tree.num_classes, len(tree.nodes)) == (47, 12)
    edges = edge_traffic(tree, confusion(47))
    figure, png = save(plot_tree, tree, names, edges, "TRUNK")
    assert overlapping(figure) == []
    assert set(names) < {text for text, _ in written_texts(figure)}
    assert_nothing_is_cut(png)


@pytest.mark.parametrize("seed", range(2))
def test_a_random_tree_can_be_read(seed, random_tree, save):
    tree = random_tree(seed)
    edges = edge_traffic(tree, uniform(tree.num_classes))
    figure, png = save(plot_tree, tree, LONG, edges, "TRUNK")
    assert overlapping(figure) == []
    assert_nothing_is_cut(png)


# Classes 1, 3, 5 and 7: 1 and 5 are similar, as are 3 and 7; above the diagonal only.
LIKELIHOOD = (
    (0.60, 0.05, 0.30, 0.05),
    (0.50, 0.20, 0.00, 0.30),
    (0.25, 0.05, 0.65, 0.05),
    (0.10, 0.10, 0.10, 0.70),
)


@pytest.fixture
def node():
    groups = ((1, 5), (3, 7))
    return make_node((2,), groups, likelihood=LIKELIHOOD, volatility=1.0)


def test_a_matrix_is_in_the_order_of_the_groups(node, save):
    figure, png = save(plot_likelihood, node, "abcdefgh", "TRUNK")
    axes = figure.axes[0]
    shown = axes.images[0].get_array()
    assert shown.tolist() == [
        [0.60, 0.30, 0.05, 0.05],
        [0.25, 0.65, 0.05, 0.05],
        [0.50, 0.00, 0.20, 0.30],
        [0.10, 0.10, 0.10, 0.70],
    ]
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["b", "f", "d", "h"]
    squares = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert [(square.get_xy(), square.get_width()) for square in squares] == [
        ((-0.5, -0.5), 2),
        ((1.5, 1.5), 2),
    ]
    # A[1, 5] and A[3, 7]; A[3, 1] is above v/n too, but below the diagonal.
    dots = np.round(axes.collections[0].get_offsets()).tolist()
    assert dots == [[1, 0], [3, 2]]
    title = axes.get_title(loc="left")
    assert "TRUNK: node 2, likelihood of 4 classes" in title
    assert "v/n = 1/4 = 25.00%" in title
    assert overlapping(figure) == []
    assert_nothing_is_cut(png)


def test_rare_confusion_is_told_from_none(node, save):
    figure, _ = save(plot_likelihood, node, "abcdefgh", "")
    image = figure.axes[0].images[0]
    rare, none, certain = (sum(image.to_rgba(np.array(value))[:3]) for value in (0.005, 0, 1))
    assert none == 3
    assert rare < 2.8
    assert certain < 1.5


def test_a_matrix_of_47_classes_can_be_read(save):
    matrix = tuple(tuple(0.5 if i == j else 0.5 / 46 for j in range(47)) for i in range(47))
    groups = (tuple(range(20)), *((label,) for label in range(20, 47)))
    node = make_node((), groups, likelihood=matrix, volatility=1.2)
    degrees = dict.fromkeys(range(1, 47), 0.5)
    for figure, png in (
        save(plot_likelihood, node, LONG, "TRUNK"),
        save(plot_membership, node, LONG, 0, degrees, "TRUNK"),
    ):
        assert overlapping(figure) == []
        assert_nothing_is_cut(png)


def test_bars_fall_and_those_above_one_half_are_dark(node, save):
    degrees = {3: 0.2, 5: 0.51, 7: 0.5}
    figure, _ = save(plot_membership, node, "abcdefgh", 1, degrees, "TRUNK")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["f", "h", "d"]
    assert [bar.get_height() for bar in axes.patches] == [0.51, 0.5, 0.2]
    colours = [to_hex(bar.get_facecolor()) for bar in axes.patches]
    assert colours == [SHADES[0], SHADES[3], SHADES[3]]
    assert "node 2, class b" in axes.get_title(loc="left")


def test_what_cannot_be_drawn_leaves_nothing(small_tree, tmp_path):
    (tmp_path / "file").touch()
    edges = edge_traffic(small_tree, CONFUSION)
    with pytest.raises(CellError, match="cannot write"):
        save_figure(
            lambda: plot_tree(small_tree, NAMES, edges, ""), [tmp_path / "file" / "tree.svg"]
        )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_nothing_heavy_is_imported():
    code = "import sys, trunk.drawing; print(*({'torch', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
