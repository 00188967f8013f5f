"""Everything made anew from a project's records: the same twice, or nothing at all."""

import json
import os

import pytest

from harness.errors import RequestError
from harness.records.cell import CELLS
from harness.records.cost import COSTS
from harness.records.latency import LATENCIES
from harness.records.material import read_material
from harness.report.site import refresh, regenerate, stale_files

README = (
    "by hand\n<!-- results: cifar10 -->\n<!-- results: end -->\n"
    "<!-- results: verdicts -->\n<!-- results: end -->\nby hand, too\n"
)


@pytest.fixture
def project(tmp_path, make_record, make_cost, make_latency_record, undrawn_figures):
    (tmp_path / "README.md").write_text(README)
    results = tmp_path / "results"
    CELLS.write(results, make_record())
    CELLS.write(results, make_record(seed=1, repeat=True, settings={"seed": 1}))
    CELLS.write(results, make_record(dataset="digits", model="vgg"))
    COSTS.write(results, make_cost())
    LATENCIES.write(results, make_latency_record(dataset="svhn"))
    return tmp_path


def contents(project):
    return {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}


def test_the_second_time_nothing_is_written(project):
    assert regenerate(project) == 3
    first = times_of(project)
    assert {path.name for path in first} >= {
        *("README.md", "verdicts.md", "verdicts.csv", "cifar10.md", "cifar10.csv", "cifar10.tex"),
        *("cifar10-costs.csv", "digits.md", "svhn.md", "svhn.tex", "svhn-latency.csv"),
    }
    made = {".csv", ".md", ".tex", ".png", ".svg", ".html", ".js", ".LICENSE"}
    assert {path.suffix for path in first} == {".json", *made}
    assert stale_files(project) == []
    assert regenerate(project) == 3
    refresh(project / "results")
    assert times_of(project) == first


def times_of(project):
    return {path: path.stat().st_mtime_ns for path in project.rglob("*") if path.is_file()}


def test_stale_files_are_named(project, make_record):
    results = project / "results"
    refresh(results)
    assert stale_files(project) == [project / "README.md"]
    figures = {"accuracy_top1": 50.0, "accuracy_top1_low": 49.0, "accuracy_top1_high": 51.0}
    CELLS.write(results, make_record(**figures))
    stale = stale_files(project)
    assert {results / "cifar10.csv", results / "figures/cifar10/accuracy-gmacs.svg"} <= {*stale}


def test_the_page_links_the_zoo_where_there_is_one(project):
    page, zoo = project / "results/index.html", project / "results/zoo/index.html"
    regenerate(project)
    assert "the zoo</a>" not in page.read_text()
    zoo.parent.mkdir()
    zoo.touch()
    assert stale_files(project) == [page]
    regenerate(project)
    assert '<a href="zoo/index.html">the zoo</a>' in page.read_text()


def test_what_was_written_by_hand_stays(project):
    notes = project / "results" / "notes.md"
    notes.write_text("mine")
    regenerate(project)
    text = (project / "README.md").read_text()
    assert text.startswith("by hand\n<!-- results: cifar10 -->\n| Model |")
    assert text.endswith("<!-- results: end -->\nby hand, too\n")
    assert "Of the 120 published figures" in text
    assert notes.read_text() == "mine"


DAMAGE = {
    "a mark without an end": lambda p: (p / "README.md").write_text("<!-- results: cifar10 -->\n"),
    "no README": lambda p: (p / "README.md").unlink(),
    "a README in another encoding": lambda p: (p / "README.md").write_bytes(b"\xff\xfe"),
    "a folder for a README": lambda p: (p / "README.md").unlink() or (p / "README.md").mkdir(),
    "a pipe for a table": lambda p: os.mkfifo(p / "results/digits.md"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_named_and_nothing_is_written(project, damage):
    damage(project)
    before = contents(project)
    for action in (regenerate, stale_files):
        with pytest.raises(RequestError) as caught:
            action(project)
        assert str(project) in str(caught.value) or "README.md" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert contents(project) == before


BROKEN = {
    "half a record": ("records/digits/vgg-cpu.json", lambda text: '{"a'),
    "a record of no version": (
        "records/digits/vgg-cpu.json",
        lambda text: text.replace('"schema": 2', '"schema": 0'),
    ),
    "a foreign file of costs": ("costs/cifar10/x.json", lambda text: "[]"),
    "a cell twice": ("records/cifar10/copy.json", lambda text: text),
}


@pytest.mark.parametrize(("name", "spoil"), BROKEN.values(), ids=BROKEN)
def test_a_broken_record_is_named_and_the_others_are_shown(project, name, spoil):
    results = project / "results"
    text = (results / "records/digits/vgg-cpu.json").read_text()
    (results / name).write_text(spoil(text))
    found = read_material(results)
    assert len(found.broken) == 1
    assert found.broken[0].startswith(str(results / name))
    assert "\n" not in found.broken[0]
    assert regenerate(project) == len(found.records) == (2 if "vgg" in name else 3)
    assert stale_files(project) == []
    assert "| ResNet-50 |" in (results / "cifar10.md").read_text()
    assert (results / "digits.md").exists() == ("vgg" not in name)


def test_a_record_of_an_older_version_makes_the_same(project, make_record):
    regenerate(project)
    before = contents(project)
    path = project / "results/records/digits/vgg-cpu.json"
    older = make_record(dataset="digits", model="vgg").flat
    path.write_text(json.dumps(older | {"schema": 1, "compression": {}, "load": {}}))
    assert stale_files(project) == []
    assert regenerate(project) == 3
    assert contents(project) == before | {path: path.read_bytes()}
