"""Grouping: the rule by hand, and every published grouping from its published matrix."""

import json
import math

import pytest
import torch

from harness.errors import RequestError
from trunk.grouping import averaged_softmax, child_groups, group_classes, membership, similar

# v/n is 0.25 for v = 1: 0 joins 2, and 2 joins 3; 0 and 1 stand on the threshold.
CHAIN = torch.tensor(
    [
        [0.40, 0.25, 0.26, 0.09],
        [0.90, 0.10, 0.00, 0.00],
        [0.90, 0.00, 0.00, 0.30],
        [0.90, 0.05, 0.05, 0.00],
    ],
    dtype=torch.float64,
)
PUBLISHED = {"emnist/mobilenet/1.2": (1.2, 1.2), "cifar10/vgg/1.02": (1.02, 0.88)}


def test_averaged_softmax_is_the_mean_over_the_images_of_a_class():
    probabilities = torch.tensor([[0.75, 0.25], [0.5, 0.5], [0.125, 0.875], [0.25, 0.75]])
    found = averaged_softmax(probabilities, torch.tensor([0, 1, 0, 0]))
    assert found.tolist() == [[0.375, 0.625], [0.5, 0.5]]
    with pytest.raises(RequestError, match="class 1 of a node has no training image"):
        averaged_softmax(probabilities, torch.zeros(4, dtype=torch.int64))


def test_similar_reads_above_the_diagonal_and_excludes_the_threshold():
    pairs = similar(CHAIN, 1.0).nonzero().tolist()
    assert pairs == [[0, 2], [2, 3]]
    assert similar(CHAIN, 0.9).nonzero().tolist() == [[0, 1], [0, 2], [2, 3]]


def test_groups_are_connected_components_in_the_order_of_their_smallest_class():
    assert group_classes(CHAIN, 1.0) == ((0, 2, 3), (1,))
    assert group_classes(CHAIN, 1.1) == ((0,), (1,), (2, 3))
    assert group_classes(CHAIN, 2.0) == ((0,), (1,), (2,), (3,))
    crossed = torch.zeros(5, 5)
    crossed[0, 4] = crossed[1, 2] = crossed[2, 3] = 1
    assert group_classes(crossed, 1.0) == ((0, 4), (1, 2, 3))


def test_groups_that_meet_late_are_joined():
    matrix = torch.zeros(6, 6)
    matrix[0, 1] = matrix[2, 3] = matrix[4, 5] = matrix[3, 5] = matrix[1, 4] = 1
    assert group_classes(matrix, 1.0) == ((0, 1, 2, 3, 4, 5),)


def test_one_group_makes_leaves():
    assert group_classes(CHAIN, 0.9) == ((0, 1, 2, 3),)
    assert child_groups(CHAIN, 0.9) == ((0,), (1,), (2,), (3,))
    assert child_groups(CHAIN, 1.0) == ((0, 2, 3), (1,))


def test_membership_is_above_one_half_exactly_where_classes_are_similar():
    degree = membership(CHAIN, 1.0)
    # (0.26 - 1/4) · 10 · 4 · 1 = 0.4
    assert degree[0, 2].item() == pytest.approx(1 / (1 + math.exp(-0.4)))
    assert torch.equal(torch.triu(degree > 0.5, diagonal=1), similar(CHAIN, 1.0))


@pytest.mark.parametrize("volatility", [0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("rule", [similar, membership, group_classes, child_groups])
def test_a_volatility_is_a_number_above_0(rule, volatility):
    with pytest.raises(RequestError, match=f"volatility is {volatility}; it must be a number"):
        rule(CHAIN, volatility)


@pytest.mark.parametrize(
    "matrix", [torch.zeros(3, 4), torch.zeros(3), torch.tensor(1.0), torch.full((2, 2), math.nan)]
)
def test_a_matrix_is_square_and_finite(matrix):
    with pytest.raises(RequestError, match="must be square and finite"):
        group_classes(matrix, 1.0)


@pytest.mark.parametrize(
    ("folder", "count"), [("emnist/mobilenet/1.2", 12), ("cifar10/vgg/1.02", 5)]
)
def test_the_published_groups_follow_from_the_published_matrices(folder, count, published_root):
    below, at_root = PUBLISHED[folder]
    files = sorted((published_root / folder / "model_softmax").glob("*.pt"))
    assert len(files) == count
    for file in files:
        name = file.name.removesuffix("_avg_softmax.pt")
        matrix = torch.load(file, map_location="cpu", weights_only=True)
        text = (published_root / folder / f"{name}_supergroups.json").read_text()
        published = tuple(map(tuple, json.loads(text).values()))
        assert child_groups(matrix, at_root if name == "root" else below) == published, name


def test_the_cifar10_root_was_not_grouped_by_the_volatility_of_its_folder(published_root):
    file = published_root / "cifar10" / "vgg" / "1.02" / "model_softmax" / "root_avg_softmax.pt"
    matrix = torch.load(file, map_location="cpu", weights_only=True)
    assert len(group_classes(matrix, 0.88)) == 5
    assert group_classes(matrix, 1.02) == ((0, 8), (1,), (2, 4), (3, 5), (6,), (7,), (9,))
