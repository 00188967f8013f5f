"""Models that come from no list: callables of files and modules, ONNX files, repositories."""

import sys

import pytest
import torch
from torch import nn

from harness.errors import CellError, RequestError
from harness.profiling import hf, profile
from harness.profiling.analysis import Failure, analyse_all
from harness.profiling.names import resolve_names
from harness.profiling.request import Options

FILE = """
import numpy
import torch
from torch import nn
from timm.models.byobnet import RepVggBlock


class Called(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def build(num_classes=2, width=4, act="relu"):
    pool = nn.MaxPool2d(3, 2, padding=1, ceil_mode=True)
    layers = [nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(), pool, nn.GELU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)]
    return nn.Sequential(*layers, *head)


with_lambda = lambda: Called(lambda x: torch.relu(x * 2))


def repvgg():
    return nn.Sequential(RepVggBlock(4, 4), RepVggBlock(4, 8, stride=2))


def with_values():
    return nn.Linear(6, int(torch.ones(3).sum() * numpy.ones(2).sum()))


def number():
    return 3


instance = nn.Conv2d(3, 2, 1)
"""


@pytest.fixture(name="file")
def _file(tmp_path, monkeypatch):
    path = tmp_path / "my_nets.py"
    path.write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    sys.modules.pop("my_nets", None)


def count(name, **options):
    return analyse_all(resolve_names([str(name)]), Options(**({"image_size": 8} | options)))


def test_a_callable_of_a_file_with_arguments(file):
    (row,) = count(f"{file}:build?num_classes=10&width=6&act=gelu")
    assert row.metrics.params == 6 * 28 + 12 + 70
    assert row.metrics.gmacs * 1e9 == pytest.approx(16 * 6 * 27 + 60)
    assert str(row.name) == f"{file}:build?num_classes=10&width=6&act=gelu"


def test_a_callable_of_a_module_a_lambda_and_an_instance(file):
    assert count("my_nets:build")[0].metrics == count(f"{file}:build")[0].metrics
    (called,) = count("my_nets:with_lambda")
    assert [o.name for o in called.graph.operators] == ["mul", "relu"]
    (instance,) = count("my_nets:instance")
    assert instance.metrics.params == 8
    assert instance.graph.operators[0].macs == 64 * 6


def test_both_forms_of_a_re_parameterised_network_by_hand(file):
    trained, deployed = count("my_nets:repvgg", channels=4)
    # Branches of 3×3 and 1×1, each with its norm, and a norm of the input where shapes allow.
    assert trained.metrics.params == (144 + 8 + 16 + 8 + 8) + (288 + 16 + 32 + 16)
    assert trained.metrics.gmacs * 1e9 == pytest.approx(64 * (144 + 16) + 16 * (288 + 32))
    assert deployed.metrics.params == 144 + 4 + 288 + 8
    assert deployed.metrics.gmacs * 1e9 == pytest.approx(64 * 144 + 16 * 288)
    assert [str(row.name) for row in (trained, deployed)] == [
        "my_nets:repvgg (train)",
        "my_nets:repvgg (deploy)",
    ]
    (only,) = count("my_nets:repvgg", channels=4, form="deploy")
    assert only.metrics == deployed.metrics


def test_what_is_no_network_says_so(file):
    (row,) = count("my_nets:number")
    assert row == Failure(name=row.name, reason="my_nets:number returns a int, not an nn.Module")
    (row,) = count("my_nets:build?depth=3")
    assert "unexpected keyword argument 'depth'" in row.reason


def test_a_callable_that_is_not_there_or_a_broken_file(file):
    with pytest.raises(RequestError, match="callable of my_nets 'bild': did you mean build"):
        resolve_names(["my_nets:bild"])
    broken = file.with_name("broken.py")
    broken.write_text("raise SystemExit(3)")
    with pytest.raises(RequestError, match="broken.py cannot be imported: SystemExit: 3"):
        resolve_names([f"{broken}:build"])


def test_profile_takes_a_module_and_leaves_it_as_it_is():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).train()
    found = profile(network, torch.zeros(2, 3, 10, 10), training=True)
    assert found.metrics.gmacs * 1e9 == pytest.approx(2 * 64 * 8 * 27)
    assert [layer.params for layer in found.layers()] == [224, 16]
    assert found.saved_bytes["0"] == 4 * 2 * 300
    assert network.training
    assert network[0].weight.device.type == "cpu"
    bilinear = nn.Bilinear(3, 4, 5)
    two = (torch.zeros(2, 3), torch.zeros(2, 4))
    by_name = {"input1": two[0], "input2": two[1]}
    assert profile(bilinear, two).graph == profile(bilinear, by_name).graph
    with pytest.raises(RequestError, match="unknown --precision 'fp8': did you mean fp"):
        profile(bilinear, two, precision="fp8")
    with pytest.raises(RequestError, match="unknown option 'precison': did you mean precision"):
        profile(bilinear, two, precison="fp16")
    with pytest.raises(CellError, match="takes no inputs by name"):
        profile(bilinear, by_name, accounting="published")


@pytest.fixture(name="exported")
def _exported(file, tmp_path):
    pytest.importorskip("onnx")
    import my_nets

    path = tmp_path / "net.onnx"
    axes = {"image": {0: "n", 2: "h", 3: "w"}}
    names = {"input_names": ["image"], "dynamic_axes": axes, "dynamo": False}
    torch.onnx.export(my_nets.build().eval(), (torch.zeros(1, 3, 8, 8),), path, **names)
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_onnx_export_has_the_products_of_its_network(file, exported):
    (network,) = count(f"{file}:build", batch_size=2)
    (export,) = count(exported, batch_size=2)
    assert export.metrics.gmacs == network.metrics.gmacs
    assert export.metrics.activations == network.metrics.activations
    # The norm is folded into the convolution, and its eight parameters with it.
    assert export.metrics.params == network.metrics.params - 8
    assert export.outputs == ((2, 2),)
    assert export.metrics.max_width_channels == 4
    layers = export.layers()
    assert [layer.operators for layer in layers if layer.params] == ["Conv", "Gemm"]
    assert sum(layer.params for layer in layers) == export.metrics.params


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_onnx_file_says_what_it_cannot_take_and_which_operators_have_no_formula(exported):
    import onnx

    assert "it takes any×3×any×any, not 1×5×8×8" in count(exported, channels=5)[0].reason
    assert "the complete accounting only" in count(exported, accounting="published")[0].reason
    logits = onnx.load(exported).graph.output[0].name

    def returning(kind, read, dtype=1):
        """Return the row of the file where an operator makes the output."""
        changed = onnx.load(exported)
        changed.graph.node.append(onnx.helper.make_node(kind, [read], ["made"]))
        changed.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("made", dtype, None))
        path = exported.with_name("changed.onnx")
        onnx.save(changed, path)
        return count(path)[0]

    assert "Det" in returning("Det", logits).reason
    reason = returning("NonZero", logits, 7).reason
    assert reason == "NonZero: the shape of 'made' cannot be inferred"
    assert returning("Hardmax", logits).graph.unknown == ("Hardmax",)
    assert returning("Identity", "image").outputs == ((1, 3, 8, 8),)
    exported.write_bytes(b"no model")
    assert "cannot be read: " in count(exported)[0].reason


def test_a_repository_is_read_from_its_configuration(tmp_path, monkeypatch):
    def write(text):
        (tmp_path / "config.json").write_text(text)
        monkeypatch.setattr(
            "huggingface_hub.hf_hub_download", lambda *_, **__: tmp_path / "config.json"
        )

    write('{"model_type": "resnet", "depths": [1, 1, 1, 1], "layer_type": "basic"}')
    (row,) = count("some/resnet", image_size=32)
    assert str(row.name) == "some/resnet"
    assert row.outputs == ((1, 1000),)
    write('{"architecture": "test_vit", "pretrained_cfg": {"input_size": [3, 160, 160]}}')
    (row,) = count("hf:timm/test_vit.r160_in1k", image_size=None)
    assert row.image_size == 160
    write('{"model_type": "bert"}')
    assert "type 'bert', which is no image classifier" in count("some/bert")[0].reason


def test_a_repository_that_cannot_be_had_is_one_line(monkeypatch):
    def fail(*_, **__):
        raise OSError("no connection\nat all")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(
        RequestError, match="^some/net: its config.json is not in the cache"
    ) as error:
        hf.fetch_config("some/net")
    assert "\n" not in str(error.value)
