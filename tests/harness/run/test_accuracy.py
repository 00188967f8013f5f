"""The accuracy pass: whatever is done for speed, the same images get the same classes."""

import dataclasses

import numpy as np
import psutil
import pytest
import torch
from torch import nn

from harness.compression.quantization import with_any_ranges
from harness.data.loading import DataSource, ImageData
from harness.data.splits import MemorySplit
from harness.errors import CellError
from harness.measure.accuracy import evaluate
from harness.run import accuracy, tuning
from harness.run.accuracy import compile_for_batches, measure_accuracy
from harness.settings_spec import EvaluationSettings, Settings
from harness.spec import ModelSpec
from tests import jobs
from trunk.routing import Trunk
from trunk.tree import Node, NodeNetwork, Tree

CLASSES, SIDE, BATCH = 5, 8, 4
COMPILED = "TorchScript with oneDNN Graph, channels last; fp32, batches of 4"
EAGER = "eager, channels last; fp32, batches of 4"
SPEC = ModelSpec(label="Net", build=lambda *_: None, image_size=SIDE)


def make_job(**changes):
    evaluating = EvaluationSettings(**({"batch_size": BATCH} | changes))
    return jobs.make_job(settings=Settings(evaluation=evaluating, threads=1))


def make_data(count, channels=3):
    generator = torch.Generator().manual_seed(count)
    images = torch.randint(0, 256, (count, channels, SIDE, SIDE), generator=generator)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    split = MemorySplit(images.to(torch.uint8), labels)
    source = DataSource(name="mine", sha256="", digest_of="", official=True)
    names = tuple("abcde")
    return ImageData(train=split, test=split, classes=names, channels=channels, source=source)


def make_network():
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16, momentum=1.0), nn.ReLU()),
        *(nn.Conv2d(16, 16, 3, groups=4), nn.Hardswish(), nn.Flatten(), nn.LayerNorm(256)),
        # centred logits, so that every class is some image's
        *(nn.Linear(256, CLASSES), nn.BatchNorm1d(CLASSES, momentum=1.0)),
    )
    network(torch.rand(64, 3, SIDE, SIDE))  # gives batch norm statistics to fold
    return network.eval()


def plain(network, data):
    """Return the accuracy as the plain network gives it, all images in one batch."""
    images = data.test.images.float().div(255)
    return evaluate(network, [(images, data.test.labels)], len(data.classes))


def same(found, wanted):
    rounded = {"predictions", "expected_calibration_error"}
    fields = {field.name for field in dataclasses.fields(found)} - rounded
    assert np.array_equal(found.predictions, wanted.predictions)
    assert len(np.unique(found.predictions)) == CLASSES
    assert all(getattr(found, name) == getattr(wanted, name) for name in fields)
    assert found.expected_calibration_error == pytest.approx(
        wanted.expected_calibration_error, rel=1e-3
    )


def test_the_trials_of_a_search_keep_nothing_in_memory():
    wide = 8192
    layers = (nn.Linear(3 * SIDE * SIDE, wide), nn.Linear(wide, wide // 8), nn.ReLU())
    network = nn.Sequential(nn.Flatten(), *layers, nn.Linear(wide // 8, CLASSES))
    weights, process = sum(p.nbytes for p in network.parameters()), psutil.Process()
    memory = []
    for _ in range(6):
        assert tuning._judge(network, make_job(), SPEC, make_data(128)) > 0
        memory.append(process.memory_info().rss)
    assert memory[-1] - memory[0] < 2 * weights
    assert network.training


@pytest.mark.parametrize("count", [128, 129, 131])
def test_compiled_gives_the_same_classes_whatever_the_last_batch(count):
    network, data = make_network(), make_data(count)
    found, how = measure_accuracy(network, make_job(), SPEC, data)
    assert how.accuracy_method == COMPILED
    assert not how.accuracy_fp32_check
    assert how.evaluation_images_per_s > 0
    same(found, plain(network, data))


def test_few_batches_are_not_worth_compiling(monkeypatch):
    monkeypatch.setattr(accuracy, "trace", None)
    network, data = make_network(), make_data(127)
    found, how = measure_accuracy(network, make_job(), SPEC, data)
    assert how.accuracy_method == EAGER
    same(found, plain(network, data))


def test_int8_keeps_its_kernels(monkeypatch):
    monkeypatch.setattr(accuracy, "trace", None)
    data = make_data(128)
    images = data.test.images.float().div(255)
    int8 = with_any_ranges(make_network(), "x86", images)
    found, how = measure_accuracy(int8, make_job(), SPEC, data)
    method = "int8 kernels of torch, x86, channels last; int8, batches of 4"
    assert how.accuracy_method == method
    same(found, plain(int8, data))


def test_the_network_itself_is_left_as_it_was():
    network, data = make_network(), make_data(128)
    network.train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    measure_accuracy(network, make_job(), SPEC, data)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(part.training for part in network.modules())
    assert network[0].weight.is_contiguous()
    assert not torch.is_autocast_enabled("cpu")
    assert not torch.jit.onednn_fusion_enabled()


class RefusesTracing(nn.Module):
    """Cannot be traced; what it raises then differs from network to network."""

    def __init__(self, error):
        super().__init__()
        self.network, self.error = make_network(), error

    def forward(self, images):
        if torch.jit.is_tracing():
            raise self.error
        return self.network(images)


class WantsWholeNumbers(RefusesTracing):
    """While it is traced, a shape is made of tensors."""

    def forward(self, images):
        if not isinstance(images.shape[2], int):
            raise self.error
        return self.network(images)


class ScalesLayers(nn.Module):
    """Scales what a linear layer returns, as DINOv2 does: oneDNN Graph fails, with torch 2.15."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(make_network(), nn.Linear(CLASSES, CLASSES))
        self.scale = nn.Parameter(torch.linspace(1, 2, CLASSES))

    def forward(self, images):
        return self.network(images) * self.scale


ERRORS = [RuntimeError, NotImplementedError, TypeError, ValueError, AssertionError, KeyError]


@pytest.mark.parametrize(
    ("kind", "error"),
    [(WantsWholeNumbers, TypeError), *((RefusesTracing, error) for error in ERRORS)],
)
def test_what_cannot_be_traced_stays_eager(kind, error):
    network, data = kind(error("no")), make_data(128)
    found, how = measure_accuracy(network, make_job(), SPEC, data)
    assert how.accuracy_method == EAGER
    same(found, plain(network.network, data))


class Branches(RefusesTracing):
    """Does something else with dark images; the first batch does not show it."""

    def __init__(self):
        super().__init__(None)

    def forward(self, images):
        logits = self.network(images)
        return -logits if images.mean() < 0.01 else logits


def test_layers_that_are_scaled_do_not_end_the_evaluation():
    network, data = ScalesLayers().eval(), make_data(128)
    found, _ = measure_accuracy(network, make_job(), SPEC, data)
    same(found, plain(network, data))


def test_a_network_whose_path_depends_on_values_stays_eager():
    network, data = Branches(), make_data(128)
    found, how = measure_accuracy(network, make_job(), SPEC, data)
    assert how.accuracy_method == EAGER
    same(found, plain(network, data))


class Traitor(RefusesTracing):
    """Is another network when traced."""

    def __init__(self, factor):
        super().__init__(None)
        self.factor = factor

    def forward(self, images):
        return self.network(images) * (self.factor if torch.jit.is_tracing() else 1)


@pytest.mark.parametrize(
    ("factor", "words"), [(1.01, r"off by 0\.01 of the largest"), (float("nan"), "off by nan")]
)
def test_another_network_is_not_taken_for_this_one(factor, words):
    network, example = Traitor(factor).eval(), torch.rand(BATCH, 3, SIDE, SIDE)
    with pytest.raises(CellError, match=words):
        compile_for_batches(network, example, "fp32")
    data = make_data(128)
    found, how = measure_accuracy(network, make_job(), SPEC, data)
    assert how.accuracy_method == EAGER
    same(found, plain(network.network, data))


def test_a_compiled_network_takes_smaller_batches():
    network, example = make_network(), torch.rand(BATCH, 3, SIDE, SIDE)
    example = example.contiguous(memory_format=torch.channels_last)
    compiled = compile_for_batches(network, example, "fp32")
    with torch.inference_mode():
        for size in range(1, BATCH + 1):
            images = torch.rand(size, 3, SIDE, SIDE)
            torch.testing.assert_close(compiled(images), network(images), rtol=0, atol=1e-5)


def test_the_fp32_check_counts_what_low_precision_changed():
    """Images are 0, 1 or 255 everywhere; bf16 takes 1 for 0."""

    class Threshold(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(1, 1, bias=False)
            self.linear.weight.data.fill_(1.0)

        def forward(self, images):
            # 1 + 1/255/8 is 1 in bf16, which has eight bits
            more = self.linear(1 + images[:, :1, 0, 0] / 8).float() - 1
            return torch.cat([torch.full_like(more, 1e-6), more], dim=1)

    levels = torch.tensor([0, 1, 255] * 20, dtype=torch.uint8)
    images = levels[:, None, None, None].expand(-1, 1, SIDE, SIDE).contiguous()
    labels = (levels > 0).long()
    split = MemorySplit(images, labels)
    data = dataclasses.replace(make_data(1), test=split, classes=("a", "b"), channels=1)
    job = make_job(precision="bf16", batch_size=7)
    accuracy, how = measure_accuracy(Threshold().eval(), job, SPEC, data)
    assert how.accuracy_method == "eager, channels last; bf16, batches of 7"
    assert how.accuracy_fp32_check == {
        "images": 60,
        "accuracy_fp32": 100,
        "accuracy_bf16": pytest.approx(100 * 2 / 3),
        "changed": 20,
    }
    assert accuracy.confusion_matrix == [[20, 0], [20, 20]]


def test_the_fp32_check_looks_at_some_images_from_all_over(monkeypatch):
    """Test images may be sorted by class."""

    class AlwaysFirst(nn.Module):
        def forward(self, images):
            return torch.eye(CLASSES)[images.new_zeros(len(images), dtype=torch.int64)]

    monkeypatch.setattr(accuracy, "_CHECKED_IMAGES", 10)
    split = MemorySplit(make_data(30).test.images, torch.tensor([0] * 15 + [1] * 15))
    data = dataclasses.replace(make_data(1), test=split)
    _, how = measure_accuracy(AlwaysFirst(), make_job(precision="bf16"), SPEC, data)
    check = how.accuracy_fp32_check
    assert (check["images"], check["changed"]) == (10, 0)
    assert check["accuracy_fp32"] == check["accuracy_bf16"]
    assert 0 < check["accuracy_fp32"] < 100


def test_compiled_in_bf16():
    network, data = make_network(), make_data(130)
    found, how = measure_accuracy(network, make_job(precision="bf16"), SPEC, data)
    assert how.accuracy_method == COMPILED.replace("fp32", "bf16")
    check, exact = how.accuracy_fp32_check, plain(network, data)
    assert check["images"] == 130
    assert check["accuracy_fp32"] == exact.accuracy_top1
    assert check["accuracy_bf16"] == pytest.approx(found.accuracy_top1)
    assert check["changed"] == (found.predictions != exact.predictions).sum() <= 13


def test_a_routed_network_is_evaluated_by_its_routes():
    layers = {"backbone": "compact", "layers": "root", "input_shape": (3, SIDE, SIDE)}
    groups = tuple((label,) for label in range(CLASSES))
    root = Node(path=(), groups=groups, network=NodeNetwork(**layers, outputs=CLASSES))
    torch.manual_seed(0)
    trunk, data = Trunk(Tree(nodes=(root,))).eval(), make_data(128)
    found, how = measure_accuracy(trunk, make_job(), SPEC, data)
    method = "routed, batch norm folded, channels last; fp32, batches of 4"
    assert how.accuracy_method == method
    routed = trunk.route(data.test.images.float().div(255))
    assert found.predictions.tolist() == routed.tolist()


class Contrary(nn.Module):
    """A routed network whose routes end elsewhere than in its highest logit."""

    def __init__(self):
        super().__init__()
        self.network = make_network()

    def forward(self, images):
        return self.network(images)

    def prepare_for_inference(self):
        return self

    def route(self, images):
        return (self(images).argmax(1) + 1) % CLASSES

    def paths(self):
        return ()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_routes_decide_not_logits(precision):
    data = make_data(128)
    found, how = measure_accuracy(Contrary(), make_job(precision=precision), SPEC, data)
    assert how.accuracy_method.startswith("routed")
    wanted = (plain(make_network(), data).predictions + 1) % CLASSES
    different = (found.predictions != wanted).sum()
    assert different == (how.accuracy_fp32_check["changed"] if precision == "bf16" else 0)
    assert different <= 12
