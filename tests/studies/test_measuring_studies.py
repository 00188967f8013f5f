"""The studies of measuring: their ways agree, and their figures are what they say."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from harness.plan.duration import count_epochs
from harness.settings import load_settings, parse_assignment
from studies import repeatability, trunk_recipe
from studies.evaluation_speed import compiled_way, eager_way, published_way


def small_network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10)]
    network = nn.Sequential(*layers).eval()
    network(torch.rand(1, 3, 16, 16))
    return network


@pytest.mark.parametrize("count", [8, 11])
def test_all_ways_to_evaluate_choose_the_same_classes(count):
    network = small_network()
    images = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8)
    wanted = published_way(network, 16)(images)
    assert len(wanted) == count
    assert len(set(wanted.tolist())) > 1
    assert torch.equal(eager_way(network, 16, 4)(images), wanted)
    assert torch.equal(compiled_way(network, 16, images[:4], "fp32")(images), wanted)
    low = compiled_way(network, 16, images[:4], "bf16")(images)
    assert (low == wanted).float().mean() > 0.7


def test_variation_is_the_standard_deviation_of_the_ratios_by_method():
    def run(mobilenet, ms):
        return {"loop": {"resnet": 1.0, "mobilenet": mobilenet, "deit": 0.5, "ms": ms}}

    rows = repeatability._render([run(0.1, 10.0), run(0.3, 10.0)], threads=1).splitlines()
    name, mobilenet, deit, ms, worst = [cell.strip() for cell in rows[2].strip("|").split("|")]
    assert name == "loop"
    assert mobilenet == "0.2 ± 70.7%"
    assert (deit, ms, worst) == ("0.5 ± 0.0%", "10 ± 0.0%", "70.7%")


def read_settings(options):
    """Return the settings of `--set key=value` options."""
    assert set(options[::2]) == {"--set"}
    return dict(map(parse_assignment, options[1::2]))


def test_each_recipe_is_valid_and_has_one_part_more_than_the_one_before():
    recipes = trunk_recipe._usual(epochs=3, volatility=3.0)
    published, *ours = recipes.values()
    assert published[:2] == ["--recipe", "published"]
    settings = [load_settings("emnist", "trunk", read_settings(options)) for options in ours]
    assert [each.tree.joint is None for each in settings] == [True] * 5 + [False] * 2
    assert settings[-2].tree.joint.epochs == 3
    assert [each.tree.fold for each in settings] == [False] * 6 + [True]
    assert [each.training.balance_classes for each in settings] == [False] + [True] * 6
    assert all(a != b for a, b in pairwise(settings))


TAUGHT = [("efficient", "emnist", 4), ("efficient", "cifar10", 5), ("wide", "cifar10", 5)]


@pytest.mark.parametrize(("recipe", "dataset", "trees"), TAUGHT)
def test_each_recipe_with_a_teacher_is_valid_and_has_the_epochs_of_its_control(
    recipe, dataset, trees
):
    control, *parts = [
        load_settings(dataset, "trunk", read_settings(options[2:]), recipe=options[1])
        for options in trunk_recipe._taught(recipe, dataset, epochs=10, every=10).values()
    ]
    assert len(parts) == trees
    assert all(a != b for a, b in pairwise(parts))
    assert control.tree.root_layers == "flat"
    assert control.tree.joint.epochs == count_epochs(parts[0]) - parts[0].training.epochs
    assert {count_epochs(each) for each in parts} == {count_epochs(parts[0])}
    mirrored = [each.tree.joint.horizontal_flip for each in parts]
    assert mirrored == [dataset == "cifar10"] + [False] * (trees - 1)


@pytest.mark.parametrize(
    ("name", "dataset", "epochs"),
    [("efficient", "emnist", 24), ("efficient", "cifar10", 40), ("wide", "cifar10", 22)],
)
def test_the_last_of_the_recipes_with_a_teacher_is_that_of_configs(name, dataset, epochs):
    recipe = load_settings(dataset, "trunk", {}, recipe=name)
    *_, last = trunk_recipe._taught(name, dataset, epochs, every=1).values()
    assert load_settings(dataset, "trunk", read_settings(last[2:]), recipe=name) == recipe


def test_a_folder_is_thinned_in_training_alone(tmp_path):
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            for index in range(5):
                (tmp_path / "images" / part / name / f"{index}.png").write_bytes(b"x")
    thinned = trunk_recipe._thin(tmp_path / "images", 2, tmp_path)
    kept = {part: len(list((thinned / part).glob("*/*"))) for part in ("train", "test")}
    assert kept == {"train": 6, "test": 10}
    assert trunk_recipe._thin(tmp_path / "images", 2, tmp_path) == thinned
