"""What the libraries call their models: from the project, the cache, or the library itself."""

import json

import pytest

from harness.errors import RequestError
from harness.profiling import catalogue as module
from harness.profiling.catalogue import Catalogue, catalogue, look_up
from harness.profiling.names import resolve_names


@pytest.fixture(autouse=True)
def _forget(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    catalogue.cache_clear()
    yield
    catalogue.cache_clear()


@pytest.mark.parametrize("library", ["torchvision", "timm", "transformers"])
def test_the_names_that_come_with_the_project_are_those_of_the_library(library):
    found, known = look_up(library), catalogue(library)
    if known.version != found.version:
        pytest.skip("another version is installed")
    assert list(known.names) == list(found.names)
    assert {**known.others} == {**found.others}
    assert {name: [*tags] for name, tags in known.tags.items()} == {
        name: [*tags] for name, tags in found.tags.items()
    }


def test_names_of_another_version_are_looked_up_once(monkeypatch, tmp_path):
    asked = []

    def look_up_once(library):
        asked.append(library)
        return Catalogue(version="99", names=("new_net",))

    monkeypatch.setattr(module.importlib.metadata, "version", lambda _: "99")
    monkeypatch.setattr(module, "look_up", look_up_once)
    for _ in range(2):
        assert [*catalogue("timm").names] == ["new_net"]
        catalogue.cache_clear()
    assert asked == ["timm"]
    path = tmp_path / "modelcomparisons" / "timm-99.json"
    assert json.loads(path.read_text())["names"] == ["new_net"]
    path.write_text("cut off")
    assert [*catalogue("timm").names] == ["new_net"]
    assert asked == ["timm", "timm"]


def test_the_tags_of_a_model_are_a_pattern():
    found = [str(name) for name in resolve_names(["timm:resnet18.*"])]
    assert "timm:resnet18.a1_in1k" in found
    assert all(name.startswith("timm:resnet18.") for name in found)


@pytest.mark.parametrize(
    "asked", ["maskrcnn_resnet50_fpn", "torchvision:raft*", "hf:detr", "yolos"]
)
def test_what_is_no_image_classifier_is_refused_without_near_matches(asked):
    with pytest.raises(RequestError, match=r"image classifiers only$") as error:
        resolve_names([asked])
    assert "did you mean" not in str(error.value)
