"""The digest of a model's code changes with what builds the network, and with nothing else."""

import pytest

from harness.util import source
from harness.util.source import code_digest

MODEL = '''"""A net."""
from models.blocks import Block  # ours
import timm

def build():
    """Build it."""
    return Block("layers.json")
'''
HELPER = "from .parts import WIDTH\n\ndef Block(name): return WIDTH\n"


@pytest.fixture
def digest(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_version", {"timm": "1.0"}.get)
    folder = tmp_path / "models"
    folder.mkdir()
    files = {"net.py": MODEL, "blocks.py": HELPER, "parts.py": "WIDTH = 3\n", "layers.json": "[]"}
    for name, text in files.items():
        (folder / name).write_text(text)

    def of(name="net.py", before="", after="", versions=("1.0",)):
        monkeypatch.setattr(source, "_version", {"timm": versions[0]}.get)
        text = (folder / name).read_text()
        assert before in text
        (folder / name).write_text(text.replace(before, after))
        return code_digest([folder / "net.py"], tmp_path, "harness")

    return of


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("net.py", 'Block("layers.json")', 'Block("layers.json") + 1'),
        ("blocks.py", "return WIDTH", "return -WIDTH"),
        ("parts.py", "3", "4"),
        ("layers.json", "[]", "[1]"),
    ],
)
def test_code_that_counts(digest, name, before, after):
    assert digest() != digest(name, before, after)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("net.py", "A net.", "Another text."),
        ("net.py", "Build it.", "Make it."),
        ("net.py", "  # ours", ""),
        ("blocks.py", ": return", ":\n    return"),
    ],
)
def test_texts_that_do_not_count(digest, name, before, after):
    assert digest() == digest(name, before, after)


def test_another_version_of_a_library_is_other_code(digest):
    assert digest() != digest(versions=("1.1",))


def test_code_that_is_not_imported_does_not_count(digest, tmp_path):
    before = digest()
    (tmp_path / "models" / "other.py").write_text("x = 1")
    assert digest() == before
