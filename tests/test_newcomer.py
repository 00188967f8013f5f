"""What a newcomer does first: the README's first command, then its tests, in the same clone."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness.records.cell import CELLS
from tests import commands

ROOT = Path(__file__).resolve().parent.parent
# The README's first command with less training and shorter measurements.
QUICK = (
    *("--dataset", "digits", "--model", "mobilenet", "--epochs", "1", "--threads", "1"),
    *("--set", "training.batch_size=256", *commands.BRIEF),
)


def run(folder, *command):
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=3600)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone of the project in which the tool was tried."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    clone = tmp_path_factory.mktemp("clone") / "project"
    assert run(ROOT, "git", "clone", "--quiet", str(ROOT), str(clone)).returncode == 0
    done = commands.run(clone, "comparisons.py", *QUICK, "--offline")
    assert done.returncode == 0, done.stderr
    assert "digits: measured beside published" in done.stdout
    assert "digits: the reference results" in done.stdout
    return clone


def test_trying_the_tool_changes_no_tracked_file(clone):
    assert run(clone, "git", "status", "--porcelain").stdout == ""
    assert (clone / "results/own/digits.md").exists()
    done = run(clone, sys.executable, "cli/regenerate_results.py", "--check")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_own_records_are_published_by_name(clone):
    script = (sys.executable, "cli/regenerate_results.py", "--publish")
    wrong = run(clone, *script, "digits/mobilnet-cpu")
    assert wrong.returncode == 2
    assert "did you mean digits/mobilenet-cpu?" in wrong.stderr
    done = run(clone, *script, "digits/mobilenet-cpu")
    assert done.returncode == 0, done.stderr
    place = "records/digits/mobilenet-cpu.json"
    published, own = (CELLS.read(clone / folder / place) for folder in ("results", "results/own"))
    assert published == own
    assert f"{own.accuracy.accuracy_top1:.2f}" in (clone / "results/digits.md").read_text()
    assert (
        " M results/predictions/digits/mobilenet-cpu.json"
        in run(clone, "git", "status", "--porcelain").stdout
    )
