"""The command that makes results from records: what it refuses, and that checks are cheap."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments):
    command = [sys.executable, "cli/regenerate_results.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600)


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
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1


def test_the_committed_results_are_what_the_records_make_them():
    done = run("--check")
    assert (done.returncode, done.stdout) == (0, "")
