"""Fairness: which settings count, which are a model's own, and how to make cells equal."""

import dataclasses
from pathlib import Path

import pytest

from harness.errors import RequestError
from harness.jobs import Cell, Job
from harness.records.comparability import (
    compare,
    conditions_of_record,
    describe_budgets,
    describe_fairness,
    require_fair,
)
from harness.registry import model_files, native_image_size
from harness.settings import parse_assignment
from harness.settings_spec import Settings, TrainingSettings, TreeSettings
from harness.spec import ModelSpec
from tests.records import cell_record, changed


def make_settings(image_size=224, tree=None, seed=42, weights="auto", stem=None, **recipe):
    training = TrainingSettings(start="random", **recipe)
    own = {"image_size": image_size, "stem": stem, "tree": tree}
    return Settings(mean=(0.5,), seed=seed, weights=weights, training=training, **own)


LABELS = {
    "resnet": "ResNet-50",
    "resnet_quantized": "ResNet-50 int8",
    "vgg": "VGG-16",
    "trunk": "TRUNK",
}

COMPRESSION = {
    "base": "resnet",
    "method": "quantization",
    **dict.fromkeys(("params_base", "latency_rounds"), 1),
    **dict.fromkeys(("weights_mb_base", "weights_ratio_to_base", "gmacs_base"), 1.0),
    **dict.fromkeys(("gmacs_thop_base", "speed_up_wanted", "speed_up"), 1.0),
    **dict.fromkeys(("latency_ms_p50_base", "latency_ratio_to_base"), 1.0),
    **dict.fromkeys(("latency_ratio_to_base_low", "latency_ratio_to_base_high"), 1.0),
    "latency_drift_base": 0.0,
}


def make_record(model="resnet", *, origin="trained", digest="d" * 64, start="random", **changes):
    settings = make_settings(**changes)
    return cell_record(
        dataset="cifar10",
        model=model,
        label={"resnet": "ResNet-50", "vgg": "VGG-16", "trunk": "TRUNK"}.get(
            model, "ResNet-50 int8"
        ),
        device="cpu",
        status="ok",
        accuracy_top1=90.0,
        weights_origin=origin,
        start=start if origin == "trained" else None,
        image_size=settings.image_size,
        data_sha256=digest,
        settings=dataclasses.asdict(settings),
    )


def test_one_accuracy_is_compared_with_nothing():
    failed = changed(make_record("vgg"), status="failed", accuracy_top1=None)
    assert describe_fairness([make_record(), failed]) is None
    assert describe_fairness([]) is None


def test_equal_settings_are_fair():
    assert describe_fairness([make_record(), make_record("vgg")]) == "yes"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"epochs": 10}, "epochs (6, 10)"),
        ({"batch_size": 128, "weight_decay": 0.5}, "batch_size (16, 128), weight_decay (0, 0.5)"),
        ({"learning_rate": 1e-3}, "learning_rate (0.0001, 0.001)"),
        ({"schedule": "cosine"}, "schedule (constant, cosine)"),
        ({"horizontal_flip": True}, "horizontal_flip (false, true)"),
        ({"rand_augment": (2, 9)}, "rand_augment ([2, 9], none)"),
        ({"precision": "bf16"}, "precision (bf16, fp32)"),
        ({"seed": 7}, "seed (7, 42)"),
        ({"start": "imagenet"}, "start (imagenet, random)"),
        ({"digest": "e" * 64}, "data_sha256 (dddddddd, eeeeeeee)"),
        # Not a size that VGG-16 is built or configured for.
        ({"image_size": 64}, "image_size (64, 224)"),
    ],
)
def test_what_has_to_be_the_same(changes, text):
    assert describe_fairness([make_record(), make_record("vgg", **changes)]) == f"no: {text}"


@pytest.mark.parametrize(
    "changes",
    [
        {"channels_last": False, "fused_optimizer": True, "compile": "default"},
        {"momentum": 0.5},
        {"warmup_fraction": 0.1, "step_epochs": (3,), "step_factor": 0.5},
    ],
)
def test_what_does_nothing_does_not_count(changes):
    assert describe_fairness([make_record(), make_record("vgg", **changes)]) == "yes"


def test_equal_budgets_are_an_answer_of_their_own():
    record = make_record()
    budget = {"trials": 8, "images": 1000, "epochs": 3, "searched": [], "space": "0" * 16}

    def tuned(**changes):
        return changed(record, settings=record.settings.settings | {"tuning": budget | changes})

    text = "8 trials of 1,000 images × 3 epochs in 00000000"
    assert describe_budgets([record]) is None
    assert describe_budgets([record, record]) == "no: no model was tuned"
    assert describe_budgets([record, tuned()]) == f"no: tuning ({text}, none)"
    assert describe_budgets([tuned(), tuned()]) == "yes"
    assert describe_budgets([tuned(), tuned(trials=4)]).startswith("no: tuning (4 trials of 1,000")


def test_what_goes_with_an_optimizer_counts_with_it():
    sgd = {"optimizer": "sgd"}
    pair = [make_record(**sgd), make_record("vgg", **sgd, momentum=0.5, betas=(0.1, 0.2))]
    assert describe_fairness(pair) == "no: momentum (0.5, 0.9)"


def test_what_is_a_models_own_is_named_and_held_against_nobody():
    stages = TreeSettings(volatility=0.5)
    trunk = make_record("trunk", image_size=32, tree=stages)
    text = describe_fairness([make_record(), trunk])
    assert text == "yes; by design of a model: image_size (32, 224), tree (TRUNK)"
    text = describe_fairness([make_record(epochs=4), trunk])
    assert text.startswith("no: epochs (4, 6); by design of a model: image_size")


def test_a_small_stem_is_named_where_not_all_have_it():
    small = make_record(stem="small")
    text = describe_fairness([small, make_record("vgg")])
    assert text == "yes; by design of a model: stem (small)"
    assert describe_fairness([small, make_record("resnet_quantized", stem="small")]) == "yes"
    require_fair([make_pair("a"), make_pair("b", stem="small")])


def make_int8(base_start="random", **changes):
    record = make_record("resnet_quantized", start="resnet", **changes)
    return changed(record, precision="int8", compression=COMPRESSION | {"base_start": base_start})


def test_a_compressed_model_is_as_fair_as_its_base():
    text = describe_fairness([make_record("vgg"), make_int8()])
    assert text == "yes; by design of a model: compression (ResNet-50 int8)"
    text = describe_fairness([make_record("vgg"), make_int8("imagenet", epochs=4)])
    assert text.startswith("no: start (imagenet, random), epochs (4, 6); by design")
    # As ResNet-50 itself: 224 is the size that it is built for.
    text = describe_fairness([make_record("trunk", image_size=32), make_int8()])
    assert text.startswith("yes; by design of a model: image_size (32, 224), compression")


def test_weights_of_others_are_not_compared_by_a_recipe_that_is_not_theirs():
    published = make_record("vgg", origin="published", epochs=99)
    assert describe_fairness([make_record(), published]) == "no: weights (published, trained)"
    untrained = [make_record(origin="random"), make_record("vgg", origin="random", epochs=99)]
    assert describe_fairness(untrained) == "yes"


def test_a_setting_that_came_later_than_a_record_was_at_its_default():
    old = make_record("vgg")
    del old.settings.settings["training"]["balance_classes"]
    assert describe_fairness([make_record(), old]) == "yes"
    new = make_record(balance_classes=True)
    assert describe_fairness([new, old]) == "no: balance_classes (false, true)"


def test_the_values_of_three():
    records = [make_record(epochs=12), make_record("vgg", epochs=4), make_record("trunk", epochs=4)]
    found = compare([conditions_of_record(record) for record in records])
    assert found.differing == {"epochs": ("4", "12")}
    assert not found.fair


def test_image_sizes_of_models_are_read_without_running_them(tmp_path):
    files = model_files()
    assert native_image_size(files["trunk"]) == 32
    assert native_image_size(files["resnet"]) == 224
    for text in ("SPEC = ModelSpec(image_size=SIZE)", "", "def"):
        (tmp_path / "model.py").write_text(text)
        assert native_image_size(tmp_path / "model.py") is None


def make_pair(model, *, start="random", spec=None, **changes):
    settings = make_settings(**changes)
    training = dataclasses.replace(settings.training, start=start)
    job = Job(
        cell=Cell(dataset="digits", model=model, device="cpu"),
        settings=dataclasses.replace(settings, training=training),
        data_dir=Path(),
        data_file=None,
        weights_dir=Path(),
        results_dir=Path(),
        offline=True,
        command="",
    )
    return job, ModelSpec(label=model, build=None, image_size=224, **(spec or {}))


def refusal(*jobs):
    with pytest.raises(RequestError) as caught:
        require_fair(jobs)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_cells_that_are_alike_may_run():
    require_fair([make_pair("a"), make_pair("b", image_size=32)])
    require_fair([make_pair("a"), make_pair("b", image_size=32, tree=TreeSettings())])
    require_fair([])


def test_cells_that_differ_are_refused_with_what_to_set():
    text = refusal(make_pair("a", epochs=4, rand_augment=(2, 9)), make_pair("b", epochs=5))
    assert text.startswith(
        "--fair settings: digits: epochs (4, 5), rand_augment ([2, 9], none) differ"
    )
    assert "between a, b;" in text
    assert text.endswith("--set training.epochs=4 --set 'training.rand_augment=[2, 9]'")


def test_what_is_to_be_set_makes_them_equal():
    one = make_pair("a", optimizer="sgd", momentum=0.5, cutout=None)
    other = make_pair("b", betas=(0.5, 0.6), learning_rate=1e-5, cutout=(1, 8), seed=7)
    text = refusal(one, other)
    options = [part.split(" ", 1)[0].strip("'") for part in text.split("--set ")[1:]]
    made = dict(parse_assignment(option) for option in options)
    assert made == {
        "seed": 42,
        "training.cutout": None,
        "training.learning_rate": 0.0001,
        "training.momentum": 0.5,
        "training.optimizer": "sgd",
    }


def test_a_start_that_not_all_have_is_no_fair_one():
    some, own_way = {"pretrained": "some"}, {"pretrained": "some", "fit": lambda _: None}
    one = make_pair("a", start="auto", spec=some)
    require_fair([one, make_pair("b", start="auto", spec=some)])
    text = refusal(one, make_pair("b", start="auto"))
    assert "start (auto, random)" in text
    assert text.endswith("--set training.start=random")
    assert "start (auto, random)" in refusal(one, make_pair("b", start="auto", spec=own_way))


def test_a_compressed_model_may_run_beside_others():
    some = {"pretrained": "some"}
    int8 = some | {"fit": lambda _: None, "base": "a", "section": "quantization"}
    require_fair([make_pair("a", start="auto", spec=some), make_pair("b", start="auto", spec=int8)])
    text = refusal(make_pair("a", spec=some), make_pair("b", spec=int8, epochs=99))
    assert "epochs (6, 99)" in text


def test_trained_and_published_weights_are_no_fair_pair():
    text = refusal(make_pair("a"), make_pair("b", weights="published"))
    assert text.endswith(
        "weights (published, trained) differ between a, b; the same for all: --weights train"
    )
