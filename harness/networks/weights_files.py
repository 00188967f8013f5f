"""The weights files of a job: where they are, and whether those that are there are the right ones.

Files of an unfinished training are named after the weights that it will leave.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.errors import RequestError
from harness.jobs import Job
from harness.networks.weights import Sidecar, read_sidecar
from harness.registry import model_code
from harness.settings import recipe_hash, settings_with_start
from harness.spec import ModelSpec
from harness.util.hashing import hash_json


def base_job(job: Job, spec: ModelSpec) -> Job:
    """Return the job whose trained network a compressed model is made from.

    Its settings are those of the base's own cell, so that both mean the same weights file.
    """
    settings = replace(job.settings, quantization=None, pruning=None, weights="auto")
    return replace(job, cell=replace(job.cell, model=spec.base), settings=settings)


def with_start(job: Job, start: str) -> Job:
    """Return a job whose training starts from these weights: auto, imagenet or random."""
    return replace(job, settings=settings_with_start(job.settings, start))


def trained_weights_path(job: Job, data_sha256: str) -> Path:
    """Return the file of the weights that this job's training has left, if it has.

    They are stored under the model's code and under the start that was really used; of the two
    that `training.start: auto` can mean, ImageNet comes first. Earlier versions did not note the
    code, and before that stored both starts under `auto`: such a file is found by the start in its
    sidecar, whose `code` is empty.

    Raises:
        RequestError: A sidecar cannot be read, or is not that of this training.
    """
    wanted = job.settings.training.start
    for code in dict.fromkeys((model_code(job.cell.model), "")):
        under_auto = _weights_path(with_start(job, "auto"), data_sha256, code)
        for start in ("imagenet", "random") if wanted == "auto" else (wanted,):
            path = _weights_path(with_start(job, start), data_sha256, code)
            if path.exists():
                return _require_agreement(path, job, data_sha256)
            sidecar = read_sidecar(under_auto)
            if sidecar is not None and sidecar.real_start == start:
                return _require_agreement(under_auto, job, data_sha256)
    return unfinished_path(job, data_sha256)


def _require_agreement(path: Path, job: Job, data_sha256: str) -> Path:
    """Return the path of weights whose sidecar, if there is one, is that of a job's training.

    Raises:
        RequestError: The sidecar is another one's: the files were exchanged or altered.
    """
    sidecar = read_sidecar(path)
    if sidecar is None:
        return path
    starts = ("auto", "imagenet", "random")
    wanted: dict[str, tuple[object, ...]] = {
        "dataset": (job.cell.dataset,),
        "model": (job.cell.model,),
        "data_sha256": (data_sha256,),
        "seed": (job.settings.seed,),
        "image_size": (job.settings.image_size or sidecar.image_size,),
        "recipe_hash": tuple(recipe_hash(with_start(job, start).settings) for start in starts),
    }
    for name, right in wanted.items():
        found = getattr(sidecar, name)
        if found not in right:
            raise RequestError(
                f"{path.with_suffix('.json')}: {name} is {found}, {right[0]} wanted: not the "
                "weights of this cell; restore them, or delete both files to train again"
            )
    return path


def with_stored_start(job: Job, data_sha256: str) -> Job:
    """Return a job that looks for no better start, where its weights are there already."""
    if (job.settings.weights, job.settings.training.start) != ("auto", "auto"):
        return job
    sidecar = read_sidecar(trained_weights_path(job, data_sha256))
    return job if sidecar is None else with_start(job, sidecar.real_start)


def fell_back(job: Job, spec: ModelSpec, sidecar: Sidecar) -> bool:
    """Whether weights come from a random start because ImageNet's could not be had.

    Of a compressed model, `spec` is that of its base.
    """
    auto = job.settings.training.start == "auto"
    return auto and bool(spec.pretrained) and sidecar.real_start == "random"


def unfinished_path(job: Job, data_sha256: str) -> Path:
    """Return the path that files of an unfinished training are named after.

    Each recipe, data and code of the model has one, at which the weights go too, unless the
    settings leave the start to chance (auto).
    """
    return _weights_path(job, data_sha256, model_code(job.cell.model))


def _weights_path(job: Job, data_sha256: str, code: str) -> Path:
    parts = [recipe_hash(job.settings), data_sha256]
    key = hash_json([*parts, code] if code else parts)[:8]
    return job.weights_dir / job.cell.dataset / f"{job.cell.model}-{key}.safetensors"


def checkpoint_path(weights: Path) -> Path:
    """Return the file of an unfinished training of these weights."""
    return weights.with_suffix(".checkpoint")


def stages_folder(weights: Path) -> Path:
    """Return the folder of the stages of an unfinished training of these weights."""
    return weights.with_suffix(".stages")


def tracking_path(weights: Path) -> Path:
    """Return the file that notes how far an unfinished training of these weights is tracked."""
    return weights.with_suffix(".tracking.json")
