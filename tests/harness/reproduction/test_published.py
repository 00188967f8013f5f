"""The published tables, and what of ours was counted at the same shapes."""

import pytest

from harness.reproduction.published import (
    published_cells,
    published_conditions,
    published_costs,
    published_matrices,
)


def test_counts_are_those_of_the_published_size(make_cost):
    costs = [make_cost(image_size=size) for size in (32, 224, 256)]
    assert published_costs(costs)["resnet"].image_size == 224
    assert published_costs(costs[:1]) == {}
    ours = [make_cost(dataset="digits", image_size=size) for size in (64, 32)]
    assert published_costs(ours)["resnet"].image_size == 64


def test_counts_are_of_our_network_or_of_the_published_one(make_cost):
    costs = [make_cost(), make_cost(variant="published", file_mb=1.0)]
    assert published_costs(costs)["resnet"].variant == ""
    assert published_costs(costs, "published")["resnet"].file_mb == 1.0
    assert published_costs(costs[:1], "published") == {}


def test_the_conditions_of_every_cell():
    conditions = published_conditions()
    assert list(conditions) == list(published_cells())
    own = [key for key, each in conditions.items() if each.own_network]
    assert own == [(name, "resnet_quantized") for name in ("emnist", "cifar10", "svhn")]
    assert {conditions[key].device for key in own} == {"cpu"}
    assert conditions["cifar10", "resnet"].evaluated_images == 9_984
    assert conditions["svhn", "vgg"].evaluated_images == 25_984
    assert conditions["svhn", "vit"].evaluated_images == 26_032
    assert all(each.evaluated_images <= each.test_images for each in conditions.values())


def test_the_accuracies_of_the_confusion_matrices():
    matrices = published_matrices()
    assert len(matrices) == 16
    assert matrices["cifar10", "resnet"] == pytest.approx(78.1, abs=0.05)
