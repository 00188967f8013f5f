"""Load a data set by name, from wherever its images are, and check it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch

from harness.data.listed import OwnImages, mark_digest
from harness.data.npz import arrays_sha256, check_parts
from harness.data.own import read_own
from harness.data.splits import MemorySplit, Split, memory_splits, take_rows
from harness.errors import RequestError
from harness.jobs import Job
from harness.registry import find_dataset
from harness.settings_spec import DataSettings
from harness.spec import DatasetSpec, ModelSpec, Splits
from harness.util.fetch import fetch, has_digest
from harness.util.files import absolute, regular_file

logger = logging.getLogger(__name__)

# Exceptions of loading code when files are absent, damaged, or cannot be fetched.
_NOT_LOADED = (OSError, RuntimeError, ValueError, TypeError, LookupError, AssertionError, EOFError)
_AS_THEY_ARE = DataSettings()


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """The origin of images.

    Attributes:
        name: The data set's name for its official images, else the name of the file or folder.
        sha256: Digest of the images and labels.
        digest_of: What `sha256` was computed from, in words.
        official: Whether these are the data set's own images in its own split.
        notes: What was done to images, and what was left out, in words.
    """

    name: str
    sha256: str
    digest_of: str
    official: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """A data set ready to be used; `classes` are in the order of the labels.

    `val` are held-out images that are neither trained on nor tested on; None: there are none.
    """

    train: Split
    test: Split
    val: Split | None = None
    classes: tuple[str, ...]
    channels: int
    source: DataSource


def load_data(
    dataset: str,
    spec: DatasetSpec | None,
    *,
    data_dir: Path,
    data_file: Path | None,
    offline: bool,
    image_size: int,
    memory_limit_gb: float,
    settings: DataSettings = _AS_THEY_ARE,
) -> ImageData:
    """Return the images of a data set, checked.

    Args:
        dataset: The data set's name.
        spec: Its specification; None for the user's own data set.
        data_dir: Folder of the official images, where they are also fetched to.
        data_file: The user's images (docs/data.md), which take the place of the official ones.
        offline: Fetch nothing.
        image_size: Side that images of files are resized to where their sizes differ.
        memory_limit_gb: Images of files that would take more, in 10^9 bytes, are decoded by
            workers as they are used.
        settings: Which images are tested on, where the data set does not say.

    Raises:
        RequestError: Images are missing, damaged, or not those of the data set.
    """
    if data_file is None:
        if spec is None:
            raise RequestError(f"data set '{dataset}' is your own: name its --data-file")
        if settings.test_share is not None:
            raise RequestError(
                f"setting data.test_share: {spec.label} has test images of its own; leave it out"
            )
        return _load_official(dataset, spec, data_dir, offline)
    try:
        own = read_own(
            data_file,
            spec,
            image_size=image_size,
            memory_limit_gb=memory_limit_gb,
            one_part=settings.test_share is not None,
        )
    except FileNotFoundError as error:
        raise RequestError(f"{data_file}: {error.strerror}") from error
    except OSError as error:
        raise RequestError(f"{data_file}: cannot be read ({error})") from error
    return _complete(own, data_file, settings)


def _load_official(dataset: str, spec: DatasetSpec, data_dir: Path, offline: bool) -> ImageData:
    splits = _official_splits(dataset, spec, data_dir, offline)
    check_parts(splits.parts, spec.classes, dataset)
    digest = arrays_sha256(splits)
    if spec.splits_sha256 and digest != spec.splits_sha256:
        raise RequestError(
            f"{dataset}: other images than the official ones: their SHA-256 is {digest}, not "
            f"{spec.splits_sha256}; {spec.advice}"
        )
    parts = memory_splits(splits.parts)
    return ImageData(
        **parts,
        classes=spec.classes,
        channels=parts["train"].images.shape[1],
        source=DataSource(
            name=dataset,
            sha256=digest,
            digest_of="arrays of images and labels",
            official=bool(spec.files or spec.splits_sha256),
        ),
    )


def _official_splits(dataset: str, spec: DatasetSpec, data_dir: Path, offline: bool) -> Splits:
    """Return the images of the official files, which are fetched where they are not there."""
    for file in spec.files:
        regular_file(data_dir / file.path)
    cause = ""
    for fetching in (False, True) if spec.files and not offline else (False,):
        if fetching:
            logger.info("%s: %s", dataset, cause)
            for file in spec.files:
                path = data_dir / file.path
                fetch(file.url, path, digest=f"md5:{file.md5}", size=file.bytes)
        try:
            return spec.load_splits(data_dir)
        except _NOT_LOADED as error:
            # torchvision's advice is for programmers who call it.
            words = " ".join(str(error).split()).split(". You can use")[0]
            cause = words or type(error).__name__
    advice = [spec.advice] if spec.advice else []
    missing = [
        file for file in spec.files if not has_digest(data_dir / file.path, f"md5:{file.md5}")
    ]
    if missing:
        names = ", ".join(PurePosixPath(file.path).name for file in missing)
        address = missing[0].url.rpartition("/")[0]
        folder = (data_dir / missing[0].path).parent
        advice.insert(0, f"put {names} of {address}/ into {folder}")
    cause = f"offline; {cause}" if offline else cause
    raise RequestError(
        "; ".join([f"{dataset}: no usable images in '{data_dir}' ({cause})", *advice])
    )


def _complete(own: OwnImages, path: Path, settings: DataSettings) -> ImageData:
    """Return the user's images with test images, which may have to be drawn."""
    parts, notes, digest = {**own.parts}, [*own.notes], own.sha256
    if settings.test_share is not None:
        if "test" in parts:
            raise RequestError(f"{path} has test images of its own: leave out data.test_share")
        share, seed = settings.test_share, settings.test_seed
        parts |= _share_out(parts["train"], own.classes, path, share, seed)
        notes.append(f"test images: {share:g} of each class, drawn with data.test_seed={seed}")
        digest = mark_digest(digest, notes[-1])
    if "test" not in parts:
        raise RequestError(
            f"{path}: no test images; wanted a part called test, or --set data.test_share=0.2"
        )
    if "val" in parts:
        notes.append(
            f"{len(parts['val'])} validation image(s) are not trained on; TRUNK groups by them"
        )
    return ImageData(
        **parts,
        classes=own.classes,
        channels=own.channels,
        source=DataSource(
            name=absolute(path).name,
            sha256=digest,
            digest_of=own.digest_of,
            official=False,
            notes=tuple(notes),
        ),
    )


def _share_out(
    whole: Split, classes: Sequence[str], path: Path, share: float, seed: int
) -> dict[str, Split]:
    """Return the training images in two parts, train and test, drawn from each class alike.

    Tested on is `share` of a class, rounded, but one image at least, and not all.
    """
    tested = torch.zeros(len(whole), dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for label, name in enumerate(classes):
        members = (whole.labels == label).nonzero()[:, 0]
        if len(members) == 1:
            raise RequestError(
                f"{path}: class '{name}' has 1 image: data.test_share wants 2 or more, one to "
                "train on and one to test on"
            )
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        order = torch.randperm(len(members), generator=generator)
        tested[members[order[:count]]] = True
    return {
        "train": take_rows(whole, (~tested).nonzero()[:, 0]),
        "test": take_rows(whole, tested.nonzero()[:, 0]),
    }


def images_key(job: Job, spec: ModelSpec) -> Hashable:
    """Return what jobs of one request have in common whose images are the same."""
    which = (job.cell.dataset, job.settings.data)
    # What is in a file of arrays does not depend on the network that it is read for.
    if job.data_file is None or job.data_file.suffix.lower() in (".npz", ".mat"):
        return which
    return *which, spec.input_size(job.settings), job.settings.memory_limit_gb


def load_job_data(job: Job, spec: ModelSpec) -> ImageData:
    """Load the images that a job names, as `load_data` does."""
    return load_data(
        job.cell.dataset,
        find_dataset(job.cell.dataset),
        data_dir=job.data_dir,
        data_file=job.data_file,
        offline=job.offline,
        image_size=spec.input_size(job.settings),
        memory_limit_gb=job.settings.memory_limit_gb,
        settings=job.settings.data,
    )


def load_or_stand_in(job: Job, spec: ModelSpec) -> ImageData:
    """Return the images of a job; for random weights, one random image of the same shape.

    The time that a network takes does not depend on what is in the image, so latencies of networks
    with random weights can be compared at the shape of a data set that is not at hand.
    """
    dataset = find_dataset(job.cell.dataset)
    if job.settings.weights != "random" or job.data_file is not None or dataset is None:
        return load_job_data(job, spec)
    shape = (1, dataset.channels, dataset.image_size, dataset.image_size)
    generator = torch.Generator().manual_seed(job.settings.seed)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    split = MemorySplit(pixels, torch.zeros(1, dtype=torch.int64))
    source = DataSource(
        name="random pixels",
        sha256=hashlib.sha256(pixels.numpy().tobytes()).hexdigest(),
        digest_of="the pixels",
        official=False,
    )
    return ImageData(
        train=split, test=split, classes=dataset.classes, channels=dataset.channels, source=source
    )
