"""Model files loaded, compressed ones from their base, and what is said about wrong ones."""

import pytest

from harness.catalog import load_model
from harness.errors import RequestError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nothing_of_that_name", ["cannot be imported", "nothing_of_that_name"]),
        ("x = 1", ["defines no SPEC"]),
        ("SPEC = 3", ["not a ModelSpec"]),
        ("def f(:", ["cannot be imported", "SyntaxError"]),
    ],
)
def test_a_broken_model_file_is_named(add_model, text, words):
    add_model("broken", text)
    with pytest.raises(RequestError) as caught:
        load_model("broken")
    assert all(word in str(caught.value) for word in ["broken", *words]), caught.value


COMPRESSED = """
from harness.spec import CompressedSpec
SPEC = CompressedSpec(label="Small", base="{base}", compression="pruning")
"""
PLAIN = """
from harness.spec import ModelSpec
SPEC = ModelSpec(label="Plain", build=print, image_size=24, pretrained="SOME", devices=("cpu",))
"""


def test_a_compressed_model_is_its_base_in_one_more_step(add_model):
    add_model("plain", PLAIN)
    add_model("small", COMPRESSED.format(base="plain"))
    base, small = load_model("plain"), load_model("small")
    assert (small.label, small.base, small.section) == ("Small", "plain", "pruning")
    inherited = ("build", "image_size", "resize", "pretrained", "devices")
    assert [getattr(small, name) for name in inherited] == [getattr(base, n) for n in inherited]
    assert None not in (small.fit, small.compress, small.describe, small.rebuild)


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("plan", "unknown base of small 'plan': did you mean plain"),
        ("other", "its base other is not trained the common way"),
    ],
)
def test_a_base_that_cannot_be_one(add_model, base, words):
    add_model("plain", PLAIN)
    add_model("other", COMPRESSED.format(base="plain"))
    add_model("small", COMPRESSED.format(base=base))
    with pytest.raises(RequestError, match=words):
        load_model("small")
