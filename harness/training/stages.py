"""Training in several stages, for `ModelSpec.fit`; a finished stage is never repeated."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed
from pydantic import TypeAdapter
from torch import Tensor, nn

from harness.data.batches import ImageBatches
from harness.data.preprocess import Preprocess
from harness.data.splits import Split
from harness.errors import RequestError
from harness.jobs import Device
from harness.networks.weights import Sidecar, load_state, read_tensors, write_state
from harness.records.parts import Epoch, Percent
from harness.settings_spec import Settings, TrainingSettings
from harness.training.checkpoints import delete_checkpoint, load_training
from harness.training.loop import Batches, EpochLog, train
from harness.training.steps import Objective
from harness.training.tracker import UNTRACKED, Tracker
from harness.util.files import regular_file, write_text
from harness.util.hashing import hash_json


@dataclass(eq=False)
class Stages:
    """The stages of one training, kept in a folder until its weights are safe.

    A finished stage is `<name>.safetensors` and `<name>.json`, the one in progress
    `<name>.checkpoint`.

    Attributes:
        logs: One entry an epoch of every stage so far: stage, epoch, loss, accuracy,
            learning_rate, seconds.
        notes: What was noted on the way, by name, for the record.
    """

    folder: Path
    _: KW_ONLY
    device: Device
    checkpoint_seconds: float
    title: str
    tracker: Tracker = UNTRACKED
    logs: list[EpochLog] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def train(
        self,
        name: str,
        network: nn.Module,
        batches: Batches,
        recipe: TrainingSettings,
        objective: Objective | None = None,
    ) -> None:
        """Train a network in place, or load its weights if the stage is finished already.

        The name of the stage is unique and fit for a file name; the other arguments are those of
        `harness.training.loop.train`.

        Raises:
            RequestError: As `train`, or a file of an earlier run is corrupt.
            CellError: As `train`.
        """

        def note(log: EpochLog) -> None:
            self.logs.append({"stage": name, **log})
            self.tracker.log_epoch(self.logs[-1])

        weights = self._file(name, "safetensors")
        if regular_file(weights).exists():
            load_state(network, read_tensors(weights), str(weights))
            network.eval()
            for log in self.compute(name, list, list[Epoch]):
                note(log)
        else:
            checkpoint = self._file(name, "checkpoint")
            logs = train(
                network,
                batches,
                recipe,
                device=self.device,
                checkpoint=checkpoint,
                checkpoint_seconds=self.checkpoint_seconds,
                title=f"{self.title} {name}",
                objective=objective,
                on_epoch=note,
            )
            write_text(self._file(name, "json"), json.dumps(logs))
            # Last, because this file says that the stage is done.
            write_state(weights, network)
            delete_checkpoint(checkpoint)

    def make(
        self,
        name: str,
        work: Callable[[], nn.Module],
        *,
        describe: Callable[[nn.Module], dict[str, Any]],
        rebuild: Callable[[dict[str, Any]], nn.Module],
    ) -> nn.Module:
        """Return the network that `work` makes, or the one that an earlier run made.

        `rebuild` makes that network, with any weights, from what `describe` returned, which is
        something that JSON can hold.

        Raises:
            RequestError: A file of an earlier run is corrupt.
        """
        weights = self._file(name, "safetensors")
        if weights.exists():
            network = rebuild(self.compute(name, dict, dict[str, Any]))
            load_state(network, read_tensors(weights), str(weights))
        else:
            network = work()
            write_text(self._file(name, "json"), json.dumps(describe(network)))
            # Last, because this file says that the stage is done.
            write_state(weights, network)
        return network.eval()

    def note(self, name: str, work: Callable[[], Any]) -> None:
        """Add the percentage that `work` returns to the `notes`; it is computed once.

        Raises:
            RequestError: As `compute`.
        """
        self.notes[name] = self.compute(name, work, Percent)

    def compute(self, name: str, work: Callable[[], Any], kind: Any = Any) -> Any:
        """Return the JSON value of a type that `work` returns, or that an earlier run stored.

        Raises:
            RequestError: The file of an earlier run is corrupt.
        """
        file = self._file(name, "json")
        if not regular_file(file).exists():
            write_text(file, json.dumps(work()))
        try:
            text = file.read_bytes()
            TypeAdapter(kind).validate_json(text, strict=True)
            return json.loads(text)
        except (OSError, ValueError) as error:
            raise RequestError(
                f"{file}: damaged; delete {file.stem}.* in that folder to do this stage again"
            ) from error

    def _file(self, name: str, suffix: str) -> Path:
        return self.folder / f"{name}.{suffix}"


def describe_progress(folder: Path) -> str | None:
    """Return a description of the progress of a training in stages; None if there is none."""
    count = len(list(folder.glob("*.safetensors")))
    done = "1 stage is done" if count == 1 else f"{count} stages are done"
    for checkpoint in folder.glob("*.checkpoint"):
        state = load_training(checkpoint)
        if state is not None:
            epoch, step = len(state["logs"]) + 1, state["tally"]["step"] + 1
            return f"{done}, on with {checkpoint.stem}, epoch {epoch}, step {step}"
    return done if count else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Base:
    """The trained network that a compressed model is made from, on the CPU, in evaluation mode.

    `accuracy` returns the top-1 accuracy of a network on the test images, in percent: to be noted,
    never to decide anything.
    """

    name: str
    network: nn.Module
    sidecar: Sidecar
    accuracy: Callable[[nn.Module], float]


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """The arguments of `ModelSpec.fit`.

    `split` are the training images, `preprocess` turns them into network input, and `val` are
    images of the data set that are held out, not to be trained on, if any are.
    """

    settings: Settings
    num_classes: int
    channels: int
    split: Split
    preprocess: Preprocess
    device: Device
    stages: Stages
    base: Base | None = None
    val: Split | None = None

    def image_batches(self, recipe: TrainingSettings, labels: Tensor) -> ImageBatches:
        """Return batches of training images with the augmentation of a recipe.

        `labels`, int64, are what is to be learned of each image; -1 leaves it out.
        """
        return ImageBatches(
            self.split, self.preprocess, recipe, self.settings.seed, self.device, labels
        )

    def seed_all(self, stage: str) -> None:
        """Seed all generators for a stage, so that it does not depend on the stages before it."""
        set_seed(int(hash_json([self.settings.seed, stage])[:8], 16))
