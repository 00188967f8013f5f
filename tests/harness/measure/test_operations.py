"""Multiply-accumulates, derived by hand for tiny networks, and those of well-known ones."""

import sys

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from harness.errors import CellError, RequestError
from harness.measure.operations import count_macs, count_parameters, measure_operations


class Attention(nn.Module):
    def forward(self, x):
        heads = x.unflatten(-1, (2, 4)).transpose(1, 2)
        return scaled_dot_product_attention(heads, heads, heads)


class SelfAttention(nn.Module):
    def __init__(self, need_weights):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.need_weights = need_weights

    def forward(self, x):
        return self.attention(x, x, x, need_weights=self.need_weights)[0]


class Product(nn.Module):
    """Applies a function to the input without its batch dimension and to 6 numbers."""

    def __init__(self, product):
        super().__init__()
        self.product = product
        self.register_buffer("vector", torch.zeros(6))

    def forward(self, x):
        return self.product(x[0], self.vector)


IN_AND_OUT_PROJECTION = 5 * 8 * 24 + 5 * 8 * 8
TWO_ATTENTION_PRODUCTS = 2 * (2 * 5 * 5 * 4)
FEED_FORWARD = 2 * 5 * 8 * 16

BY_HAND = {
    # 8×8 becomes 4×4; 8 channels of 3·3·3 each
    "conv_stride_padding": (
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        (1, 3, 8, 8),
        4 * 4 * 8 * 27,
    ),
    # 5×5 becomes 3×3; each output channel sees 2 of the 4 inputs
    "conv_groups": (
        nn.Conv2d(4, 8, 3, groups=2),
        (1, 4, 5, 5),
        3 * 3 * 8 * 18,
    ),
    "conv_depthwise": (
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        (1, 6, 4, 4),
        4 * 4 * 6 * 9,
    ),
    "linear_with_bias": (nn.Linear(10, 7), (1, 10), 70),
    "linear_without_bias": (nn.Linear(10, 7, bias=False), (1, 10), 70),
    "attention": (Attention(), (1, 5, 8), TWO_ATTENTION_PRODUCTS),
    "multihead": (
        SelfAttention(need_weights=False),
        (1, 5, 8),
        IN_AND_OUT_PROJECTION + TWO_ATTENTION_PRODUCTS,
    ),
    "encoder_layer": (
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        (1, 5, 8),
        IN_AND_OUT_PROJECTION + FEED_FORWARD + TWO_ATTENTION_PRODUCTS,
    ),
    "matrix_vector": (Product(torch.mv), (1, 4, 6), 24),
    "matrix_vector_plus": (
        Product(lambda x, v: torch.addmv(x[:, 0], x, v)),
        (1, 4, 6),
        24,
    ),
    "vector_vector": (Product(lambda x, v: torch.dot(x[0], v)), (1, 4, 6), 6),
    "sum_of_products": (
        Product(lambda x, _: torch.addbmm(x[:, :4], x[None], x.T[None])),
        (1, 4, 6),
        4 * 6 * 4,
    ),
    "nothing": (nn.ReLU(), (1, 3), 0),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_macs_by_hand(case):
    network, shape, expected = BY_HAND[case]
    operations = measure_operations(network, torch.zeros(shape))
    assert operations.gmacs == expected / 1e9
    assert operations.gflops == 2 * operations.gmacs
    assert count_macs(network, torch.zeros(shape)) == expected


def test_attention_with_returned_weights_counts_the_same():
    network = SelfAttention(need_weights=True)
    macs = count_macs(network, torch.zeros(1, 5, 8))
    assert macs == IN_AND_OUT_PROJECTION + TWO_ATTENTION_PRODUCTS


def test_a_shared_layer_is_counted_each_time_it_runs_and_its_parameters_once():
    layer = nn.Linear(4, 4)
    network = nn.Sequential(layer, layer)
    assert count_macs(network, torch.zeros(1, 4)) == 2 * 16
    assert count_parameters(network) == 16 + 4


def test_a_frozen_parameter_counts():
    assert count_parameters(nn.Linear(4, 3).requires_grad_(False)) == 15


def test_thop_counts_norms_and_leaves_attention_out():
    norm = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    operations = measure_operations(norm, torch.zeros(1, 3, 6, 6))
    assert operations.gmacs == 3456 / 1e9
    assert operations.gmacs_thop == (3456 + 4 * 4 * 4 * 8) / 1e9
    attention = measure_operations(SelfAttention(need_weights=False), torch.zeros(1, 5, 8))
    assert attention.gmacs_thop == 0
    assert not attention.reasons


def test_without_thop_there_is_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "thop", None)
    operations = measure_operations(nn.Linear(10, 7), torch.zeros(1, 10))
    assert operations.gmacs == 70 / 1e9
    assert operations.gmacs_thop is None
    assert operations.reasons["gmacs_thop"].startswith("thop failed: ModuleNotFoundError")


def test_nothing_is_printed(capsys):
    measure_operations(nn.Sequential(nn.Linear(10, 7), nn.Tanh()), torch.zeros(1, 10))
    assert capsys.readouterr() == ("", "")


def test_the_fused_path_is_open_again_afterwards():
    assert torch.backends.mha.get_fastpath_enabled()
    measure_operations(nn.Linear(10, 7), torch.zeros(1, 10))
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_batch_is_refused():
    with pytest.raises(RequestError, match="one image, not a batch of 2"):
        measure_operations(nn.Linear(10, 7), torch.zeros(2, 10))


def test_a_network_whose_path_depends_on_values_is_refused_in_one_line():
    network = Product(lambda x, v: torch.mv(x, v) if x.sum() > 0 else x)
    with pytest.raises(CellError, match=r"^operations cannot be counted on the meta device: \S+"):
        measure_operations(network, torch.zeros(1, 4, 6))


@pytest.mark.parametrize(
    ("name", "gmacs", "gmacs_thop"),
    [("resnet18", 1.814, 1.824), ("mobilenet_v2", 0.301, 0.327), ("vit_b_16", 17.564, 11.286)],
)
def test_well_known_networks_with_1000_classes(name, gmacs, gmacs_thop):
    with torch.device("meta"):
        network = torchvision.models.get_model(name, weights=None)
    operations = measure_operations(network, torch.empty(1, 3, 224, 224))
    assert operations.gmacs == pytest.approx(gmacs, rel=0.005)
    assert operations.gmacs_thop == pytest.approx(gmacs_thop, rel=0.005)
