"""Searches for recipes on the page: their table, and the figures that Optuna draws of them."""

import dataclasses
from xml.etree import ElementTree as ET

import pytest

from harness.errors import CellError
from harness.records.material import Material, read_material
from harness.records.publishing import publish_records
from harness.records.tuning import TUNINGS
from harness.report import figures
from harness.report.figures import refresh_figures, stale_figures, tuning_stems
from harness.report.page import render_page
from harness.report.page_sections import tuning_sections
from harness.report.site import refresh
from harness.report.tuning import plot_trials, print_tuning, render_tuning

SEARCH = {
    "training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True, "choices": []},
    "training.cutout": {"low": None, "high": None, "log": False, "choices": [None, [1, 8]]},
}


def make_tuning(accuracies=(50.0, 70.0, 60.0, 40.0), **changes):
    trials = [
        {
            "number": number,
            "state": "complete",
            "values": {
                "training.learning_rate": 10 ** (-4 + number / 2),
                "training.cutout": [None, [1, 8]][number % 2],
            },
            "accuracy": accuracy,
            "epochs": 1,
            "seconds": 1.0,
        }
        for number, accuracy in enumerate(accuracies)
    ]
    fields = {
        "schema": 1,
        "cell": {"dataset": "digits", "model": "resnet", "device": "cpu"},
        "label": "ResNet-50",
        "budget": {
            "trials": len(trials),
            "images": 100,
            "epochs": 1,
            "searched": list(SEARCH),
            "space": "0123456789abcdef",
        },
        "space": {"held_out": 0.1, "images": 100, "epochs": 1, "fixed": {}, "search": SEARCH},
        "held_out": 10,
        "seed": 42,
        "trials": trials,
        "best": accuracies.index(max(accuracies)),
        "recipe": {},
        "data_name": "digits",
        "data_sha256": "d" * 64,
        "settings_hash": "e" * 16,
        "provenance": {},
    }
    return TUNINGS.parse(fields | changes)


def test_optunas_figures_are_drawn_once_and_alike(tmp_path):
    record = make_tuning()
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        refresh_figures(folder, [], [record])
        assert stale_figures(folder, [], [record]) == []
    names = sorted(path.name for path in first.rglob("*.svg"))
    assert names == [f"resnet-cpu-tuning-{what}.svg" for what in ("importance", "trials")]
    for path in first.rglob("*.*g"):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()
    for name in names:
        root = ET.parse(first / "figures/digits" / name).getroot()
        texts = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
        assert {"learning_rate", "cutout"} <= texts
    other = dataclasses.replace(record, label="another")
    assert len(stale_figures(first, [], [other])) == 4


def test_without_optuna_the_figures_are_named_and_all_else_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figures, "find_spec", lambda name: None)
    TUNINGS.write(tmp_path, make_tuning())
    refresh(tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"figures/digits/resnet-cpu-tuning-{what}: not drawn: needs optuna"
        for what in ("trials", "importance")
    ]
    assert len(stale_figures(tmp_path, [], read_material(tmp_path).tunings)) == 4
    assert "| digits/resnet-cpu: ResNet-50 | 4 | 400 |" in (tmp_path / "digits.md").read_text()
    assert "figures/digits/resnet-cpu-tuning-trials.svg" in (tmp_path / "index.html").read_text()


def test_trials_that_are_alike_tell_no_importance():
    assert [stem.name for stem in tuning_stems(make_tuning((50.0, 50.0)))] == [
        "resnet-cpu-tuning-trials"
    ]


def test_a_trial_outside_its_space_is_named():
    record = make_tuning(space=make_tuning().space | {"search": {"training.x": {"low": 0}}})
    with pytest.raises(CellError, match=r"tuning/digits/resnet-cpu.json: trials outside"):
        plot_trials(record)


@pytest.mark.parametrize(("best", "chance"), [(14.0, True), (16.0, False)])
def test_a_search_that_found_nothing_better_than_chance_says_so(best, chance, capsys):
    """Of 100 images, 10% by chance: 95% of the time up to 10 + 1.645·3 = 14.9%."""
    record = make_tuning((9.0, best), chance=10.0, held_out=100)
    print_tuning([record])
    said = " ".join(capsys.readouterr().out.split())
    assert ("no trial is better than chance (10.00%)" in said) == chance
    assert (f"{best:.2f} (chance)" in render_tuning([record])) == chance


def test_the_page_has_a_table_and_the_figures():
    material = Material(records=[], tunings=[make_tuning()])
    text = render_page(material, last=tuning_sections(material))
    assert '<a href="#tuning">Tuning</a>' in text
    assert '<img src="figures/digits/resnet-cpu-tuning-importance.svg"' in text
    assert 'alt="ResNet-50 on digits: importance"' in text
    assert tuning_sections(Material(records=[])) == []
    assert render_tuning([]) == ""


def test_a_search_is_published_by_its_name(tmp_path):
    own, results = tmp_path / "own", tmp_path / "results"
    place = TUNINGS.write(own, make_tuning()).relative_to(own)
    assert publish_records(own, results, ["tuning/digits/resnet-cpu"]) == [results / place]
    assert read_material(results).tunings == [make_tuning()]
