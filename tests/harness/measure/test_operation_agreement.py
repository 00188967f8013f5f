"""The harness's counts against those that others publish or make."""

import sys

import pytest
import torch
import torchvision

from harness.measure.operations import count_macs
from studies import operation_counts
from studies.operation_counts import FAMILIES, agrees, count_fvcore, torchvision_models


def image(size):
    return torch.zeros(1, 3, size, size)


def check_stated(names):
    for subject in torchvision_models(names):
        gmacs = count_macs(subject.network, image(subject.image_size)) / 1e9
        # to the last of the three digits after the point
        assert gmacs == pytest.approx(subject.gmacs_stated, abs=0.000501), subject.name


def test_a_dozen_families_have_what_torchvision_states():
    check_stated(FAMILIES)


@pytest.mark.slow
def test_every_classification_model_has_what_torchvision_states():
    check_stated(torchvision.models.list_models(torchvision.models))


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "swin_t", "vit_b_16"])
def test_fvcore_counts_the_same_products(name):
    """fvcore adds norms and pooling, and knows fused attention, as in ViT's, not at all."""
    (subject, *_) = torchvision_models([name])
    macs = count_macs(subject.network, image(subject.image_size))
    fvcore = count_fvcore(subject.network, image(subject.image_size))
    fused_attention = 12 * 2 * 197 * 197 * 768 if name == "vit_b_16" else 0
    assert fvcore.macs_products == macs - fused_attention
    assert fvcore.gmacs * 1e9 > fvcore.macs_products


def test_only_what_is_stated_may_differ_by_its_last_digit():
    assert agrees("thop", 1.0, 1.004)
    assert not agrees("thop", 0.0400, 0.0404)
    assert agrees("torchvision states", 0.0404, 0.040)
    assert not agrees("torchvision states", 0.0406, 0.040)


def test_the_script_does_without_fvcore(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fvcore.nn", None)
    monkeypatch.setattr(operation_counts, "FAMILIES", ("alexnet",))
    monkeypatch.setattr(operation_counts, "zoo_models", lambda: iter(()))
    operation_counts.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| alexnet | 224 | 0.7142 | 0.7142 (+0.00%) |  |  | 0.7140 (-0.03%) |"
    assert lines[4] == "- thop: 1 of 1 agree"
    assert lines[-1].startswith("- fvcore failed: ModuleNotFoundError")
    assert lines[-1].endswith(": alexnet at 224")
