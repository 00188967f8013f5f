"""Every wrong request is one line, exit code 2, and leaves nothing behind."""

import dataclasses

import numpy as np
import pytest

from harness import commands
from harness.catalog import load_model
from harness.plan import jobs
from harness.records.cell import CELLS
from harness.registry import load_dataset
from tests.refusals import make_request, refuse

LOCAL = ["training.norm_statistics=local"]


def write_npz(path, **changes):
    images = np.zeros((6, 8, 8), np.uint8)
    labels = np.arange(6) % 3
    arrays = {
        "train_images": images,
        "train_labels": labels,
        "test_images": images,
        "test_labels": labels,
        "classes": np.array(["a", "b", "c"]),
    }
    np.savez(path, **{k: v for k, v in (arrays | changes).items() if v is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": ["resnt"]}, ["unknown model 'resnt'", "did you mean resnet"]),
        ({"datasets": ["digit"]}, ["unknown data set 'digit'", "did you mean digits"]),
        ({"models": []}, ["--model is missing"]),
        ({"datasets": []}, ["--dataset is missing"]),
        ({"device": "gpu"}, ["unknown device 'gpu'", "cuda"]),
        ({"overrides": {"training.epochs": 0}}, ["training.epochs", "found 0"]),
        ({"overrides": {"training.epochs": "x"}}, ["training.epochs", "integer", "found 'x'"]),
        ({"overrides": {"weights": "best"}}, ["weights", "'published'", "found 'best'"]),
        ({"assignments": ["training.epoch=1"]}, ["did you mean training.epochs"]),
        ({"assignments": ["epochs"]}, ["write key=value"]),
        ({"assignments": ["mean=[0.5]"]}, ["mean", "std"]),
        ({"overrides": {"weights": "published"}}, ["no weights were published for digits/resnet"]),
        ({"assignments": ["mean=[0.5, 0.5]", "std=[1, 1]"]}, ["mean", "channel"]),
        ({"models": ["vgg"], "assignments": ["image_size=8"]}, ["image_size 8", "VGG-16"]),
        ({"models": ["vit"], "assignments": ["image_size=33"]}, ["image_size", "33", "16"]),
        ({"assignments": ["tree.volatility=1"]}, ["setting tree: ResNet-50 is no tree"]),
        ({"assignments": ["training.freeze_layers=-1"]}, ["training.freeze_layers", "found -1"]),
        (
            {"assignments": ["training.freeze_layers=6"]},
            ["freeze_layers is 6: ResNet-50 has 5 layer groups to freeze (conv1 to layer4)"],
        ),
        (
            {"models": ["dinov2"], "assignments": ["training.freeze_backbone=true"]},
            ["freeze_backbone: DINOv2-B/14 has no head"],
        ),
        ({"assignments": ["training.processes=0"]}, ["training.processes", "found 0"]),
        ({"assignments": ["training.norm_statistics=own"]}, ["norm_statistics", "found 'own'"]),
        (
            {"assignments": ["training.processes=16", "training.batch_size=15"]},
            ["training.processes: 16 processes need training.batch_size 16 or more, found 15"],
        ),
        (
            {"assignments": [*LOCAL, "training.processes=8", "training.batch_size=15"]},
            ["training.processes: 8 processes need training.batch_size 16 or more, found 15"],
        ),
        (
            {"assignments": ["training.processes=1000", "training.batch_size=1000"]},
            ["training.processes: each of 1000 processes needs a CPU core, and"],
        ),
        (
            {"assignments": ["training.processes=2", "training.micro_batch_size=4"]},
            ["training.processes: training.micro_batch_size goes with 1 process alone"],
        ),
        (
            {"assignments": ["training.processes=2", "training.compile=default"]},
            ["training.processes: training.compile goes with 1 process alone"],
        ),
        (
            {"models": ["trunk"], "assignments": ["training.processes=2"]},
            ["training.processes: the stages of TRUNK train in 1 process alone"],
        ),
        (
            {"models": ["trunk_quantized"], "assignments": ["training.processes=2"]},
            ["training.processes: the stages of TRUNK int8 train in 1 process alone"],
        ),
        (
            {
                "models": ["trunk_quantized"],
                "assignments": ["quantization.calibration_images=null"],
            },
            ["quantization.calibration_images: null; TRUNK int8 is not trained in int8"],
        ),
        (
            {"models": ["trunk"], "assignments": ["tree.grouping.processes=2"]},
            ["tree.grouping.processes: the stages of TRUNK train in 1 process alone"],
        ),
        (
            {"models": ["vgg_pruned"], "assignments": ["pruning.training.processes=2"]},
            ["pruning.training.processes: the stages of", "train in 1 process alone"],
        ),
        (
            {"models": ["trunk"], "assignments": ["training.freeze_layers=1"]},
            ["setting training.freeze_layers: TRUNK trains in stages of its own"],
        ),
        (
            {"models": ["trunk"], "assignments": ["tree.joint.freeze_backbone=true"]},
            ["setting tree.joint.freeze_backbone: TRUNK trains in stages of its own"],
        ),
        (
            {"models": ["trunk"], "assignments": ["tree.joint.compile=default"]},
            ["setting tree.joint.compile: TRUNK trains in stages of its own and runs every node"],
        ),
        ({"assignments": ["pruning.speed_up=2"]}, ["setting pruning: ResNet-50 is not pruned"]),
        ({"assignments": ["quantization.backend=x86"]}, ["ResNet-50 is not quantised"]),
        ({"datasets": ["cifar10"]}, ["cifar10", "offline", "put"]),
        ({"datasets": ["emnist", "svhn"]}, ["emnist", "put"]),
    ],
)
def test_a_wrong_word_is_one_line(capsys, tmp_path, changes, words):
    refuse(capsys, tmp_path, make_request(tmp_path, **changes), *words)


@pytest.mark.parametrize("nothing", ["", ",", " ", " , ,"])
@pytest.mark.parametrize(
    ("field", "kind", "changes"),
    [
        ("models", "model", {}),
        ("datasets", "data set", {}),
        ("seeds", "seed", {}),
        ("runtimes", "runtime", {"measure": "latency"}),
        ("models", "model", {"measure": "latency"}),
        ("datasets", "data set", {"measure": "cost"}),
    ],
)
def test_a_list_that_names_nothing_is_one_line(capsys, tmp_path, nothing, field, kind, changes):
    value = nothing if field == "seeds" else [nothing]
    request = make_request(tmp_path, **{field: value, **changes})
    refuse(capsys, tmp_path, request, f"'{nothing}' names no {kind}")


@pytest.mark.parametrize(
    ("model", "assignment", "words"),
    [
        ("resnet", "training.epochs=1000000000", ["training.epochs", "100000", "1000000000"]),
        ("resnet", "training.batch_size=1000000000", ["training.batch_size", "65536"]),
        ("resnet", "training.micro_batch_size=99999999", ["micro_batch_size", "65536"]),
        ("resnet", "evaluation.batch_size=1000000000", ["evaluation.batch_size", "65536"]),
        ("resnet", "evaluation.beam=2", ["evaluation.beam: ResNet-50 is no tree", "found 2"]),
        ("resnet", "evaluation.beam_threshold=0.1", ["evaluation.beam_threshold: ResNet-50 is"]),
        ("resnet_quantized", "evaluation.beam=3", ["evaluation.beam: ResNet-50 int8 is no tree"]),
        ("trunk", "evaluation.beam=0", ["evaluation.beam", "found 0"]),
        ("trunk", "evaluation.beam=1.5", ["evaluation.beam", "found 1.5"]),
        ("trunk", "evaluation.beam_threshold=0.1", ["beam_threshold: found 0.1", "beam is 1"]),
        ("trunk", "evaluation={beam: 2, beam_threshold: 1.1}", ["beam_threshold", "found 1.1"]),
        ("resnet", "threads=1000000000", ["threads", "1024"]),
        ("resnet", "image_size=1000000", ["image_size", "4096"]),
        ("resnet", "seed=4294967296", ["seed", "4294967295"]),
        ("resnet", "measurement.latency_rounds=1.0e+30", ["latency_rounds", "integer"]),
        ("resnet", "measurement.latency_rounds=1000000001", ["latency_rounds", "1000000"]),
        ("resnet", "measurement.latency_seconds=1.0e+30", ["latency_seconds", "86400"]),
        ("resnet", "measurement.latency_processes=999999", ["latency_processes", "1000"]),
        ("resnet", "measurement.throughput_batch_sizes=[]", ["throughput_batch_sizes", "1 item"]),
        ("resnet", "measurement.throughput_batch_sizes=[1, 99999999]", ["batch_sizes", "65536"]),
        ("resnet", "training.shift_pixels=32", ["shift_pixels: 32", "images have 32", "most 31"]),
        ("resnet", "training.shift_pixels=1000000", ["training.shift_pixels", "4096"]),
        ("resnet", "training.cutout=[1, 33]", ["training.cutout: 33", "at most 32"]),
        ("resnet", "training.cutout=[1000000, 1]", ["training.cutout", "100"]),
        ("resnet", "training.warmup_epochs=0", ["training.warmup_epochs", "greater than 0"]),
        ("resnet", "training.warmup_epochs=1000000", ["training.warmup_epochs", "100000"]),
        ("resnet", "training.layer_decay=1", ["training.layer_decay", "less than 1"]),
        ("resnet", "training.random_resized_crop=[0, 1]", ["random_resized_crop", "than 0"]),
        ("resnet", "training.random_resized_crop=[0.1, 2]", ["random_resized_crop", "to 1"]),
        (
            "resnet",
            "training.random_resized_crop=[1, 0.1]",
            ["training.random_resized_crop: [1, 0.1]: the smaller share comes first"],
        ),
        ("resnet", "training.mixup_alpha=0", ["training.mixup_alpha", "0.01"]),
        ("resnet", "training.cutmix_alpha=.inf", ["training.cutmix_alpha", "finite"]),
        *(
            ("trunk", f"{recipe}.{key}=1", [f"{recipe}.{key}: TRUNK trains", "one class an image"])
            for recipe in ("training", "tree.grouping", "tree.joint")
            for key in ("mixup_alpha", "cutmix_alpha")
        ),
        *(
            (model, f"{recipe}.layer_decay=0.7", [recipe, "one learning rate for all layers"])
            for model, recipe in (
                *(("trunk", "training"), ("trunk", "tree.joint")),
                *(("vgg_pruned", "pruning.training"),),
                *(("resnet_quantized", "quantization.training"),),
            )
        ),
        ("trunk", "tree.grouping.shift_pixels=40", ["tree.grouping.shift_pixels", "most 31"]),
        ("trunk", "tree.feature_views=1000000", ["tree.feature_views", "1000"]),
        ("vgg_pruned", "pruning.steps=1000000000", ["pruning.steps", "100000"]),
        ("vgg_pruned", "pruning.training.cutout=[1, 64]", ["pruning.training.cutout", "most 32"]),
        ("resnet", f"seed={'9' * 5000}", ["--set 'seed=9", "limit"]),
        ("resnet", f"mean={'[' * 5000}", ["--set 'mean=[[", "nested too deeply"]),
        ("resnet", "mean=&a [*a]", ["--set", "aliases that recur"]),
        ("resnet", "training=&a {epochs: 1, again: *a}", ["--set", "aliases that recur"]),
        ("resnet", f"mean={'[' * 50}{']' * 50}", ["--set", "more than 20 levels"]),
        ("resnet", "seed=2026-13-45", ["--set 'seed=2026-13-45'", "not YAML: month"]),
        ("resnet", "seed=!!python/object:os.system {}", ["--set", "not YAML", "could not"]),
    ],
)
def test_a_number_or_a_tree_without_measure_is_one_line(capsys, tmp_path, model, assignment, words):
    request = make_request(tmp_path, models=[model], assignments=[assignment])
    refuse(capsys, tmp_path, request, *words)


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["schedule=one_cycle"], "but one_cycle has a warm-up of its own: set training.warmup_fr"),
        (["schedule=cosine", "epochs=3"], "training.warmup_epochs: 3, but training.epochs is 3"),
        (["schedule=constant", "epochs=2"], "but training.epochs is 2: fewer wanted"),
        (["schedule=cosine", "cosine_epochs=2"], "but training.cosine_epochs is 2"),
        (["schedule=step", "step_epochs=[5, 2]"], "but training.step_epochs is 2"),
    ],
)
def test_a_warm_up_that_does_not_fit_the_schedule_is_one_line(capsys, tmp_path, assignments, words):
    chosen = [f"training.{each}" for each in ("epochs=9", "warmup_epochs=3", *assignments)]
    refuse(capsys, tmp_path, make_request(tmp_path, assignments=chosen), words)


@pytest.mark.parametrize("seeds", ["4294967296", "9" * 5000])
def test_a_seed_that_no_generator_takes(capsys, tmp_path, seeds):
    refuse(capsys, tmp_path, make_request(tmp_path, seeds=seeds), "the largest seed is 4294967295")


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("tree.volatility=0", ["tree.volatility", "found 0"]),
        ("tree.volatility=-1", ["tree.volatility", "greater than 0"]),
        ("tree.volatility=.nan", ["tree.volatility", "finite", "nan"]),
        ("tree.volatility=x", ["tree.volatility", "number", "'x'"]),
        ("tree.volatilty=1", ["did you mean tree.volatility"]),
        ("tree.backbone=vgg16", ["tree.backbone", "'vgg'", "found 'vgg16'"]),
    ],
)
def test_a_wrong_setting_of_a_tree_is_one_line(capsys, tmp_path, assignment, words):
    request = make_request(tmp_path, models=["trunk"], assignments=[assignment])
    refuse(capsys, tmp_path, request, *words)


@pytest.mark.parametrize(
    ("model", "changes", "words"),
    [
        ("vgg_pruned", {"assignments": ["pruning.speed_up=1"]}, ["pruning.speed_up", "than 1"]),
        ("vgg_pruned", {"assignments": ["pruning.steps=0"]}, ["pruning.steps", "found 0"]),
        ("vgg_pruned", {"assignments": ["pruning.importance=l2"]}, ["'l1'", "'group_norm'"]),
        ("vgg_pruned", {"assignments": ["quantization.backend=x86"]}, ["not quantised"]),
        ("vgg_pruned", {"assignments": ["image_size=4"]}, ["image_size 4", "VGG-16-BN pruned"]),
        (
            "vgg_pruned",
            {"overrides": {"weights": "published"}},
            ["published for digits/vgg_pruned"],
        ),
        ("resnet_quantized", {"assignments": ["quantization.backend=x87"]}, ["'onednn'", "'x87'"]),
        ("resnet_quantized", {"assignments": ["pruning.speed_up=2"]}, ["int8 is not pruned"]),
        (
            "resnet_quantized",
            {"assignments": ["evaluation.precision=bf16"]},
            ["ResNet-50 int8 runs in int8, not in bf16"],
        ),
        (
            "resnet_quantized",
            {"overrides": {"weights": "published"}, "assignments": ["evaluation.precision=bf16"]},
            ["ResNet-50 with observers runs in fp32, not in bf16"],
        ),
    ],
)
def test_a_wrong_word_on_a_compressed_model_is_one_line(capsys, tmp_path, model, changes, words):
    refuse(capsys, tmp_path, make_request(tmp_path, models=[model], **changes), *words)


def test_an_unknown_recipe_is_one_line(capsys, tmp_path):
    request = make_request(tmp_path, models=["trunk"], recipe="publishd")
    refuse(capsys, tmp_path, request, "recipe of trunk 'publishd'", "did you mean published")


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="a CUDA device is here")
def test_cuda_without_a_device(capsys, tmp_path):
    request = make_request(tmp_path, device="cuda")
    refuse(capsys, tmp_path, request, "--device cuda", "no CUDA device")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_labels": None}, ["train_labels", "missing"]),
        ({"train_labels": np.zeros(4, np.int64)}, ["train_labels", "4", "6"]),
        ({"train_labels": np.array([0, 1, 2, 3, 0, 1])}, ["train_labels", "3"]),
        ({"train_labels": np.array([0, 1, 0, 1, 0, 1])}, ["'c'"]),
        ({"train_images": np.zeros((6, 8, 8), np.float32)}, ["train_images", "float32", "uint8"]),
        ({"train_images": np.zeros((6, 8), np.uint8)}, ["train_images", "6×8", "N×H×W"]),
        ({"classes": np.array(["a"])}, ["class"]),
    ],
)
def test_a_wrong_array_is_named(capsys, tmp_path, changes, words):
    given = tmp_path / "given"
    given.mkdir()
    path = write_npz(given / "mine.npz", **changes)
    request = make_request(tmp_path, datasets=[], data_file=path)
    refuse(capsys, tmp_path, request, "mine.npz", *words)


def test_files_that_cannot_be_data(capsys, tmp_path):
    given = tmp_path / "given"
    (given / "empty").mkdir(parents=True)
    (given / "broken.npz").write_bytes(b"no zip")
    for name, word in (("broken.npz", "broken.npz"), ("empty", "empty"), ("gone.npz", "gone.npz")):
        request = make_request(tmp_path, datasets=[], data_file=given / name)
        refuse(capsys, tmp_path, request, word)


def test_a_file_that_does_not_fit_the_data_set(capsys, tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    path = write_npz(given / "mine.npz")
    refuse(capsys, tmp_path, make_request(tmp_path, data_file=path), "10", "3")
    path = write_npz(given / "digits.npz")
    request = make_request(tmp_path, datasets=[], data_file=path)
    refuse(capsys, tmp_path, request, "--dataset digits")
    request = make_request(tmp_path, datasets=["digits,emnist"], data_file=path)
    refuse(capsys, tmp_path, request, "stands in for one data set")


def test_a_results_folder_that_cannot_be_written_to(capsys, tmp_path):
    (tmp_path / "given").write_text("a file, no folder")
    request = make_request(tmp_path, results_dir=tmp_path / "given" / "results")
    refuse(capsys, tmp_path, request, "results folder", "cannot write")


def test_a_model_that_cannot_run_on_the_device_is_unsupported(capsys, tmp_path, monkeypatch):
    spec = dataclasses.replace(load_model("mobilenet"), devices=("cuda",))
    monkeypatch.setattr(jobs, "load_model", lambda name: spec)
    request = make_request(tmp_path, models=["mobilenet"])
    assert commands.carry_out(request) == 1
    (record,) = CELLS.read_all(tmp_path / "results")
    assert (record.status, record.reason) == ("unsupported", "MobileNetV2 runs on cuda only")
    assert record.accuracy.accuracy_top1 is None
    assert "unsupported" in capsys.readouterr().out


@pytest.mark.parametrize("measure", ["all", "latency"])
def test_of_all_models_those_without_published_weights_are_left_out(capsys, tmp_path, measure):
    names = np.array(load_dataset("emnist").classes)
    images, labels = np.zeros((94, 28, 28), np.uint8), np.arange(94) % 47
    (tmp_path / "given").mkdir()
    changes = {"train_images": images, "test_images": images, "classes": names}
    changes |= {"train_labels": labels, "test_labels": labels}
    changes = {"data_file": write_npz(tmp_path / "given" / "x.npz", **changes)}
    changes |= {"datasets": ["emnist"], "measure": measure, "overrides": {"weights": "published"}}
    request = make_request(tmp_path, models=["all"], **changes)
    assert commands.carry_out(request, plan=True) == 0
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert all(line.startswith("left out: --weights published: ") for line in lines)
    for model in ("efficientnet", "vgg_bn"):
        assert any(f"were published for emnist/{model}; for emnist" in line for line in lines)
        assert f"emnist/{model}" not in printed.out
    assert "resnet" in printed.out

    request = make_request(tmp_path, models=["efficientnet"], **changes)
    refuse(capsys, tmp_path, request, "no weights were published for emnist/efficientnet")
    changes |= {"datasets": ["digits"], "data_file": None}
    request = make_request(tmp_path, models=["all"], **changes)
    refuse(capsys, tmp_path, request, "no weights were published for digits/")
