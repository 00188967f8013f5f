"""Models of every source are built without weights, for the images asked for."""

import logging

import pytest
import torch
from torch import nn

from harness.errors import CellError
from harness.profiling import building
from harness.profiling.building import build
from harness.profiling.names import ModelName
from harness.profiling.request import Options
from harness.spec import ModelSpec


def make(source, name, **changes):
    return build(ModelName(source=source, name=name), Options(**changes))


def first_conv(network):
    return next(module for module in network.modules() if isinstance(module, nn.Conv2d))


@pytest.mark.parametrize(
    ("source", "name", "image_size"),
    [
        ("torchvision", "resnet18", 224),
        ("torchvision", "regnet_y_400mf", 224),  # computes while it is built
        ("torchvision", "efficientnet_b1", 240),
        ("timm", "test_vit", 160),
        ("timm", "vit_tiny_patch16_224.augreg_in21k_ft_in1k", 224),
        ("hf", "mobilenet_v1", 224),
        ("ours", "mobilenet", 224),
    ],
)
def test_nothing_has_data_and_the_image_size_is_the_models_own(source, name, image_size):
    network, found_size = make(source, name)
    tensors = [*network.parameters(), *network.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert not network.training
    assert found_size == image_size
    image = torch.empty(1, 3, image_size, image_size, device="meta")
    with torch.inference_mode():
        output = network(image)
    assert getattr(output, "logits", output).shape == (1, 1000)


@pytest.mark.parametrize(
    ("source", "name", "image_size"),
    [
        ("torchvision", "mobilenet_v3_small", 96),
        ("torchvision", "vit_b_32", 64),
        ("timm", "test_vit", 64),
        ("hf", "vit", 64),
        ("ours", "vit", 64),
    ],
)
def test_images_of_another_size_channels_and_classes(source, name, image_size):
    network, _ = make(source, name, image_size=image_size, channels=1, classes=7)
    assert first_conv(network).weight.shape[1] == 1
    image = torch.empty(2, 1, image_size, image_size, device="meta")
    with torch.inference_mode():
        output = network(image)
    assert getattr(output, "logits", output).shape == (2, 7)


def test_training_aids_that_the_weights_do_not_have_are_left_out():
    network, _ = make("torchvision", "googlenet")
    assert sum(p.numel() for p in network.parameters()) == 6_624_904


@pytest.mark.parametrize(
    ("source", "name", "changes", "reason"),
    [
        ("torchvision", "vit_b_16", {"image_size": 100}, "cannot be built: AssertionError: "),
        ("ours", "deit", {"image_size": 100}, "DeiT-Tiny: image_size 100: a multiple of 16 wanted"),
        ("ours", "dinov2", {}, "DINOv2 tells at most 768 classes apart"),
        ("ours", "vgg_pruned", {}, "VGG-16-BN pruned is made of a trained network, so its graph"),
        ("ours", "trunk", {}, "TRUNK sends images different ways, so it has no one graph"),
        ("timm", "resnet18.nobody", {}, "cannot be built: RuntimeError: Invalid pretrained tag"),
    ],
)
def test_a_model_that_cannot_be_built_says_why_in_one_line(source, name, changes, reason):
    with pytest.raises(CellError) as caught:
        make(source, name, **changes)
    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)


def test_what_libraries_say_while_building_is_held_back(monkeypatch, caplog):
    def noisy(name, options):
        logging.getLogger("timm").warning("no weights")
        return nn.Identity(), 8

    monkeypatch.setitem(building._BUILDERS, "timm", noisy)
    make("timm", "anything")
    assert not caplog.records
    logging.getLogger("timm").warning("later")
    assert len(caplog.records) == 1


def test_a_folder_that_is_added_can_be_counted(monkeypatch):
    spec = ModelSpec(label="L", build=lambda c, i, _: nn.Conv2d(i, c, 1), image_size=8)
    monkeypatch.setattr(building, "load_model", {"mine": spec}.__getitem__)
    network, _ = make("ours", "mine", channels=2, classes=5)
    assert network.weight.shape == (5, 2, 1, 1)
