"""Kill cells at random moments, and compare what they leave with what an undisturbed run leaves.

    nice -n 15 python studies/kill_campaign.py --kills 100

Each trial runs the same command again and again and kills it, with SIGKILL, at a random moment of
its training, of its saving, of its evaluation and of its tables; a last run is left alone. Then two
equal commands run at once, and commands run on file systems that are too small for them, which are
enlarged afterwards. Digests of weights, predictions and records must be those of the undisturbed
run, and nothing may be left behind. docs/reliability.md has the figures.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer
from typer import Option

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from harness.report.table import Table
from tests.commands import Running, copy_project, run

_MODELS = ("resnet", "trunk", "resnet_quantized", "vgg_pruned")
# A kill of each kind in every trial, in the order in which a cell comes to them.
_MOMENTS = ("training", "saving", "training", "evaluation", "tables")
_POLL_S = 0.005
_SETTINGS: dict[str, Any] = {
    "image_size": 32,
    "checkpoint_minutes": 0,
    "training.epochs": 2,
    "training.batch_size": 4,
    "training.start": "random",
    "measurement.latency_rounds": 20,
    "measurement.latency_seconds": 0.1,
    "measurement.throughput_seconds": 0.05,
    "measurement.throughput_batch_sizes": "[1, 4]",
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

Kills = Annotated[int, Option(help="How many commands are killed, over all models.", min=1)]
Model = Annotated[list[str], Option(help="The models; repeatable.")]
Seed = Annotated[int, Option(help="Seed of the moments.")]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of the campaign: its command, run in a copy of the project, and its folder there."""

    project: Path
    model: str

    def command(self, folder: Path) -> list[str]:
        """Return the command line of the cell with everything that it writes below a folder."""
        settings = _SETTINGS | _OWN_SETTINGS.get(self.model, {})
        words = ["comparisons.py", "--data-file", "few.npz", "--model", self.model, "--offline"]
        words += ["--device", "cpu", "--threads", "1", "--tracker", "none"]
        words += [f"--weights-dir={folder}/weights", f"--results-dir={folder}/results"]
        for name, value in settings.items():
            words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
        return words

    def start(self, folder: Path) -> Running:
        """Run the command in the background."""
        return Running(self.project, *self.command(folder))

    def finish(self, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        done: subprocess.CompletedProcess[str] = run(self.project, *self.command(folder))
        return done

    def phase(self, folder: Path) -> str:
        """Return how far the cell has come, by the files that it has written."""
        if list(folder.glob("results/records/*/*.json")):
            return "tables"
        if list(folder.glob(f"weights/*/{self.model}-*.safetensors")):
            return "evaluation"
        return "training" if list(folder.glob("weights/*/*")) else "start"


def main(kills: Kills = 100, model: Model = list(_MODELS), seed: Seed = 0) -> None:  # noqa: B006
    """Kill, run at once and fill disks; print a table, and exit 1 where anything differs."""
    chance = random.Random(seed)  # noqa: S311
    rows, wrong = [], 0
    with tempfile.TemporaryDirectory() as folder:
        project = _prepare(Path(folder))
        for number, name in enumerate(model):
            share = kills // len(model) + (number < kills % len(model))
            campaign = _Campaign(Cell(project=project, model=name), Path(folder) / name, chance)
            campaign.kill(share)
            campaign.run_at_once()
            campaign.fill_disks()
            rows.append(campaign.row())
            wrong += len(campaign.faults)
            print(Table.of_texts(_HEADER, rows).markdown(), flush=True)
    sys.exit(int(wrong > 0))


_HEADER = ("Model", *dict.fromkeys(_MOMENTS), "a file half written", "runs", "two at once")
_HEADER += ("full disks", "equal", "different")


class _Campaign:
    """All trials of one model, and what came of them."""

    def __init__(self, cell: Cell, folder: Path, chance: random.Random) -> None:
        self.cell, self.folder, self.chance = cell, folder, chance
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.durations: Counter[str] = Counter()
        whole = folder / "whole"
        self._watch(cell.start(whole), whole)
        self.wanted = outcome(whole)

    def kill(self, kills: int) -> None:
        """Kill the command this often, then compare what its last run leaves."""
        trial = killed = 0
        while killed < kills:
            trial += 1
            folder = self.folder / f"killed-{trial}"
            for moment in _MOMENTS[: kills - killed]:
                found = self._kill_once(folder, moment)
                killed += found
                self.counts[moment] += found
            self._check(folder, self.cell.finish(folder))

    def run_at_once(self) -> None:
        """Run two equal commands at the same time."""
        folder = self.folder / "at-once"
        running = [self.cell.start(folder) for _ in range(2)]
        for each in running:
            self._check(folder, each.wait())
        self.counts["two at once"] += 1

    def fill_disks(self) -> None:
        """Run on disks with room for a part of what the command writes, then with room for all."""
        needed = self._bytes(self.folder / "whole")
        for share in (0.05, 0.5, 0.99):
            folder = self.folder / f"full-{share}"
            with _small_disk(folder, int(share * needed)) as enlarge:
                if enlarge is None:
                    return
                done = self.cell.finish(folder)
                if done.returncode not in (1, 2) or "Traceback" in done.stderr:
                    self._fault(folder, f"exit {done.returncode}: {done.stderr[-300:]}")
                enlarge()
                self._check(folder, self.cell.finish(folder))
                self.counts["full disks"] += 1

    def row(self) -> list[str]:
        """Return the figures of this model, in the order of the header."""
        return [self.cell.model, *(str(self.counts[name]) for name in _HEADER[1:])]

    def _kill_once(self, folder: Path, moment: str) -> bool:
        """Run the command and kill it; return whether it was still running then."""
        left = set(folder.rglob(".*.tmp"))
        running = self.cell.start(folder)
        processes = psutil.Process(running.pid)
        while not running.ended and not self._has_come(folder, moment, left):
            time.sleep(_POLL_S)
        longest = 0.03 if moment == "saving" else self.durations[moment]
        end = time.monotonic() + self.chance.uniform(0, longest)
        while not running.ended and time.monotonic() < end:
            time.sleep(_POLL_S)
        if running.ended:
            running.wait()
            return False
        victims = [processes, *processes.children(recursive=True)]
        alone = self.chance.random() < 1 / 3
        for victim in victims[-1:] if alone else victims:
            victim.kill()
        running.wait()
        self._note(folder, f"killed in {moment}{', the worker alone' if alone else ''}")
        self.counts["runs"] += 1
        self.counts["a file half written"] += bool(set(folder.rglob(".*.tmp")) - left)
        return True

    def _has_come(self, folder: Path, moment: str, left: set[Path]) -> bool:
        if moment == "saving":
            return bool(set(folder.rglob(".*.tmp")) - left)
        return self.cell.phase(folder) == moment

    def _watch(self, running: Running, folder: Path) -> None:
        """Note how long each phase of an undisturbed run takes."""
        last = time.monotonic()
        while not running.ended:
            time.sleep(_POLL_S)
            now = time.monotonic()
            self.durations[self.cell.phase(folder)] += now - last  # type: ignore[assignment]
            last = now
        done = running.wait()
        if done.returncode:
            raise SystemExit(f"{self.cell.model}: undisturbed run: {done.stderr}{done.stdout}")

    def _check(self, folder: Path, done: subprocess.CompletedProcess[str]) -> None:
        """Compare what a run that ended has left with what the undisturbed one has."""
        self.counts["runs"] += 1
        found = outcome(folder) if done.returncode == 0 else {"exit": str(done.returncode)}
        differing = [k for k in {**self.wanted, **found} if self.wanted.get(k) != found.get(k)]
        self.counts["different" if differing else "equal"] += 1
        self._note(folder, "different" if differing else "equal")
        if differing:
            self._fault(folder, f"{', '.join(differing[:5])}; {done.stderr}{done.stdout}"[:2000])

    def _fault(self, folder: Path, text: str) -> None:
        self.faults.append(f"{folder.relative_to(self.folder.parent)}: {text}")
        self._note(folder, text)

    def _note(self, folder: Path, text: str) -> None:
        print(f"{folder.relative_to(self.folder.parent)}: {text}", file=sys.stderr, flush=True)

    @staticmethod
    def _bytes(folder: Path) -> int:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def outcome(folder: Path) -> dict[str, str]:
    """Return digests of what a cell has left below a folder, by the path of the file."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".json":
            text = json.dumps(_untimed(json.loads(path.read_text(encoding="utf-8"))))
            found[name] = hashlib.sha256(text.encode()).hexdigest()
        elif path.suffix == ".safetensors":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "there"
    return found


def _untimed(value: Any) -> Any:
    """Return JSON without what time decides."""
    if isinstance(value, dict):
        return {
            name: _untimed(each)
            for name, each in value.items()
            if name not in _TIMED_PARTS and not any(word in name for word in _TIMED)
        }
    return [_untimed(each) for each in value] if isinstance(value, list) else value


def _prepare(folder: Path) -> Path:
    """Return a copy of the project with a few images to train on."""
    project = folder / "project"
    project.mkdir()
    copy_project(project)
    shutil.copytree(ROOT / "trunk", project / "trunk")
    pixels = np.random.default_rng(0)
    labels = np.arange(32) % 4
    images = pixels.integers(0, 200, (32, 8, 8), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2] = 255
    names = np.array(["first", "second", "third", "fourth"])
    arrays = {"train_images": images[:20], "train_labels": labels[:20], "classes": names}
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
