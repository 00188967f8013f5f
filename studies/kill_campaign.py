"""Kill cells at random moments, and compare what they leave with what an undisturbed run leaves.

    nice -n 15 python studies/kill_campaign.py --kills 100

docs/reliability.md describes the trials, and has the figures.
"""

from __future__ import annotations

import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer
from typer import Option

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from harness.report.table import Table
from harness.util.files import file_sha256
from tests.commands import Running, copy_project

_MODELS = ("resnet", "trunk", "resnet_quantized", "vgg_pruned")
# A kill of each kind in every trial, in the order in which a cell comes to them.
_MOMENTS = ("training", "saving", "training", "evaluation", "tables")
_POLL_S, _SAVING_S = 0.005, 0.03
_SETTINGS: dict[str, Any] = {
    "image_size": 32,
    "checkpoint_minutes": 0,
    "training": {"epochs": 2, "batch_size": 4, "start": "random"},
    "measurement.latency_rounds": 20,
    "measurement.latency_seconds": 0.1,
    "measurement.throughput_seconds": 0.05,
    "measurement.throughput_batch_sizes": [1, 4],
}
_STAGE = {"epochs": 1, "batch_size": 8, "start": "random"}
_OWN_SETTINGS: dict[str, dict[str, Any]] = {
    "trunk": {
        "tree.held_out": 0.25,
        **{f"tree.{stage}": _STAGE for stage in ("grouping", "class_below", "joint")},
    },
    "resnet_quantized": {"quantization.training": _STAGE},
    "vgg_pruned": {"pruning.training": _STAGE, "pruning.steps": 20},
}
# Parts and fields of a record that time decides, or the moment.
_TIMED_PARTS = ("latency", "throughput", "energy", "machine", "provenance", "not_measured")
_TIMED = ("seconds", "latency", "images_per_s", "process_mb")
_HEADER = ("Model", *dict.fromkeys(_MOMENTS), "a file half written", "runs", "two at once")
_HEADER += ("full disks", "equal", "different")

Kills = Annotated[int, Option(help="How many commands are killed, over all models.", min=1)]
Model = Annotated[list[str], Option(help="The models; repeatable.")]
Seed = Annotated[int, Option(help="Seed of the moments.")]


def main(kills: Kills = 100, model: Model = list(_MODELS), seed: Seed = 0) -> None:  # noqa: B006
    """Kill, run at once and fill disks; print a table, and exit 1 where anything differs."""
    chance = random.Random(seed)  # noqa: S311
    rows, wrong = [], False
    with tempfile.TemporaryDirectory() as folder:
        project = _prepare(Path(folder) / "project")
        for number, name in enumerate(model):
            campaign = Campaign(project, name, chance)
            campaign.kill(kills // len(model) + (number < kills % len(model)))
            campaign.run_at_once()
            campaign.fill_disks()
            rows.append([name, *(str(campaign.counts[column]) for column in _HEADER[1:])])
            wrong |= campaign.wrong
            print(Table.of_texts(_HEADER, rows).markdown(), flush=True)
    sys.exit(int(wrong))


class Campaign:
    """All trials of one model in a copy of the project, and what came of them."""

    def __init__(self, project: Path, model: str, chance: random.Random) -> None:
        self.project, self.model, self.chance = project, model, chance
        self.folder = project.parent / model
        self.counts: Counter[str] = Counter()
        self.wrong = False
        self.longest_s: dict[str, float] = defaultdict(float)
        whole = self.folder / "whole"
        running, last = self._start(whole), time.monotonic()
        while not running.ended:
            time.sleep(_POLL_S)
            now = time.monotonic()
            self.longest_s[self._phase(whole)] += now - last
            last = now
        self.longest_s["saving"] = _SAVING_S
        done = running.wait()
        if done.returncode:
            raise SystemExit(f"{model}: undisturbed run: {done.stderr}{done.stdout}")
        self.wanted = outcome(whole)

    def kill(self, kills: int) -> None:
        """Kill the command this often, then compare what its last run leaves."""
        trial = killed = 0
        while killed < kills:
            trial += 1
            folder = self.folder / f"killed-{trial}"
            for moment in _MOMENTS[: kills - killed]:
                killed += self._kill_once(folder, moment)
            self._check(folder, self._start(folder))

    def run_at_once(self) -> None:
        """Run two equal commands at the same time."""
        folder = self.folder / "at-once"
        for running in [self._start(folder) for _ in range(2)]:
            self._check(folder, running)
        self.counts["two at once"] += 1

    def fill_disks(self) -> None:
        """Run on disks with room for a part of what the command writes, then with room for all."""
        needed = sum(path.stat().st_size for path in _files(self.folder / "whole"))
        for share in (0.05, 0.5, 0.99):
            folder = self.folder / f"full-{share}"
            with _small_disk(folder, int(share * needed)) as enlarge:
                if enlarge is None:
                    return
                done = self._start(folder).wait()
                if done.returncode not in (1, 2) or "Traceback" in done.stderr:
                    self._note_fault(folder, f"exit {done.returncode}: {done.stderr[-300:]}")
                enlarge()
                self._check(folder, self._start(folder))
                self.counts["full disks"] += 1

    def _start(self, folder: Path) -> Running:
        """Run the cell's command in the background; all that it writes goes below a folder."""
        words = ["--data-file", "few.npz", "--model", self.model, "--offline", "--device", "cpu"]
        words += ["--threads", "1", "--tracker", "none"]
        words += [f"--weights-dir={folder}/weights", f"--results-dir={folder}/results"]
        for name, value in (_SETTINGS | _OWN_SETTINGS.get(self.model, {})).items():
            words += ["--set", f"{name}={json.dumps(value)}"]
        return Running(self.project, "comparisons.py", *words)

    def _phase(self, folder: Path) -> str:
        """Return how far the cell has come, by the files that it has written."""
        if list(folder.glob("results/records/*/*.json")):
            return "tables"
        if list(folder.glob(f"weights/*/{self.model}-*.safetensors")):
            return "evaluation"
        return "training" if list(folder.glob("weights/*/*")) else "start"

    def _kill_once(self, folder: Path, moment: str) -> bool:
        """Run the command and kill it; return whether it was still running then."""
        before = set(folder.rglob(".*.tmp"))
        running, end = self._start(folder), math.inf
        command = psutil.Process(running.pid)
        while not running.ended and time.monotonic() < end:
            time.sleep(_POLL_S)
            if end == math.inf:
                saving = set(folder.rglob(".*.tmp")) - before
                if saving if moment == "saving" else self._phase(folder) == moment:
                    end = time.monotonic() + self.chance.uniform(0, self.longest_s[moment])
        if running.ended:
            running.wait()
            return False
        victims = [command, *command.children(recursive=True)]
        alone = self.chance.random() < 1 / 3
        for victim in victims[-1:] if alone else victims:
            victim.kill()
        running.wait()
        self._note(folder, f"killed in {moment}{', the worker alone' if alone else ''}")
        self.counts.update((moment, "runs"))
        self.counts["a file half written"] += bool(set(folder.rglob(".*.tmp")) - before)
        return True

    def _check(self, folder: Path, running: Running) -> None:
        """Compare what a run leaves with what the undisturbed one has left."""
        done = running.wait()
        found = {"exit": done.returncode} if done.returncode else outcome(folder)
        differing = [k for k in {**self.wanted, **found} if self.wanted.get(k) != found.get(k)]
        verdict = "different" if differing else "equal"
        self.counts.update((verdict, "runs"))
        self._note(folder, verdict)
        if differing:
            text = f"{', '.join(differing[:5])}; {done.stderr}{done.stdout}"
            self._note_fault(folder, text[:2000])

    def _note_fault(self, folder: Path, text: str) -> None:
        self.wrong = True
        self._note(folder, text)

    def _note(self, folder: Path, text: str) -> None:
        where = folder.relative_to(self.folder.parent)
        print(f"{where}: {text}", file=sys.stderr, flush=True)


def outcome(folder: Path) -> dict[str, Any]:
    """Return what is compared of the files that a cell has left below a folder, by their paths."""
    found: dict[str, Any] = {}
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        found[name] = file_sha256(path) if path.suffix == ".safetensors" else "there"
        if path.suffix == ".json":
            found[name] = json.loads(path.read_text(encoding="utf-8"), object_hook=_untimed)
    return found


def _untimed(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in fields.items()
        if name not in _TIMED_PARTS and not any(word in name for word in _TIMED)
    }


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _prepare(project: Path) -> Path:
    """Copy the project, with a few images to train on."""
    project.mkdir()
    copy_project(project)
    shutil.copytree(ROOT / "trunk", project / "trunk")
    labels = np.arange(32) % 4
    images = np.random.default_rng(0).integers(0, 200, (32, 8, 8), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2] = 255
    arrays = {"classes": np.array(["first", "second", "third", "fourth"])}
    arrays |= {"train_images": images[:20], "train_labels": labels[:20]}
    arrays |= {"test_images": images[20:], "test_labels": labels[20:]}
    np.savez(project / "few.npz", **arrays)  # type: ignore[arg-type]
    return project


@contextmanager
def _small_disk(folder: Path, size: int) -> Iterator[Callable[[], object] | None]:
    """Mount a file system of some bytes; yield what enlarges it, or None where none may be made."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        print("no file system can be mounted here: full disks are left out", file=sys.stderr)
        yield None
        return
    try:
        larger = ["mount", "-o", "remount,size=4g", str(folder)]
        yield lambda: subprocess.run(larger, check=True)
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S607


if __name__ == "__main__":
    typer.run(main)
