"""The tree: its properties on random trees, its JSON, and what is no tree."""

import dataclasses
import itertools
import json

import pytest

from harness.errors import RequestError
from tests.trunk.leaves import leaf_paths
from trunk.tree import Tree, node_name, tree_from_json, tree_to_json

SEEDS = range(40)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_class_has_exactly_one_leaf(seed, random_tree):
    tree = random_tree(seed)
    leaves = [c for node in tree.nodes for c in tree.children(node) if isinstance(c, int)]
    assert sorted(leaves) == list(range(tree.num_classes))
    assert len(leaf_paths(tree)) == tree.num_classes


@pytest.mark.parametrize("seed", SEEDS)
def test_children_partition_the_classes_of_their_parent(seed, random_tree):
    tree = random_tree(seed)
    for node in tree.nodes:
        below = [(c,) if isinstance(c, int) else c.classes for c in tree.children(node)]
        assert sorted(itertools.chain(*below)) == list(node.classes)
        assert len(below) >= 2


@pytest.mark.parametrize("seed", SEEDS)
def test_no_leaf_path_begins_with_another(seed, random_tree):
    paths = leaf_paths(random_tree(seed))
    for one, other in itertools.permutations(paths, 2):
        assert other[: len(one)] != one


@pytest.mark.parametrize("seed", SEEDS)
def test_json_and_back_is_the_identity(seed, random_tree):
    tree = random_tree(seed)
    assert tree_from_json(json.loads(json.dumps(tree_to_json(tree)))) == tree


def test_leaves_paths_and_names(small_tree):
    assert leaf_paths(small_tree) == ((0, 0, 0), (1,), (2,), (0, 1), (0, 0, 1))
    assert small_tree.children(small_tree.root) == (small_tree.nodes[1], 1, 2)
    assert small_tree.nodes[1].classes == (0, 3, 4)
    assert node_name((2, 0, 11)) == "2-0-11"


def changed(tree, index, **changes):
    nodes = list(tree.nodes)
    nodes[index] = dataclasses.replace(nodes[index], **changes)
    return Tree(nodes=tuple(nodes))


@pytest.mark.parametrize(
    ("index", "changes", "message"),
    [
        (0, {"path": (1,)}, "the nodes are not the root and others, in order"),
        (1, {"path": (0, 0)}, "the nodes are not the root and others, in order"),
        (0, {"groups": ((0, 3, 4), (1,), (5,))}, "the root's 5 classes are not 0 to 4, each once"),
        (0, {"groups": ((0, 3, 4), (1,), (1,))}, "the root's 5 classes are not 0 to 4, each once"),
        (0, {"groups": ((3, 0, 4), (1,), (2,))}, "node root: its groups are not ascending"),
        (1, {"groups": ((0, 4), (3, 4))}, "node 0: its groups are not ascending .* no class"),
        (1, {"groups": ((0, 3, 4), ())}, "node 0: it needs two or more groups, and none empty"),
        (1, {"groups": ((0, 3, 4),)}, "node 0: it needs two or more groups"),
        (1, {"groups": ((0,), (3,), (4,))}, "node 0: its network has 2 outputs for 3 children"),
        (1, {"groups": ((0, 4), (2,))}, r"node 0: its classes \[0, 2, 4\] are not the \[0, 3, 4\]"),
        (2, {"path": (0, 2)}, "there is no node 0-0 for classes \\[0, 4\\]"),
        (2, {"likelihood": ((0.5, 0.5),)}, "node 0-0: its likelihood is not a matrix of 2×2"),
        (2, {"likelihood": ((1.0,), (1.0,))}, "node 0-0: its likelihood is not a matrix of 2×2"),
    ],
)
def test_what_is_no_tree_is_named(index, changes, message, small_tree):
    with pytest.raises(RequestError, match=f"not a tree: .*{message}") as caught:
        changed(small_tree, index, **changes)
    assert "\n" not in str(caught.value)


def test_nodes_must_hang_together(small_tree):
    with pytest.raises(RequestError, match=r"there is no node 0-0 for classes \[0, 4\]"):
        Tree(nodes=small_tree.nodes[:2])
    stray = dataclasses.replace(small_tree.nodes[2], path=(0, 5))
    with pytest.raises(RequestError, match="node 0-5: it has no parent"):
        Tree(nodes=(*small_tree.nodes, stray))
    with pytest.raises(RequestError, match="the nodes are not the root"):
        Tree(nodes=())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"nodes"', '"knots"', r"nodes: Field required"),
        ("[1, 8, 8]", "[1, 8]", r"nodes\.0\.network\.input_shape"),
        ("[1, 8, 8]", "[1, 8, 0]", "greater than or equal to 1"),
        ('"compact"', "3", r"nodes\.0\.network\.backbone: Input should be a valid string"),
        ("1.25", "-1.25", r"nodes\.0\.volatility: Input should be greater than 0"),
        ("1.25", '"1.25"', r"nodes\.0\.volatility: Input should be a valid number"),
        ("1.25", "NaN", r"nodes\.0\.volatility: Input should be a finite number"),
        ("[0, 3, 4]", "[0, 3]", "node 0: .*not the"),
    ],
)
def test_json_that_is_no_tree_is_named(old, new, message, small_tree):
    text = json.dumps(tree_to_json(small_tree))
    assert old in text
    with pytest.raises(RequestError, match=f"^not a tree: .*{message}") as caught:
        tree_from_json(json.loads(text.replace(old, new, 1)))
    assert "\n" not in str(caught.value)
