"""Names found by scanning folders, and what is said about wrong ones."""

import subprocess
import sys

import pytest

from harness import registry
from harness.errors import RequestError


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    monkeypatch.setattr(registry.model_files, "__defaults__", (tmp_path,))
    return tmp_path


def add_model(project, name, text):
    folder = project / "monolithic_architectures" / name
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(text)


def test_a_new_folder_is_a_new_model(project):
    add_model(project, "tiny", '"""Tiny (ours)."""\n')
    assert list(registry.model_files()) == ["tiny"]
    assert registry.describe(registry.model_files()["tiny"]) == "Tiny (ours)."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nothing_of_that_name", ["cannot be imported", "nothing_of_that_name"]),
        ("x = 1", ["defines no SPEC"]),
        ("SPEC = 3", ["not a ModelSpec"]),
        ("def f(:", ["cannot be imported", "SyntaxError"]),
    ],
)
def test_a_broken_model_file_is_named(project, text, words):
    add_model(project, "broken", text)
    with pytest.raises(RequestError) as caught:
        registry.load_model("broken")
    assert all(word in str(caught.value) for word in ["broken", *words]), caught.value


COMPRESSED = """
from harness.spec import CompressedSpec
SPEC = CompressedSpec(label="Small", base="{base}", compression="pruning")
"""
PLAIN = """
from harness.spec import ModelSpec
SPEC = ModelSpec(label="Plain", build=print, image_size=24, pretrained="SOME", devices=("cpu",))
"""


def test_a_compressed_model_is_its_base_in_one_more_step(project):
    add_model(project, "plain", PLAIN)
    add_model(project, "small", COMPRESSED.format(base="plain"))
    base, small = registry.load_model("plain"), registry.load_model("small")
    assert (small.label, small.base, small.section) == ("Small", "plain", "pruning")
    inherited = ("build", "image_size", "resize", "pretrained", "devices")
    assert [getattr(small, name) for name in inherited] == [getattr(base, n) for n in inherited]
    assert None not in (small.fit, small.compress, small.describe, small.rebuild)
    assert [registry.base_name(name) for name in ("small", "plain", "gone")] == ["plain", "", ""]


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("plan", "unknown base of small 'plan': did you mean plain"),
        ("other", "its base other is not trained the common way"),
    ],
)
def test_a_base_that_cannot_be_one(project, base, words):
    add_model(project, "plain", PLAIN)
    add_model(project, "other", COMPRESSED.format(base="plain"))
    add_model(project, "small", COMPRESSED.format(base=base))
    with pytest.raises(RequestError, match=words):
        registry.load_model("small")


def test_names_expand_once_each_in_the_order_asked():
    known = ["a", "b", "c"]
    assert registry.expand_names("model", ["c,a", "a"], known) == ["c", "a"]
    assert registry.expand_names("model", ["b", "all"], known) == ["b", "a", "c"]


def test_an_unknown_name_gets_near_matches():
    with pytest.raises(RequestError, match="unknown model 'resnt': did you mean resnet"):
        registry.expand_names("model", ["resnt"], ["resnet", "vgg"])
    with pytest.raises(RequestError, match="known: resnet, vgg"):
        registry.expand_names("model", ["q"], ["resnet", "vgg"])


def test_listing_imports_no_torch():
    code = (
        "import sys; from harness.commands import list_all; list_all(None); "
        "sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=registry.ROOT)
    assert done.returncode == 0, done.stderr
