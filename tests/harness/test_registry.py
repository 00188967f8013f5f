"""Names found by scanning folders, and what is said about wrong ones."""

import subprocess
import sys

import pytest

from harness import registry
from harness.errors import RequestError


def test_a_new_folder_is_a_new_model(add_model):
    add_model("tiny", '"""Tiny (ours)."""\n')
    assert list(registry.model_files()) == ["tiny"]
    assert registry.describe(registry.model_files()["tiny"]) == "Tiny (ours)."


def test_only_a_compressed_model_is_imported_for_its_base(add_model):
    compressed = 'CompressedSpec(label="S", base="plain", compression="pruning")'
    add_model("plain", "raise AssertionError")
    add_model("small", f"from harness.spec import CompressedSpec\nSPEC = {compressed}\n")
    assert [registry.base_name(name) for name in ("small", "plain", "gone")] == ["plain", "", ""]


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
        "import sys; from harness.commands import list_all; list_all(); "
        "sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=registry.ROOT)
    assert done.returncode == 0, done.stderr
