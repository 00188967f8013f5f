"""What every model and every data set must be, whoever added it."""

import dataclasses

import pytest
import torch

from harness.catalog import load_model
from harness.errors import RequestError
from harness.networks.build import build_network
from harness.networks.freezing import find_head, freeze_backbone, freeze_layers, layer_groups
from harness.plan.settings import complete_settings
from harness.registry import (
    dataset_files,
    describe,
    load_dataset,
    model_files,
)
from harness.settings import load_settings

MODELS = sorted(model_files())
DATASETS = sorted(dataset_files())


def forward_on_meta(network, channels, size):
    with torch.device("meta"):
        images = torch.empty(2, channels, size, size)
    return network.to("meta").eval()(images)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_tells_classes_apart(name, channels):
    spec = load_model(name)
    with torch.device("meta"):
        network = spec.build(7, channels, False)
    logits = forward_on_meta(network, channels, spec.image_size)
    assert logits.shape[0] == 2
    assert logits.shape[1] >= 7


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dataset", DATASETS)
def test_a_model_takes_the_images_that_its_settings_name(name, dataset):
    spec, data = load_model(name), load_dataset(dataset)
    settings = complete_settings(load_settings(dataset, name), spec, data)
    with torch.device("meta"):
        network = build_network(spec, settings, len(data.classes), data.channels)
    logits = forward_on_meta(network, data.channels, settings.image_size)
    assert logits.shape[1] >= len(data.classes)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_layer_groups_and_can_be_frozen(name):
    spec = load_model(name)
    if spec.fit is not None:
        pytest.skip("it trains in its own way, and freezes nothing")
    with torch.device("meta"):
        network = spec.build(7, 3, False)
    groups, head = layer_groups(network), find_head(network)
    grouped = [id(parameter) for group in groups for parameter in group.parameters()]
    rest = [] if head is None else [id(parameter) for parameter in head.parameters()]
    assert len(set(grouped)) == len(grouped)
    assert {*grouped, *rest} == {id(parameter) for parameter in network.parameters()}
    freeze_layers(network, 1)
    frozen = {id(p) for p in network.parameters() if not p.requires_grad}
    assert frozen == {id(parameter) for parameter in groups[0].parameters()}
    if head is None:
        with pytest.raises(RequestError, match="has no head"):
            freeze_backbone(network)
    else:
        freeze_backbone(network)
        assert head.out_features >= 7
        assert [id(p) for p in network.parameters() if p.requires_grad] == rest


@pytest.mark.parametrize("name", MODELS)
def test_a_model_says_what_it_is(name):
    path = model_files()[name]
    assert describe(path).endswith(".")
    assert load_model(name).label
    if path.parent.parent.name == "monolithic_architectures":
        assert len(path.read_text().splitlines()) <= 40


def test_labels_are_unique():
    labels = [load_model(name).label for name in MODELS]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_says_what_it_is(name):
    spec = load_dataset(name)
    assert describe(dataset_files()[name]).endswith(".")
    assert len(set(spec.classes)) == len(spec.classes) > 1
    assert (spec.mean is None) == (spec.std is None)
    assert spec.mean is None or len(spec.mean) == len(spec.std) == spec.channels


def test_the_embedded_dataset_loads_offline(tmp_path):
    splits = load_dataset("digits").load_splits(tmp_path)
    assert len(splits.train_labels) + len(splits.test_labels) == 1797
    assert {f.name for f in dataclasses.fields(splits)} == {
        "train_images",
        "train_labels",
        "test_images",
        "test_labels",
    }
