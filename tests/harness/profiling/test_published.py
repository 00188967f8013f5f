"""The published accounting: tiny networks by hand, and the printed digits."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from harness.errors import CellError
from harness.profiling.published import trace_published

IMAGE = 3 * 8 * 8


def test_a_residual_block_by_hand(residual):
    graph = trace_published(*residual)
    macs = IMAGE * 27
    assert [
        (o.name, o.module, o.macs, o.flops, o.input_bytes, o.output_bytes, o.weight_bytes)
        for o in graph.operators
    ] == [
        ("Conv2d", "conv", macs, 2 * macs, 4 * IMAGE, 4 * IMAGE, 4 * 81),
        ("BatchNorm2d", "norm", 0, 5 * IMAGE, 4 * IMAGE, 4 * IMAGE, 4 * 4 * 3),
        ("add", "", 0, IMAGE, 2 * 4 * IMAGE, 4 * IMAGE, 0),
        ("ReLU", "act", 0, IMAGE, 4 * IMAGE, 4 * IMAGE, 0),
    ]
    assert [o.predecessors for o in graph.operators] == [(), (0,), (1,), (2,)]
    assert graph.results == {3}


class Block(nn.Module):
    """What counts and what does not."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.layer = nn.Linear(8, 4)
        self.pool = nn.AdaptiveAvgPool1d(1)

    def forward(self, x):
        attended = self.attention(x, x, x)[0]
        x = torch.softmax(self.layer(self.norm(attended)), -1)
        return self.pool(torch.nn.functional.silu(x)) - x.shape[0]


def test_attention_norms_pooling_and_functions_count_nothing(on_meta):
    graph = trace_published(*on_meta(Block(), 1, 5, 8))
    rows = [
        (o.name, o.flops, o.input_bytes, o.output_bytes, o.weight_bytes) for o in graph.operators
    ]
    assert rows == [
        # It is given the same three times, and returns the attention weights, too: 5×5 of them.
        ("MultiheadAttention", 0, 3 * 4 * 40, 4 * (40 + 25), 0),
        ("LayerNorm", 0, 4 * 40, 4 * 40, 0),
        ("Linear", 2 * 5 * 8 * 4, 4 * 40, 4 * 20, 4 * (32 + 4)),
        ("AdaptiveAvgPool1d", 0, 4 * 20, 4 * 5, 0),
        ("sub", 0, 4 * 5, 4 * 5, 0),
    ]
    # The functions between are no units, but are waited for.
    assert graph.operators[3].predecessors == (2,)


def test_functions_count_as_the_modules_that_compute_the_same(on_meta):
    class Modules(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3, groups=1), nn.BatchNorm2d(4)
            self.act, self.head = nn.ReLU(), nn.Linear(4, 2, bias=False)

        def forward(self, x):
            x = self.act(self.norm(self.conv(x)))
            return self.head(x.mean((2, 3)))

    class Functions(Modules):
        def forward(self, x):
            n, h = self.norm, self.head
            x = functional.conv2d(x, self.conv.weight, bias=self.conv.bias)
            x = functional.batch_norm(x, n.running_mean, n.running_var, n.weight, n.bias).relu_()
            return functional.linear(x.mean((2, 3)), weight=h.weight)

    modules, functions = (
        [
            (o.macs, o.flops, o.input_bytes, o.output_bytes, o.weight_bytes)
            for o in trace_published(*on_meta(network, 2, 3, 6, 6)).operators
        ]
        for network in (Modules(), Functions())
    )
    assert modules == functions
    assert [row[1] for row in modules] == [2 * 128 * 27, 5 * 128, 128, 2 * 16]


def test_numbers_may_be_smaller(residual):
    whole, half = (trace_published(*residual, element_bytes=n).operators[0] for n in (4, 2))
    assert whole.traffic_bytes == 2 * half.traffic_bytes
    assert whole.flops == half.flops


def test_a_network_that_torch_fx_cannot_trace_is_refused_in_one_line(on_meta):
    class Choosing(nn.Module):
        def forward(self, x):
            return x if x.shape[0] > 1 else -x

    with pytest.raises(CellError, match=r"^torch.fx cannot trace it: TraceError: \S+") as caught:
        trace_published(*on_meta(Choosing(), 1, 4))
    assert "\n" not in str(caught.value)
