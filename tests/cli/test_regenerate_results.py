"""The command that makes results from records: what it refuses, and that checks are cheap."""

import json

import pytest
import typer
from typer.testing import CliRunner

from cli import regenerate_results
from cli.regenerate_results import main
from harness.registry import ROOT
from harness.report.frame import load_results


def run(*arguments):
    app = typer.Typer()
    app.command()(main)
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["digits/resnet-cpu"],
            "error: 'digits/resnet-cpu': records are named with --verify or --publish alone",
        ),
        (["--check", "--verify"], "error: --check, --verify and --publish: one at a time"),
        (
            ["--verify", "digits/resnt-cpu"],
            "error: unknown record 'digits/resnt-cpu': did you mean digits/resnet-cpu",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(arguments, message):
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1


def test_the_committed_results_are_what_the_records_make_them():
    done = run("--check")
    assert (done.exit_code, done.stdout) == (0, "")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Two of the committed records, the first of which is impossible."""
    for model, accuracy in (("resnet", 250.0), ("trunk", None)):
        name = f"results/records/digits/{model}-cpu.json"
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        fields = json.loads((ROOT / name).read_text())
        fields["accuracy"]["accuracy_top1"] = accuracy or fields["accuracy"]["accuracy_top1"]
        (tmp_path / name).write_text(json.dumps(fields))
    (tmp_path / "README.md").write_text("<!-- results: digits -->\n<!-- results: end -->\n")
    monkeypatch.setattr(regenerate_results, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.usefixtures("undrawn_figures")
def test_an_impossible_record_is_named_the_other_is_shown_and_the_exit_code_is_1(project):
    for arguments, text in (([], "1 records\n"), (["--check"], "")):
        done = run(*arguments)
        assert (done.exit_code, done.stdout) == (1, text)
        assert done.stderr.startswith(f"error: {project}/results/records/digits/resnet-cpu.json: ")
        assert "accuracy_top1: Input should be less than or equal to 100" in done.stderr
        assert done.stderr.count("\n") == 1
    assert "| TRUNK |" in (project / "results/digits.md").read_text()
    with pytest.warns(UserWarning, match=r"resnet-cpu.json: not a record"):
        assert load_results(project / "results")["model"].tolist() == ["trunk"]


def test_an_impossible_record_fails_the_verification(project):
    done = run("--verify", "digits/resnet-cpu")
    assert done.exit_code == 1
    assert "resnet-cpu.json: not a record" in done.stdout
    assert "0 hold, 1 do not" in done.stdout


def test_nothing_is_published_beside_an_impossible_record(project):
    (project / "results").rename(project / "own")
    (project / "results").mkdir()
    (project / "own").rename(project / "results/own")
    done = run("--publish")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "resnet-cpu.json: not a record" in done.stderr
    assert [path.name for path in (project / "results").iterdir()] == ["own"]
