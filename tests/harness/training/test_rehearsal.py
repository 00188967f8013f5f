"""What a network returns is looked at before training, and so is all that can fail after it."""

from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torchvision.models import googlenet
from transformers.modeling_outputs import ImageClassifierOutput

from harness.errors import RequestError
from harness.networks.build import check_fit
from harness.networks.rehearsal import check_logits, take_logits, try_training
from harness.settings_spec import Settings, TrainingSettings
from harness.spec import ModelSpec
from harness.training.rehearsal import rehearse

LOGITS, IMAGES = torch.rand(2, 3), torch.rand(2, 3, 8, 8)


class Batches(SimpleNamespace):
    steps, images = 1, 4

    def epoch(self, number, first_step):
        yield torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(4)


class Net(nn.Module):
    """A convolution and a head, then what a test wants of them."""

    def __init__(self, end=lambda net, maps: net.head(maps.flatten(1))):
        super().__init__()
        self.convolution, self.head = nn.Conv2d(3, 4, 3, 2, 1), nn.Linear(64, 3)
        self.end = end

    def forward(self, images):
        return self.end(self, self.convolution(images))


def rehearsed(end=None, **recipe):
    def build():
        torch.manual_seed(0)
        return Net(end) if end else Net()

    settings, network = TrainingSettings(batch_size=4, **recipe), build()
    before = torch.get_rng_state()
    turned = rehearse(network, Batches(), settings, device="cpu", num_classes=3, build=build)
    # Training draws the same random numbers as without it.
    assert torch.equal(torch.get_rng_state(), before)
    return turned


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({"logits": LOGITS, "features": LOGITS}, r"a dict \(logits, features\).*its \['logits'\]"),
        (OrderedDict(out=LOGITS, aux=LOGITS), r"a OrderedDict \(out, aux\).*its \['out'\]"),
        ((LOGITS, IMAGES), r"a tuple \(2×3, 2×3×8×8\).*its \[0\]"),
        (LOGITS[:, :1], "returns 2×1 for 2 images.*K ≥ 3 classes"),
        (LOGITS[:, :, None, None], r"returns 2×3×1×1 for 2 images.*flatten\(1\) it"),
        (LOGITS.sum(), "returns a single number"),
        (LOGITS.long(), "of type torch.int64"),
        (LOGITS / 0, "not finite, before any training"),
        (None, "a NoneType"),
    ],
)
def test_what_came_out_and_what_is_wanted(output, said):
    with pytest.raises(RequestError, match=said):
        check_logits(output, IMAGES, 3, "training")


def test_the_logits_of_an_output_that_names_them():
    assert take_logits(nn.Identity(), (), ImageClassifierOutput(logits=LOGITS)) is LOGITS
    network = googlenet(num_classes=3, init_weights=False, aux_logits=True)
    network.register_forward_hook(take_logits)
    assert network.train()(torch.rand(2, 3, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (lambda net, maps: net.head(nn.functional.dropout(maps).flatten(1)), "from call to call"),
        (lambda net, maps: net.head((maps - maps.mean(0)).flatten(1)), "images of its batch"),
    ],
)
def test_a_network_whose_answer_for_an_image_is_not_always_the_same_is_named(end, said, caplog):
    rehearsed(end)
    (record,) = caplog.records
    assert said in record.message


def test_a_layout_that_cannot_be_used_is_not():
    assert rehearsed()
    assert not rehearsed(channels_last=False)
    assert not rehearsed(lambda net, maps: net.head(maps.view(len(maps), -1)))
    in_training = lambda net, maps: net.head(  # noqa: E731
        maps.view(len(maps), -1) if net.training else maps.flatten(1)
    )
    assert not rehearsed(in_training)


def drifts(net, maps):
    """Logits that depend on what training leaves outside of the parameters and buffers."""
    if net.training:
        net.steps = getattr(net, "steps", 0) + 1
    return net.head(maps.flatten(1)) + getattr(net, "steps", 0) * torch.arange(3.0)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (drifts, "after saving and loading, logits differ"),
        (lambda net, maps: net.head(maps.view(4, -1)), "cannot be multiplied"),
        (lambda net, maps: net.head(maps.flatten(1).detach()).detach(), "can be trained"),
        (lambda net, maps: net.head(maps.flatten(1) * float("nan")), "not finite"),
    ],
)
def test_what_would_fail_later_fails_now(end, said):
    with pytest.raises(RequestError, match=f"rehearsal of training on 4×3×8×8 numbers: .*{said}"):
        rehearsed(end)


def test_a_network_that_keeps_its_graph_fails_in_the_second_step():
    def remembers(net, maps):
        net.kept = getattr(net, "kept", 0) + maps
        return net.head(net.kept.flatten(1))

    with pytest.raises(RuntimeError, match="second time"):
        try_training(Net(remembers), torch.rand(4, 3, 8, 8), 3)


def fit(train_images, build=None, **recipe):
    def usual(num_classes, in_channels, pretrained):
        layers = [nn.Conv2d(in_channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4)]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, num_classes))

    spec = ModelSpec(label="Net", build=build or usual, image_size=8)
    settings = Settings(image_size=8, training=TrainingSettings(batch_size=16, **recipe))
    check_fit(settings, spec, 3, 1, train_images)


def test_a_last_batch_of_one_and_too_few_images():
    fit(33)
    fit(34, drop_last=False)
    with pytest.raises(RequestError, match="leave a last part of 1: .*training.drop_last=true"):
        fit(33, drop_last=False)
    with pytest.raises(RequestError, match="a last part of 1: .*training.micro_batch_size"):
        fit(32, micro_batch_size=5)
    with pytest.raises(RequestError, match="training.batch_size is 16 but there are only 15"):
        fit(15)


def test_lazy_layers_are_trained():
    fit(32, lambda k, c, _: nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(k)))
