"""The search space of `--tune`: what a file may say, and what trials draw."""

import dataclasses

import pytest
import torch

from harness.errors import RequestError
from harness.settings import load_settings
from harness.tuning.space import held_out_rows, load_space, read_budget

SPACE = """
all:
  held_out: 0.25
  images: 100
  epochs: 2
  fixed: {training.optimizer: adamw}
  search:
    training.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}
    training.cutout: {choices: [null, [1, 8]]}
digits:
  search:
    training.shift_pixels: {choices: [0, 2]}
models:
  vgg:
    because: it has no normalization
    search:
      training.learning_rate: {low: 1.0e-5, high: 1.0e-3, log: true}
"""


def written(folder, text):
    path = folder / "space.yaml"
    path.write_text(text)
    return path


def test_sections_add_up_and_a_model_may_have_its_own(tmp_path):
    path = written(tmp_path, SPACE)
    space = load_space("digits", "resnet", path, "40x3")
    assert (space.images, space.epochs, space.because) == (40, 3, "")
    assert list(space.search) == [
        "training.learning_rate",
        "training.cutout",
        "training.shift_pixels",
    ]
    assert "training.shift_pixels" not in load_space("emnist", "resnet", path).search
    own = load_space("digits", "vgg", path)
    assert own.because == "it has no normalization"
    assert own.search["training.learning_rate"].high == 1e-3
    assert own.digest != space.digest == load_space("digits", "deit", path).digest


def test_the_space_of_the_project_suits_every_data_set():
    for dataset in ("digits", "cifar10", "emnist", "svhn", "fashion_mnist"):
        space = load_space(dataset, "resnet")
        usual = space.usual(load_settings(dataset, "resnet"))
        assert set(space.search) <= set(usual)


def test_a_recipe_in_the_space_is_encoded_and_read_back(tmp_path):
    space = load_space("digits", "resnet", written(tmp_path, SPACE))
    recipe = {"training.learning_rate": 1e-3, "training.cutout": (1, 8), "training.shift_pixels": 2}
    encoded = space.encode(recipe)
    assert encoded == {
        "training.learning_rate": 0.001,
        "training.cutout": "[1, 8]",
        "training.shift_pixels": "2",
    }
    assert space.decode(encoded) == {**recipe, "training.cutout": [1, 8]}
    assert space.encode(recipe | {"training.learning_rate": 1.0}) is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("training.cutout", "training.cutot", "did you mean training.cutout"),
        ("training.cutout", "image_size", "unknown setting to tune"),
        ("training.cutout", "training.epochs", "unknown setting to tune"),
        ("low: 1.0e-4", "low: 1.0", "low < high"),
        ("low: 1.0e-4", "low: 0.0", "above 0"),
        ("held_out: 0.25", "held_out: 1.0", "held_out"),
        ("because: it has no normalization", "", "because"),
        ("vgg:", "vgx:", "unknown model in space.yaml"),
        ("choices: [null, [1, 8]]", "choice: [1]", "choice"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, old, new, words):
    path = written(tmp_path, SPACE.replace(old, new, 1))
    with pytest.raises(RequestError, match=words) as caught:
        load_space("digits", "resnet", path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["4000", "x", "4000x", "0.5x3", "-4x3", "4×3"])
def test_a_wrong_budget_is_one_line(text):
    with pytest.raises(RequestError, match="as 4000x3"):
        read_budget(text)


def test_each_class_gives_its_share_and_keeps_an_image():
    labels = torch.tensor([0] * 8 + [1] * 2 + [2])
    chosen = held_out_rows(labels, 0.25, seed=0)
    assert labels[chosen].bincount(minlength=3).tolist() == [2, 1, 0]
    assert torch.equal(chosen, held_out_rows(labels, 0.25, seed=0))
    assert not torch.equal(chosen, held_out_rows(labels, 0.25, seed=1))


def test_a_digest_is_of_where_is_searched_and_not_of_how_long(tmp_path):
    space = load_space("digits", "resnet", written(tmp_path, SPACE))
    assert dataclasses.replace(space, images=7, epochs=9).digest == space.digest
    assert dataclasses.replace(space, held_out=0.5).digest != space.digest
