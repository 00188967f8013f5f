"""What tests of static comparison share: tiny networks on the meta device, and made-up models."""

import pytest
import torch
from torch import nn

from harness.profiling.analysis import Analysis
from harness.profiling.graph import Graph, Operator
from harness.profiling.hardware import Roof
from harness.profiling.metrics import compute_metrics
from harness.profiling.names import ModelName


class Residual(nn.Module):
    """A convolution, a norm, a shortcut and an activation in place."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.act(x + self.norm(self.conv(x)))


def make_operator(**changes):
    fields = {
        "name": "conv2d",
        "module": "layer",
        "macs": 0,
        "flops": 0,
        "input_bytes": 0,
        "output_bytes": 0,
        "weight_bytes": 0,
        "channels": None,
        "predecessors": (),
    }
    return Operator(**(fields | changes))


def make_analysis(name, operators=(), *, source="torchvision", roof=None, **size):
    graph = Graph(operators=tuple(operators), results=frozenset())
    sizes = {"params": 10, "trainable_params": 10, "model_size_mb": 1.0, "peak_activations_mb": 1.0}
    return Analysis(
        name=ModelName(source=source, name=name),
        image_size=224,
        batch_size=1,
        graph=graph,
        metrics=compute_metrics(graph, "complete", roof, **(sizes | size)),
        tensors=(("weight", (2, 5)),),
    )


def on_meta(network, *shape):
    """Return a network and an image for it, without data."""
    return network.to("meta").eval(), torch.empty(shape, device="meta")


@pytest.fixture(name="residual")
def _residual():
    return on_meta(Residual(), 1, 3, 8, 8)


@pytest.fixture(name="roof", scope="session")
def _roof():
    figures = {"peak_gflops_per_s": 100.0, "bandwidth_gb_per_s": 10.0}
    return Roof(name="a device", precision="fp32", source="made up", **figures)


@pytest.fixture(name="on_meta", scope="session")
def _on_meta():
    return on_meta


@pytest.fixture(name="make_operator", scope="session")
def _make_operator():
    return make_operator


@pytest.fixture(name="make_analysis", scope="session")
def _make_analysis():
    return make_analysis
