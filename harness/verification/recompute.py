"""Checks of a record's images, weights, counts and accuracy, recomputed without training."""

from __future__ import annotations

import dataclasses
from importlib import metadata

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from harness.catalog import load_model
from harness.data.loading import DataSource, ImageData, load_job_data
from harness.data.splits import MemorySplit
from harness.errors import CellError, RequestError
from harness.jobs import Job
from harness.measure.conditions import fp32_precision, set_threads
from harness.measure.environment import device_name
from harness.measure.operations import count_parameters, measure_operations
from harness.networks.adapter import adapt
from harness.networks.build import build_network
from harness.networks.weights import read_sidecar
from harness.networks.weights_files import trained_weights_path
from harness.records.cell import Record
from harness.records.predictions import make_predictions
from harness.registry import find_dataset
from harness.run.accuracy import measure_accuracy
from harness.run.count import count_path
from harness.run.provision import ReadyNetwork, ready_network
from harness.settings import settings_adapter, settings_with_start
from harness.spec import ModelSpec
from harness.util.files import file_sha256
from harness.verification.checks import Check, Places, check_code, compare, unknown

_COUNTS = ("params", "gmacs", "gmacs_thop", "weights_mb")
_ACCURACY = ("accuracy_top1",)
# On another processor or with another version, rounding may change the class of a few images.
_IMAGES_TO_ONE_CHANGE = 1000


def check_record(record: Record, places: Places) -> list[Check]:
    """Return checks of the record of a cell that is ok."""
    try:
        job, spec = _recorded_job(record, places), load_model(record.cell.model)
    except RequestError as error:
        return unknown(("data_sha256", "weights_sha256", *_COUNTS, *_ACCURACY), str(error))
    images, image_checks = _find_images(job, spec, record)
    stand_in = _images_as_recorded(record, images)
    if stand_in is None:
        reason = "how many colours its images have is not known without them"
        return image_checks + unknown(("weights_sha256", *_COUNTS, *_ACCURACY), reason)
    ready, weight_checks = _find_network(job, spec, record, stand_in)
    return [
        *check_code(record.weights.code_digest, record.cell.model),
        *image_checks,
        *weight_checks,
        *_check_counts(job, spec, record, stand_in, ready),
        *_check_accuracy(job, spec, record, images, ready),
    ]


def _recorded_job(record: Record, places: Places) -> Job:
    """Return the job of a record, with weights that are loaded and never trained."""
    try:
        settings = settings_adapter().validate_python(record.settings.settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RequestError(f"setting {where} is not one of this version: {first['msg']}") from None
    if settings.weights == "train":
        settings = dataclasses.replace(settings, weights="auto")
    start = record.compression.base_start if record.compression else record.weights.start
    if settings.training.start == "auto" and start:
        settings = settings_with_start(settings, start)
    files = [path for path in places.data_files if path.name == record.data.data_name]
    return Job(
        cell=record.cell,
        settings=settings,
        data_dir=places.data_dir,
        data_file=files[0] if files and not record.data.data_official else None,
        weights_dir=places.weights_dir,
        published_dir=places.published_dir,
        results_dir=places.results_dir,
        offline=True,
        command=record.provenance.command,
    )


def _find_images(job: Job, spec: ModelSpec, record: Record) -> tuple[ImageData | None, list[Check]]:
    """Return the images of a record, if they are available and unchanged."""
    if not record.data.data_official and job.data_file is None:
        return None, unknown("data_sha256", f"give --data-file …/{record.data.data_name}")
    try:
        images = load_job_data(job, spec)
    except RequestError as error:
        return None, unknown("data_sha256", str(error))
    check = compare("data_sha256", record.data.data_sha256, images.source.sha256)
    return images if check.holds else None, [check]


def _images_as_recorded(record: Record, images: ImageData | None) -> ImageData | None:
    """Return the description of a record's images without any image; None if unknown."""
    dataset, mean = find_dataset(record.cell.dataset), record.settings.settings.get("mean")
    known = images or dataset
    channels = known.channels if known else len(mean or ())
    if not channels:
        return None
    none = MemorySplit(torch.empty(0, channels, 1, 1), torch.empty(0, dtype=torch.int64))
    source = DataSource(
        name=record.data.data_name,
        sha256=record.data.data_sha256,
        digest_of=record.data.data_digest_of,
        official=record.data.data_official,
    )
    return ImageData(
        train=none, test=none, classes=tuple(record.data.classes), channels=channels, source=source
    )


def _find_network(
    job: Job, spec: ModelSpec, record: Record, images: ImageData
) -> tuple[ReadyNetwork | None, list[Check]]:
    """Return the network with the record's weights, if they are available and unchanged."""
    origin, recorded = record.weights.weights_origin, record.weights.weights_sha256
    checks: list[Check] = []
    if origin == "imagenet":
        return None, unknown("weights", "pre-trained weights are not fetched to verify")
    if origin == "trained":
        try:
            path = trained_weights_path(job, record.data.data_sha256)
            there = read_sidecar(path) is not None
        except RequestError as error:
            return None, unknown("weights_sha256", str(error))
        if not there:
            name = f"{path.parent.name}/{path.name}"
            return None, unknown("weights_sha256", f"no weights at {name} in the weights folder")
        checks = [compare("weights_sha256", recorded, file_sha256(path))]
        if not checks[0].holds:
            return None, checks
    try:
        ready = ready_network(job, spec, images)
    except RequestError as error:
        return None, checks or unknown("weights_sha256", str(error))
    if origin == "published":
        checks = [compare("weights_sha256", recorded, ready.sha256)]
    return ready if all(check.holds for check in checks) else None, checks


def _check_counts(
    job: Job, spec: ModelSpec, record: Record, images: ImageData, ready: ReadyNetwork | None
) -> list[Check]:
    size = record.settings.image_size
    example = torch.zeros(1, images.channels, size, size)
    try:
        network = ready.network if ready else _build(job, spec, images)
        counts = _count(network, example)
        paths = adapt(network).paths_named([path.name for path in record.paths])
        now = {path.name: count_path(path, example) for path in paths}
    except (CellError, RequestError) as error:
        return unknown(_COUNTS, str(error))
    checks = [compare(name, record.flat[name], value) for name, value in counts.items()]
    for path in record.paths if adapt(network).paths else ():
        name, found = f"paths.{path.name}", now.get(path.name)
        if found is None:
            checks.append(Check(field=name, holds=False, text="recorded, now there is none"))
        else:
            fields = [(field, getattr(path, field), found[field]) for field in _COUNTS]
            checks += [compare(f"{name}.{field}", then, value) for field, then, value in fields]
    return checks


def _build(job: Job, spec: ModelSpec, images: ImageData) -> nn.Module:
    """Build a network, or raise RequestError if its shape depends on its weights."""
    if spec.rebuild is not None:
        raise RequestError("its shape comes out of its training, and its weights are not at hand")
    with torch.device("meta"):
        return build_network(spec, job.settings, len(images.classes), images.channels)


def _count(network: nn.Module, example: Tensor) -> dict[str, float | None]:
    """Return the counts of a network; of one with paths, only those of the whole network."""
    adapter = adapt(network)
    whole: dict[str, float | None] = {
        "params": count_parameters(adapter.counted),
        "weights_mb": adapter.weights_mb,
    }
    if adapter.paths:
        return whole
    operations = measure_operations(adapter.counted, example)
    return {**whole, "gmacs": operations.gmacs, "gmacs_thop": operations.gmacs_thop}


def _check_accuracy(
    job: Job, spec: ModelSpec, record: Record, images: ImageData | None, ready: ReadyNetwork | None
) -> list[Check]:
    if images is None or ready is None:
        what = "the same weights" if images else "the same images"
        return unknown(_ACCURACY, f"it takes {what}")
    if record.cell.device == "cuda" and not torch.cuda.is_available():
        return unknown(_ACCURACY, "it was taken on a GPU, and there is none here")
    threads = set_threads(job.settings.threads)
    try:
        with fp32_precision(job.settings.measurement.fp32_precision):
            found, _ = measure_accuracy(ready.network.to(record.cell.device), job, spec, images)
    except CellError as error:
        return unknown(_ACCURACY, str(error))
    then = record.accuracy
    recorded = round((then.accuracy_top1 or 0.0) * (then.n_test or 0) / 100)
    now = round(found.accuracy_top1 * found.n_test / 100)
    allowed = 0 if _is_same_machine(record, threads) else 1 + found.n_test // _IMAGES_TO_ONE_CHANGE
    text = f"recorded {recorded} of {then.n_test} images right, now {now} of {found.n_test}"
    holds = found.n_test == then.n_test and abs(now - recorded) <= allowed
    checks = [Check(field="accuracy_top1", holds=holds, text=text)]
    if then.predictions_sha256 is not None and not allowed:
        predictions = make_predictions(found.predictions, images.test.labels.numpy())
        checks.append(compare("predictions_sha256", then.predictions_sha256, predictions.sha256))
    return checks


def _is_same_machine(record: Record, threads: int) -> bool:
    """Whether rounding must be the same as in the record."""
    libraries = record.provenance.environment.get("libraries", {})
    return (
        device_name(record.cell.device) == record.machine.device_name
        and libraries.get("torch") == metadata.version("torch")
        and threads == record.machine.threads
    )
