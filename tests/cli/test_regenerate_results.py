"""The command that makes results from records: what it refuses, and that checks are cheap."""

import pytest
import typer
from typer.testing import CliRunner

from cli.regenerate_results import main


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
