"""Names on the command line: sources, patterns, near matches."""

import pytest

from harness.errors import RequestError
from harness.profiling import names
from harness.profiling.names import matching_names, resolve_names

KNOWN = {
    "ours": ("resnet", "vit"),
    "torchvision": ("resnet18", "resnet50", "vit_b_16"),
    "timm": ("resnet18", "resnet26", "vit_tiny_patch16_224"),
    "hf": ("resnet", "swin", "vit"),
}


@pytest.fixture(autouse=True)
def _few_models(monkeypatch):
    monkeypatch.setattr(names, "known_names", KNOWN.__getitem__)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["resnet"], ["ours:resnet"]),
        (["resnet18"], ["resnet18"]),
        (["resnet26"], ["timm:resnet26"]),
        (
            ["timm:resnet18", "hf:vit", "torchvision:vit_b_16"],
            ["timm:resnet18", "hf:vit", "vit_b_16"],
        ),
        (["timm:resnet18.a1_in1k"], ["timm:resnet18.a1_in1k"]),
        (["resnet*"], ["resnet18", "resnet50"]),
        (["vit_*_224"], ["timm:vit_tiny_patch16_224"]),
        (["timm:resnet*"], ["timm:resnet18", "timm:resnet26"]),
        (["ours:*"], ["ours:resnet", "ours:vit"]),
        (["vit, resnet18", "resnet1?,vit"], ["ours:vit", "resnet18"]),
    ],
)
def test_names_and_patterns(asked, expected):
    assert [str(name) for name in resolve_names(asked)] == expected


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("resnet19", "unknown model 'resnet19': did you mean resnet18 or timm:resnet18 or"),
        ("hf:swim", "unknown model 'hf:swim': did you mean hf:swin?"),
        ("swin", "unknown model 'swin': did you mean hf:swin"),
        ("qqq", "unknown model 'qqq': nothing is near it (--list shows all"),
        ("resnext*", "unknown model 'resnext*': "),
        ("keras:vgg", "unknown source 'keras' of 'keras:vgg': ours, torchvision, timm, hf"),
    ],
)
def test_what_nothing_fits_is_one_line_with_near_matches(asked, message):
    with pytest.raises(RequestError) as caught:
        resolve_names(["resnet18", asked])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("asked", [[], [""], [" , "]])
def test_fewer_than_one_model(asked):
    with pytest.raises(RequestError, match="^name one or more models"):
        resolve_names(asked)


def test_the_list_searches_all_sources_or_one():
    found = [str(name) for name in matching_names("resnet18")]
    assert found == ["resnet18", "timm:resnet18"]
    assert [str(name) for name in matching_names("hf:*i*")] == ["hf:swin", "hf:vit"]
    assert len(matching_names()) == 11
    with pytest.raises(RequestError, match="unknown model"):
        matching_names("qqq")
