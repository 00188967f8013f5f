"""Layer groups of arbitrary networks, and what freezing the first of them keeps from changing."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from harness.errors import RequestError
from harness.networks.build import build_network
from harness.networks.freezing import (
    check_layer_depths,
    find_head,
    freeze_backbone,
    freeze_layers,
    layer_depths,
    layer_groups,
)
from harness.settings_spec import Settings, TrainingSettings
from harness.spec import ModelSpec


def conv(inputs=4):
    return nn.Conv2d(inputs, 4, 3, padding=1)


class Staged(nn.Module):
    """A stem, stages side by side and a head, as a ResNet has them."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = conv(1), nn.BatchNorm2d(4)
        self.stage1 = nn.Sequential(conv(), nn.BatchNorm2d(4), nn.ReLU())
        self.stage2 = nn.Sequential(conv(), nn.BatchNorm2d(4), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 3))

    def forward(self, images):
        features = self.stage2(self.stage1(self.norm(self.stem(images))))
        return self.head(self.pool(features))


class Tokens(nn.Module):
    """A class token, an embedding, blocks in a container and a norm, as a ViT has them."""

    def __init__(self, head):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.embedding = nn.Linear(5, 8)
        self.encoder = nn.Module()
        self.encoder.positions = nn.Parameter(torch.zeros(1, 3, 8))
        self.encoder.blocks = nn.Sequential(*(nn.Linear(8, 8) for _ in range(3)))
        self.encoder.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 2) if head else nn.Identity()


def names(network):
    return [group.name for group in layer_groups(network)]


def test_children_are_groups_and_a_norm_belongs_to_what_it_follows():
    network = Staged()
    assert names(network) == ["stem", "stage1", "stage2"]
    assert layer_groups(network)[0].modules == (network.stem, network.norm)
    assert find_head(network) is network.head[2]


def test_a_container_gives_way_to_its_layers_and_own_parameters_go_first():
    network = Tokens(head=True)
    groups = layer_groups(network)
    assert names(network) == ["embedding", *(f"encoder.blocks.{i}" for i in range(3))]
    assert [id(p) for p in groups[0].own_parameters] == [
        id(network.token),
        id(network.encoder.positions),
    ]
    assert groups[-1].modules == (network.encoder.blocks[2], network.encoder.norm)


def test_the_head_is_taken_out_of_the_container_that_it_is_in():
    features = nn.Sequential(conv(1), nn.ReLU(), conv(), nn.ReLU(), conv())
    network = nn.Sequential(features, nn.Sequential(nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, 3)))
    assert names(network) == ["0.0", "0.2", "0.4", "1.0"]
    assert find_head(network) is network[1][2]


def test_a_norm_in_front_joins_what_follows():
    assert names(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4), nn.Linear(4, 2))) == ["0"]


def test_groups_hold_every_parameter_but_the_heads_once():
    for network in (Staged(), Tokens(head=True)):
        found = [id(p) for group in layer_groups(network) for p in group.parameters()]
        head = {id(p) for p in find_head(network).parameters()}
        assert len(found) == len(set(found))
        assert set(found) | head == {id(p) for p in network.parameters()}
        assert not set(found) & head


def trainable(network):
    return {name.split(".")[0] for name, p in network.named_parameters() if p.requires_grad}


def test_the_first_groups_are_frozen():
    network = Staged()
    freeze_layers(network, 0)
    assert trainable(network) == {"stem", "norm", "stage1", "stage2", "head"}
    freeze_layers(network, 2)
    assert trainable(network) == {"stage2", "head"}
    freeze_backbone(network)
    assert trainable(network) == {"head"}


def train_a_step(network):
    network.train()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    loss = network(torch.randn(6, 1, 8, 8)).square().sum()
    loss.backward()
    optimizer.step()
    return {key: value.clone() for key, value in network.state_dict().items()}


@pytest.mark.parametrize("duplicate", [lambda network: network, copy.deepcopy])
def test_training_changes_nothing_frozen_statistics_included(duplicate):
    torch.manual_seed(0)
    network = Staged()
    freeze_layers(network, 2)
    network = duplicate(network)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    after = train_a_step(network)
    changed = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"stage2", "head"}
    assert not torch.equal(before["stage2.1.running_mean"], after["stage2.1.running_mean"])
    assert [network.norm.training, network.stage1[1].training] == [False, False]
    assert [network.stage2[1].training, network.head[1].training] == [True, True]


def test_a_copy_is_frozen_on_its_own():
    network = Staged()
    freeze_layers(network, 1)
    copied = copy.deepcopy(network).train()
    network.norm.training = True
    assert not copied.train().norm.training
    assert network.norm.training


@pytest.mark.parametrize("count", [4, -1])
def test_more_groups_than_there_are_is_one_line(count):
    with pytest.raises(RequestError) as caught:
        freeze_layers(Staged(), count, "Net")
    assert str(caught.value) == (
        f"freeze_layers is {count}: Net has 3 layer groups to freeze (stem to stage2)"
    )


def test_without_a_head_something_must_be_left():
    network = Tokens(head=False)
    assert find_head(network) is None
    freeze_layers(network, 3)
    assert trainable(network) == {"encoder"}
    with pytest.raises(RequestError, match="freeze_layers is 4: Tokens has 3 layer groups"):
        freeze_layers(network, 4)
    with pytest.raises(RequestError, match="freeze_backbone: Tokens has no head"):
        freeze_backbone(network)


def depths(network):
    found = layer_depths(network)
    return {name: found[parameter] for name, parameter in network.named_parameters()}


def test_depths_are_those_of_the_groups_and_the_head_comes_last():
    found = depths(Tokens(head=True))
    assert [found[name] for name in ("token", "encoder.positions", "embedding.weight")] == [0] * 3
    assert [found[f"encoder.blocks.{layer}.bias"] for layer in range(3)] == [1, 2, 3]
    assert (found["encoder.norm.weight"], found["head.weight"]) == (3, 4)
    assert max(depths(Tokens(head=False)).values()) == 3


def test_parameters_that_two_layers_share_belong_to_one():
    network = Tokens(head=True)
    network.encoder.blocks[2].weight = network.encoder.blocks[0].weight
    assert len(layer_depths(network)) == len(list(network.parameters()))


def test_a_vit_of_transformers_has_its_blocks_in_order():
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        image_size=8, patch_size=4, hidden_size=8, num_hidden_layers=4, num_attention_heads=2,
        intermediate_size=8, num_labels=3,
    )  # fmt: skip
    found = depths(transformers.ViTForImageClassification(config))
    assert {depth for name, depth in found.items() if "embeddings" in name} == {0}
    for layer in range(4):
        block = {
            d for name, d in found.items() if f".{layer}." in name and "embeddings" not in name
        }
        assert block == {layer + 1}
    assert found["vit.layernorm.weight"] == 4
    assert found["classifier.weight"] == 5


def test_convnext_has_stages_for_layers():
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    stages = [CNBlockConfig(4, 4, 2), CNBlockConfig(4, 4, 2), CNBlockConfig(4, None, 2)]
    found = depths(ConvNeXt(stages, num_classes=3))
    by_stage = {int(name.split(".")[1]): d for name, d in found.items() if "features" in name}
    assert by_stage == {stage: stage for stage in range(6)}
    assert (found["classifier.0.weight"], found["classifier.2.weight"]) == (5, 6)


@pytest.mark.parametrize("network", [nn.Linear(4, 2), nn.Sequential(nn.Conv2d(1, 4, 3))])
def test_a_single_layer_has_no_order(network):
    with pytest.raises(RequestError, match="layer_decay: Mine has no order of layers"):
        check_layer_depths(network, "Mine")


@pytest.mark.parametrize(("layers", "refused"), [(1, True), (2, False)])
def test_a_network_without_order_is_refused_when_it_is_built(layers, refused):
    def build(classes, channels, _pretrained):
        hidden = [nn.Linear(4 * channels, 4)] if layers == 2 else []
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(4, classes))

    spec = ModelSpec(label="Mine", build=build, image_size=2)
    settings = Settings(training=TrainingSettings(layer_decay=0.7))
    expected = pytest.raises(RequestError, match="layer_decay: Mine") if refused else nullcontext()
    with expected:
        build_network(spec, settings, 3, 1)
    build_network(spec, Settings(), 3, 1)
