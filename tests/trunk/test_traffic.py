"""Traffic: exact figures by hand, and what must hold for every tree and every matrix."""

import random

import pytest

from harness.errors import RequestError
from tests.trunk.leaves import leaf_paths
from trunk.traffic import Edge, edge_traffic

# Rows true, columns predicted. Images by predicted class: 14, 6, 0, 10, 10; 40 in all.
CONFUSION = (
    (6, 1, 0, 1, 0),
    (2, 5, 0, 0, 1),
    (3, 0, 0, 5, 0),
    (1, 0, 0, 3, 4),
    (2, 0, 0, 1, 5),
)
# Worked out by hand for `small_tree`: ((0, 4), 3), 1, 2.
BY_HAND = {
    # Classes 0, 3 and 4: 14 + 10 + 10 images, of which 6+1+0, 1+3+4 and 2+1+5 belong there.
    (0,): ((), (0, 3, 4), 34, 23, 85.0),
    # Classes 0 and 4: 14 + 10 images, of which 6+0 and 2+5 belong there.
    (0, 0): ((0,), (0, 4), 24, 13, 60.0),
    (0, 0, 0): ((0, 0), (0,), 14, 6, 35.0),
    (0, 0, 1): ((0, 0), (4,), 10, 5, 25.0),
    (0, 1): ((0,), (3,), 10, 3, 25.0),
    (1,): ((), (1,), 6, 5, 15.0),
    (2,): ((), (2,), 0, 0, 0.0),
}


def test_traffic_by_hand(small_tree):
    wanted = tuple(
        Edge(
            parent=parent,
            child=child,
            classes=classes,
            images=images,
            correct=correct,
            share_percent=share,
        )
        for child, (parent, classes, images, correct, share) in BY_HAND.items()
    )
    assert edge_traffic(small_tree, CONFUSION) == wanted


def test_accuracy_is_of_the_images_that_came(small_tree):
    accuracies = {edge.child: edge.accuracy_percent for edge in edge_traffic(small_tree, CONFUSION)}
    assert accuracies[(0,)] == 100 * 23 / 34
    assert accuracies[(0, 0, 1)] == 50.0
    assert accuracies[(1,)] == 100 * 5 / 6
    assert accuracies[(2,)] is None


@pytest.mark.parametrize("seed", range(8))
def test_what_enters_a_node_leaves_it(seed, random_tree):
    tree, generator = random_tree(seed), random.Random(seed)
    classes = range(tree.num_classes)
    confusion = [[generator.choice((0, 0, 1, 7)) for _ in classes] for _ in classes]
    confusion[0][0] = 3
    edges = {edge.child: edge for edge in edge_traffic(tree, confusion)}
    assert list(edges) == sorted(edges)
    for node in tree.nodes:
        below = [edges[(*node.path, index)] for index in range(len(node.groups))]
        entered = edges[node.path].images if node.path else sum(map(sum, confusion))
        assert sum(edge.images for edge in below) == entered
    leaves = [edges[path] for path in leaf_paths(tree)]
    assert sum(leaf.share_percent for leaf in leaves) == pytest.approx(100)
    assert [leaf.correct for leaf in leaves] == [confusion[label][label] for label in classes]


@pytest.mark.parametrize(
    ("confusion", "message"),
    [
        (CONFUSION[:4], "with 4 rows: a tree of 5 classes wants 5×5"),
        (tuple((*row, 0) for row in CONFUSION), "a tree of 5 classes wants 5×5"),
        (((0,) * 5,) * 5, "without images"),
    ],
)
def test_a_wrong_matrix_is_refused(confusion, message, small_tree):
    with pytest.raises(RequestError, match=message):
        edge_traffic(small_tree, confusion)
