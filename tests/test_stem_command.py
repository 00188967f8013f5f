"""`--set stem=small` as a whole command: its weights, its record, and what is made from it."""

import time

import pytest

from harness.records.cell import CELLS
from tests.commands import BRIEF, Running, copy_project, run

NETWORK = '''"""A small network for images larger than the digits are."""

from torch import nn

from harness.spec import ModelSpec


def build(num_classes, in_channels, pretrained):
    return nn.Sequential(
        nn.Conv2d(in_channels, 16, 5, stride=2, padding=2), nn.BatchNorm2d(16), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )


SPEC = ModelSpec(label="Large", build=build, image_size=16, pretrained="SOME_WEIGHTS")
'''
COMPRESSED = '''"""It, compressed."""

from harness.spec import CompressedSpec

SPEC = CompressedSpec(label="Large, less", base="large", compression="{compression}")
'''
CELL = ("comparisons.py", "--dataset", "digits", "--threads", "1", "--offline")
CELL += ("--set", "training.batch_size=128", "--set", "image_size=16")
SMALL = ("--set", "stem=small")
# Images of 16×16 pixels: 16 filters of 5×5 at 8×8 places, 16 of 3×3×16 at 4×4, and the head.
GMACS = (64 * 16 * 25 + 16 * 16 * 144 + 160) / 1e9
# 16 filters of 3×3 at 16×16 places, 16 of 3×3×16 at all of these, and the head.
GMACS_SMALL = (256 * 16 * 9 + 256 * 16 * 144 + 160) / 1e9


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    copy = tmp_path_factory.mktemp("project")
    copy_project(copy)
    for name in ("large", "quantized", "pruned"):
        folder = copy / "monolithic_architectures" / name
        folder.mkdir()
        compression = "quantization" if name == "quantized" else "pruning"
        text = NETWORK if name == "large" else COMPRESSED.format(compression=compression)
        (folder / "model.py").write_text(text)
    return copy


def measure(project, *arguments, model="large"):
    command = (*CELL, *BRIEF, "--model", model, "--epochs", "2", *arguments)
    return run(project, *command)


def read(project, results="results/own", model="large"):
    return CELLS.read(project / results / f"records/digits/{model}-cpu.json")


def test_weights_with_and_without_a_small_stem_never_mix(project):
    random = ("--set", "training.start=random")
    for name, stem in (("own", ()), ("small", SMALL)):
        done = measure(project, *random, *stem, "--results-dir", name)
        assert done.returncode == 0, done.stderr
    own, small = read(project, "own"), read(project, "small")
    assert small.weights.weights_sha256 != own.weights.weights_sha256
    assert len(list((project / "weights/digits").glob("large-*.safetensors"))) == 2
    assert (own.label, small.label) == ("Large", "Large (small stem)")
    assert own.operations.gmacs == pytest.approx(GMACS, abs=1e-12)
    assert small.operations.gmacs == pytest.approx(GMACS_SMALL, abs=1e-12)
    assert small.settings.settings["stem"] == "small"
    assert small.weights.stem_start is None
    for stem in ((), SMALL):
        planned = measure(project, *random, *stem, "--results-dir", "none", "--plan").stdout
        assert "weights trained for 2 epochs are there" in " ".join(
            planned.replace("│", " ").split()
        ), planned


def test_a_killed_training_goes_on_to_the_same_weights(project):
    options = (*SMALL, "--seed", "5", "--set", "training.start=random")
    options += ("--set", "checkpoint_minutes=0", "--results-dir", "killed")
    running = Running(project, *CELL, *BRIEF, "--model", "large", "--epochs", "2", *options)
    while not running.ended and not list((project / "weights/digits").glob("*.checkpoint")):
        time.sleep(0.01)
    running.kill()
    assert list((project / "weights/digits").glob("*.checkpoint"))
    for weights in ("weights", "others"):
        done = measure(project, *options, "--weights-dir", weights, "--results-dir", weights + "r")
        assert done.returncode == 0, done.stderr
    digests = [read(project, f"{name}r").weights.weights_sha256 for name in ("weights", "others")]
    assert digests[0] == digests[1]


def test_the_record_says_that_the_stem_was_not_pre_trained(project):
    start = ("--set", "training.start=imagenet")
    done = measure(project, *SMALL, *start, "--results-dir", "started")
    assert done.returncode == 0, done.stderr
    words = "Large: stem small: the stem starts from random weights, all else from SOME_WEIGHTS"
    assert words in done.stderr
    weights = read(project, "started").weights
    assert (weights.start, weights.stem_start) == ("imagenet", "random")


@pytest.mark.parametrize("model", ["quantized", "pruned"])
def test_a_compressed_model_has_the_stem_of_its_base(project, model):
    recipe = "quantization" if model == "quantized" else "pruning"
    options = ("--set", "training.start=imagenet", "--set", f"{recipe}.training.epochs=1")
    done = measure(project, *SMALL, *options, model=model)
    assert done.returncode == 0, done.stderr
    record = read(project, model=model)
    assert record.label == "Large, less (small stem)"
    assert record.weights.stem_start == "random"
    assert record.compression.base_weights_sha256
    # A pruned one has about half of the operations of its base.
    share = 1 if model == "quantized" else 0.5
    assert record.operations.gmacs == pytest.approx(share * GMACS_SMALL, rel=0.1)


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("vgg", (), "VGG-16: setting stem: it looks at every pixel already (features.0 has"),
        ("vit", ("--set", "image_size=30"), "image_size 30: a multiple of 4 wanted"),
        ("large", ("--set", "stem=large"), "setting stem (command line): Input should be 'small'"),
        ("resnet20", ("--measure", "cost"), "ResNet-20: setting stem: it looks at every pixel"),
        ("resnet20", ("--tune", "2"), "ResNet-20: setting stem: it looks at every pixel"),
    ],
)
def test_what_is_refused(project, model, options, words):
    command = (*CELL, "--model", model, *SMALL, *options, "--results-dir", "none")
    refused = run(project, *command)
    assert (refused.returncode, refused.stdout) == (2, ""), refused.stderr
    assert words in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not (project / "none").exists()
