"""int8 networks: exact weights, plain tensors on disk, and one line where there can be none."""

import contextlib
import copy
import io
import types
import warnings

import pytest
import torch
from timm.layers import DropPath
from torch import nn
from torch.ao.quantization import disable_observer
from torchvision.ops import StochasticDepth

from harness.catalog import load_model
from harness.compression import quantization
from harness.compression.quantization import convert, prepare, with_any_ranges
from harness.errors import RequestError
from harness.measure.memory import measure_peak_mb, measure_weights_mb
from harness.measure.operations import count_macs, count_parameters
from harness.networks.weights import load_state, read_tensors, write_state
from harness.spec import QuantizedNetwork
from harness.verification.recompute import _count
from tests import commands


@pytest.fixture
def int8(tiny, images):
    return with_any_ranges(tiny, "x86", images)


def test_weights_are_rounded_to_one_scale_a_channel(images):
    conv = nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([1.275, -0.4]).reshape(2, 1, 1, 1))
        conv.bias.copy_(torch.tensor([0.5, -0.25]))
    state = with_any_ranges(nn.Sequential(conv), "x86", images).state_dict()
    # Symmetric: the range reaches as far to either side, over 255 steps.
    assert torch.allclose(state["graph.0.weight_scales"], torch.tensor([0.01, 0.8 / 255]))
    assert state["graph.0.weight"].flatten().tolist() == [127, -128]
    assert state["graph.0.weight_zero_points"].tolist() == [0, 0]
    assert state["graph.0.bias"].tolist() == [0.5, -0.25]


def test_convolution_batch_norm_and_activation_are_one_layer(int8):
    layers = [type(part).__name__ for part in int8.graph.modules()]
    assert layers.count("ConvReLU2d") == 2
    assert not {"BatchNorm2d", "Conv2d", "ReLU"} & set(layers)


def test_it_is_counted_as_its_float_network_and_weighed_as_it_is(tiny, int8):
    image = torch.zeros(1, 1, 8, 8)
    counted, whole = _count(int8, image), _count(tiny, image)
    # Each of 128 channels had a weight and a bias in a batch norm, and now has one in its layer.
    assert counted["params"] == whole["params"] - 128
    assert counted["gmacs"] == whole["gmacs"] > 0
    assert measure_weights_mb(int8) < 0.1 * counted["weights_mb"]
    assert counted["weights_mb"] < 0.3 * whole["weights_mb"]


def test_weights_are_packed_anew_for_images_of_another_shape_alone(int8, images):
    layer = next(part for part in int8.graph.modules() if hasattr(part, "set_weight_bias"))
    with torch.inference_mode():
        whole = int8(images)
        packed = layer._packed_params
        assert int8(images).equal(whole)
        assert layer._packed_params is packed
        assert torch.allclose(int8(images[:1]), whole[:1], atol=1e-5)
        assert layer._packed_params is not packed
        assert int8(images).equal(whole)


def test_all_is_plain_and_int8_takes_a_quarter(int8):
    state = int8.state_dict()
    assert all(type(value) in (torch.Tensor, nn.Parameter) for value in state.values())
    assert not any(value.is_quantized for value in state.values())
    # 9·64 and 9·64·64 weights of convolutions, 64·3 of the linear layer.
    weights = sum(v.numel() for v in state.values() if v.dtype == torch.int8 and v.ndim > 1)
    assert weights == 9 * 64 + 9 * 64 * 64 + 64 * 3


def test_a_saved_network_gives_the_same_logits(int8, tiny, images, tmp_path):
    path = tmp_path / "w.safetensors"
    write_state(path, int8)
    again = with_any_ranges(tiny, "x86", torch.zeros(1, 1, 8, 8))
    assert not torch.equal(again(images), int8(images))
    load_state(again, read_tensors(path), str(path))
    assert torch.equal(again(images), int8(images))
    assert torch.equal(copy.deepcopy(again)(images), int8(images))


def test_float_weights_do_not_fit(int8, tiny, tmp_path):
    path = tmp_path / "w.safetensors"
    write_state(path, tiny)
    with pytest.raises(RequestError, match="not weights of this network: lacks graph"):
        load_state(int8, read_tensors(path), str(path))
    wrong = int8.state_dict() | {"graph.3.weight": torch.zeros(5, 64, 3, 3, dtype=torch.int8)}
    with pytest.raises(RequestError, match=r"graph.3.weight has shape \(5, 64, 3, 3\)"):
        load_state(int8, wrong, "file")


def test_it_is_counted_on_its_float_layers(int8, tiny, images):
    assert isinstance(int8, QuantizedNetwork)
    counted = int8.float_network()
    assert count_macs(counted, images[:1]) == count_macs(tiny, images[:1])
    # Batch norm is folded: weights, and a bias for each channel and class.
    assert count_parameters(counted) == 9 * 64 + 64 + 9 * 64 * 64 + 64 + 64 * 3 + 3
    assert all(parameter.is_meta for parameter in counted.parameters())


def test_int8_gives_what_was_trained_for(tiny, images):
    fake = prepare(tiny, "x86", images)
    fake.apply(disable_observer).eval()
    with torch.no_grad():
        before = fake(images)
    int8 = convert(fake, tiny, "x86", (1, 8, 8))
    assert torch.allclose(int8(images), before, atol=2e-2 * before.abs().max().item())
    assert torch.equal(fake(images), before)
    # Ranges are frozen: larger images do not widen them.
    fake(100 * images)
    assert torch.equal(fake(images), before)


def test_the_engine_is_put_back(tiny, images):
    before = torch.backends.quantized.engine
    with_any_ranges(tiny, "qnnpack", images)
    assert torch.backends.quantized.engine == before


def test_a_backend_that_is_not_there(tiny, images, monkeypatch):
    backends = types.SimpleNamespace(quantized=types.SimpleNamespace(supported_engines=["none"]))
    monkeypatch.setattr(quantization.torch, "backends", backends)
    with pytest.raises(
        RequestError, match="torch has no x86 kernels for this CPU; there are: none"
    ):
        prepare(tiny, "x86", images)


class NeedsData(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 3)

    def forward(self, images):
        return self.head(images.flatten(1)) * (2 if images.sum() > 0 else 1)


def test_what_cannot_be_quantised(images):
    with pytest.raises(RequestError, match=r"cannot be quantised: its graph .*\) *$"):
        with_any_ranges(NeedsData(), "x86", images)
    with pytest.raises(RequestError, match="none of its layers has int8 kernels"):
        with_any_ranges(nn.Sequential(nn.Flatten(), nn.LayerNorm(64)), "x86", images)


def quantize_where_warnings_are_errors():
    warnings.simplefilter("error")
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    images = torch.randn(2, 1, 8, 8)
    with contextlib.redirect_stderr(io.StringIO()) as said:
        int8 = with_any_ranges(network.eval(), "x86", images)
        int8.load_state_dict(copy.deepcopy(int8).state_dict())
        int8(images)
    assert said.getvalue() == ""


def test_no_warning_reaches_the_user():
    # Torch warns once a process.
    child = commands._FORKS.Process(target=quantize_where_warnings_are_errors)
    child.start()
    child.join()
    assert child.exitcode == 0


def _around(layer):
    """Return a network with a layer between two convolutions."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, 2, 1), layer, nn.Conv2d(16, 8, 3, 2, 1), layer),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)),
    )


class _Functional(nn.Module):
    """Does in training alone what a graph must not keep: dropout, a branch, a view of its maps."""

    def __init__(self):
        super().__init__()
        self.convolution, self.head = nn.Conv2d(3, 16, 3, 2, 1), nn.Linear(16 * 64, 10)

    def forward(self, images):
        maps = self.convolution(images).relu()
        maps = nn.functional.dropout(maps, 0.5, training=self.training)
        if self.training:
            maps = maps + torch.randn_like(maps)
        return self.head(maps.view(maps.size(0), -1))


_LAYERS = {
    **{each.__name__: each for each in (nn.ReLU, nn.ELU, nn.PReLU, nn.LeakyReLU, nn.Hardswish)},
    **{each.__name__: each for each in (nn.SiLU, nn.GELU, nn.Sigmoid, nn.Tanh, nn.Mish)},
    "Softmax": lambda: nn.Softmax(1),
    "Dropout": nn.Dropout,
    "StochasticDepth": lambda: StochasticDepth(0.5, "row"),
    "DropPath": lambda: DropPath(0.5),
}


@pytest.mark.parametrize("name", [*_LAYERS, "GroupNorm", "InstanceNorm2d", "functional"])
def test_a_saved_network_is_the_same_and_is_near_the_float_one(name, tmp_path):
    def build():
        torch.manual_seed(0)
        if name == "functional":
            return _Functional().eval()
        if name in _LAYERS:
            return _around(_LAYERS[name]()).eval()
        norm = nn.GroupNorm(4, 16) if name == "GroupNorm" else nn.InstanceNorm2d(16)
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), norm, nn.Flatten(), nn.Linear(16 * 64, 10)
        ).eval()

    network, images = build(), torch.randn(4, 3, 16, 16)
    int8 = with_any_ranges(network, "x86", images)
    write_state(tmp_path / "w.safetensors", int8)
    again = with_any_ranges(build(), "x86", torch.zeros(1, 3, 16, 16))
    load_state(again, read_tensors(tmp_path / "w.safetensors"), "here")
    logits = int8(images)
    assert torch.equal(logits, int8(images))
    assert torch.equal(logits, again(images))
    expected = network(images)
    assert (logits - expected).abs().max() < 0.1 * expected.abs().max()


def test_peak_memory_does_not_depend_on_the_calls_before(int8, images):
    image = images[:1]
    before = measure_peak_mb(int8, image, on_meta=False)
    int8(images)
    assert measure_peak_mb(int8, image, on_meta=False) == before


@pytest.mark.slow
@pytest.mark.parametrize("base", ["resnet", "mobilenet", "efficientnet", "vgg_bn"])
def test_saved_networks_of_the_documented_bases_are_the_same(base, tmp_path):
    def build():
        torch.manual_seed(0)
        return load_model(base).build(10, 3, False).eval()

    images = torch.randn(2, 3, 32, 32)
    int8 = with_any_ranges(build(), "x86", images)
    write_state(tmp_path / "w.safetensors", int8)
    again = with_any_ranges(build(), "x86", torch.zeros(1, 3, 32, 32))
    load_state(again, read_tensors(tmp_path / "w.safetensors"), "here")
    logits = int8(images)
    assert torch.equal(logits, int8(images))
    assert torch.equal(logits, again(images))
