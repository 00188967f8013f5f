"""Settings: layers, hashes and what is said about mistakes."""

import dataclasses

import pytest

from harness import settings
from harness.errors import RequestError
from harness.plan.settings import complete_settings
from harness.settings import (
    load_settings,
    parse_assignment,
    recipe_hash,
    setting_names,
    settings_hash,
)
from harness.settings_spec import PruningSettings
from harness.spec import ModelSpec
from harness.util.hashing import hash_json


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "default.yaml").write_text(
        "all: {seed: 1, training: {epochs: 2, batch_size: 8}}\n"
        "digits: {image_size: 32, training: {epochs: 3}}\n"
    )
    (tmp_path / "net.yaml").write_text("digits: {training: {epochs: 4}}\n")
    return tmp_path


def test_later_layers_win_and_earlier_ones_stay(folder):
    found = load_settings("digits", "net", folder=folder)
    assert (found.training.epochs, found.training.batch_size) == (4, 8)
    assert (found.image_size, found.seed) == (32, 1)
    assert load_settings("digits", "other", folder=folder).training.epochs == 3
    assert load_settings("emnist", "net", folder=folder).training.epochs == 2


def test_overrides_come_last(folder):
    found = load_settings("digits", "net", {"training.epochs": 9, "seed": 7}, folder)
    assert (found.training.epochs, found.seed) == (9, 7)


def test_values_are_read_as_yaml():
    assert parse_assignment("training.betas=[0.9, 0.99]") == ("training.betas", [0.9, 0.99])
    assert parse_assignment("training.learning_rate=1e-3")[1] in (1e-3, "1e-3")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"training.epoch": 3}, ["training.epoch", "did you mean training.epochs"]),
        ({"training.epochs": 0}, ["training.epochs", "greater than or equal to 1", "found 0"]),
        ({"training.epochs": "many"}, ["training.epochs", "found 'many'", "command line"]),
        ({"training": 3}, ["training", "found 3"]),
        ({"training.optimizer": "adagrad"}, ["'adam'", "'adamw'", "'sgd'"]),
        ({"training.learning_rate": float("inf")}, ["training.learning_rate", "finite"]),
        ({"weights": "best"}, ["weights", "'published'"]),
    ],
)
def test_a_wrong_setting_is_explained(folder, overrides, words):
    with pytest.raises(RequestError) as caught:
        load_settings("digits", "net", overrides, folder)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("all: {seed: [1", ["net.yaml", "line"]),
        ("- 1", ["net.yaml", "sections wanted"]),
        ("digit: {seed: 1}", ["digit", "did you mean digits"]),
        ("digits: 3", ["net.yaml", "section digits"]),
        ("digits: {sed: 1}", ["sed", "did you mean seed", "net.yaml, digits"]),
    ],
)
def test_a_broken_file_is_named(folder, text, words):
    (folder / "net.yaml").write_text(text)
    with pytest.raises(RequestError) as caught:
        load_settings("digits", "net", folder=folder)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("text", ["training.epochs", "=3", "a=[1"])
def test_a_broken_assignment_is_refused(text):
    with pytest.raises(RequestError, match="--set"):
        parse_assignment(text)


def test_the_recipe_hash_leaves_out_what_weights_do_not_depend_on(folder):
    base = load_settings("digits", "net", folder=folder)
    measured = load_settings("digits", "net", {"measurement.latency_rounds": 50}, folder)
    trained = load_settings("digits", "net", {"training.weight_decay": 0.5}, folder)
    assert settings_hash(base) != settings_hash(measured)
    assert recipe_hash(base) == recipe_hash(measured)
    assert recipe_hash(base) != recipe_hash(trained)


def test_a_cell_does_not_depend_on_how_many_processes_compare_latencies(folder):
    base = load_settings("digits", "net", folder=folder)
    more = load_settings("digits", "net", {"measurement.latency_processes": 9}, folder)
    assert settings_hash(base) == settings_hash(more)


def hashes(folder, **training):
    changes = {f"training.{name}": value for name, value in training.items()}
    changed = load_settings("digits", "net", changes, folder)
    return settings_hash(changed), recipe_hash(changed)


def test_the_number_of_processes_counts_where_each_has_its_own_norm_statistics(folder):
    base = hashes(folder)
    before = dataclasses.asdict(load_settings("digits", "net", folder=folder))
    for name in ("processes", "norm_statistics"):
        del before["training"][name]
    assert settings.stored_settings_hash(before) == base[0]
    assert hashes(folder, processes=2) == hashes(folder, processes=4) == base
    assert hashes(folder, norm_statistics="local") == base
    two, four = (hashes(folder, processes=n, norm_statistics="local") for n in (2, 4))
    assert len({base[0], two[0], four[0]}) == len({base[1], two[1], four[1]}) == 3


def test_one_path_changes_no_hash_and_several_change_no_weights(folder):
    base = load_settings("digits", "net", folder=folder)
    before = dataclasses.asdict(base)
    assert before["evaluation"].pop("beam") == 1
    assert before["evaluation"].pop("beam_threshold") == 0
    assert settings.stored_settings_hash(before) == settings_hash(base)
    found = {settings_hash(base)}
    for values in (
        {"evaluation.beam": 2},
        {"evaluation.beam": 2, "evaluation.beam_threshold": 0.1},
    ):
        other = load_settings("digits", "net", values, folder)
        found.add(settings_hash(other))
        assert recipe_hash(other) == recipe_hash(base)
    assert len(found) == 3


def test_options_that_freeze_nothing_change_no_hash(folder):
    base = load_settings("digits", "net", folder=folder)
    before = dataclasses.asdict(base.training)
    assert (before.pop("freeze_layers"), before.pop("freeze_backbone")) == (0, False)
    assert hash_json(dataclasses.asdict(base.training)) == hash_json(before)
    hashes = {recipe_hash(base)}
    for change in ({"training.freeze_layers": 1}, {"training.freeze_backbone": True}):
        hashes.add(recipe_hash(load_settings("digits", "net", change, folder)))
    assert len(hashes) == 3
    assert hash_json({"shift_pixels": 0}) != hash_json({})


@pytest.mark.parametrize(
    "change",
    [
        {"warmup_epochs": 0.5},
        {"layer_decay": 0.75},
        {"random_resized_crop": [0.35, 1]},
        {"mixup_alpha": 0.2},
        {"cutmix_alpha": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_setting_that_is_younger_than_records_counts_only_where_it_is_set(folder, change):
    base = hashes(folder)
    before = dataclasses.asdict(load_settings("digits", "net", folder=folder))
    assert before["training"].pop(*change) is None
    assert settings.stored_settings_hash(before) == base[0]
    assert not set(hashes(folder, **change)) & set(base)


@pytest.fixture
def compressed(monkeypatch):
    """Make `small` a model that is made from `net`."""
    monkeypatch.setattr(settings, "base_name", {"small": "net"}.get)


def test_a_compressed_model_has_the_recipe_of_its_base(folder, compressed):
    (folder / "small.yaml").write_text("digits: {seed: 5, pruning: {steps: 7}}\n")
    found = load_settings("digits", "small", folder=folder)
    assert (found.training.epochs, found.seed, found.pruning.steps) == (4, 5, 7)
    bare = dataclasses.replace(found, pruning=None, seed=1)
    assert recipe_hash(bare) == recipe_hash(load_settings("digits", "net", folder=folder))
    assert recipe_hash(found) != recipe_hash(dataclasses.replace(found, pruning=None))


def test_a_recipe_of_the_base_is_taken_where_there_is_one(folder, compressed):
    (folder / "small.old.yaml").write_text("digits: {pruning: {speed_up: 3}}\n")
    found = load_settings("digits", "small", folder=folder, recipe="old")
    assert (found.training.epochs, found.pruning.speed_up) == (4, 3)
    (folder / "net.old.yaml").write_text("digits: {training: {epochs: 8}}\n")
    assert load_settings("digits", "small", folder=folder, recipe="old").training.epochs == 8
    (folder / "small.old.yaml").rename(folder / "small.yaml")
    found = load_settings("digits", "small", folder=folder, recipe="old")
    assert (found.training.epochs, found.pruning.speed_up) == (8, 3)
    with pytest.raises(RequestError, match="recipe of small 'oldd': did you mean old"):
        load_settings("digits", "small", folder=folder, recipe="oldd")


def test_sections_are_for_their_models(folder):
    plain = ModelSpec(label="Plain", build=print, image_size=8)
    pruned = dataclasses.replace(plain, label="Pruned", base="net", section="pruning")
    ours = load_settings("digits", "net", folder=folder)
    assert complete_settings(ours, plain, None).pruning is None
    assert complete_settings(ours, pruned, None).pruning == PruningSettings()
    theirs = load_settings("digits", "net", {"pruning.speed_up": 4}, folder)
    assert complete_settings(theirs, pruned, None).pruning.speed_up == 4
    with pytest.raises(RequestError, match="setting pruning: Plain is not pruned"):
        complete_settings(theirs, plain, None)


def test_the_base_of_a_compressed_model_is_trained_as_it_is_by_itself(folder):
    recipe = {"layer_decay": 0.7, "mixup_alpha": 0.2, "warmup_epochs": 0.5, "epochs": 2}
    changes = {f"training.{name}": value for name, value in recipe.items()}
    found = load_settings("digits", "net", changes, folder)
    plain = ModelSpec(label="Plain", build=print, image_size=8)
    pruned = dataclasses.replace(plain, label="Pruned", base="net", section="pruning", fit=print)
    for spec in (plain, pruned):
        assert complete_settings(found, spec, None).training == found.training
    mixed = load_settings("digits", "net", {"pruning.training.mixup_alpha": 0.2}, folder)
    assert complete_settings(mixed, pruned, None).pruning.training.mixup_alpha == 0.2
    slower = load_settings("digits", "net", {"pruning.training.layer_decay": 0.7}, folder)
    with pytest.raises(RequestError, match="Pruned trains in stages of its own and has one learn"):
        complete_settings(slower, pruned, None)


def test_setting_names_are_dotted_and_complete():
    names = setting_names()
    assert {"seed", "training.epochs", "measurement.latency_rounds"} <= set(names)
    assert "training" not in names
