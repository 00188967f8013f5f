"""Published weight files: listing, fetching, and reading them without unpickling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote
from zipfile import is_zipfile

from harness.errors import NotPublishedError, RequestError
from harness.registry import ROOT
from harness.spec import StateDict
from harness.util.fetch import describe_content, fetch, file_digest
from harness.util.files import read_csv, regular_file

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = ROOT / "configs" / "published"
REPOSITORY_URL = "https://github.com/nikki0519/TRUNK_Tutorial_Paper/raw"


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """One published weight file: its digest (sha256 or git-sha1), commit, path and size."""

    dataset: str
    model: str
    digest: str
    commit: str
    path: str
    digest_kind: str = "sha256"
    bytes: str = ""

    @property
    def url(self) -> str:
        """The address that the file is downloaded from."""
        return f"{REPOSITORY_URL}/{self.commit}/{quote(self.path)}"


def published_file(dataset: str, model: str) -> PublishedFile:
    """Return the published weight file of a data set and model, or raise NotPublishedError."""
    for row in read_csv(FOLDER / "weights.csv"):
        if (row["dataset"], row["model"]) == (dataset, model):
            return PublishedFile(**row)
    raise not_published(dataset, model)


def require_published(dataset: str, model: str) -> None:
    """Raise NotPublishedError unless weights were published for a data set and model."""
    if model not in _published_models().get(dataset, ()):
        raise not_published(dataset, model)


def not_published(dataset: str, model: str) -> NotPublishedError:
    """Return the error that says what was published instead."""
    there = _published_models()
    which = f"there are some for: {', '.join(there)}"
    if dataset in there:
        which = f"for {dataset} there are: {', '.join(there[dataset])}"
    return NotPublishedError(
        f"--weights published: no weights were published for {dataset}/{model}; {which}"
    )


def _published_models() -> dict[str, list[str]]:
    """Return the models whose weights were published, sorted, by data set."""
    cells = {(row["dataset"], row["model"]) for row in read_csv(FOLDER / "weights.csv")}
    cells |= {(row["dataset"], "trunk") for row in read_csv(FOLDER / "trunk_weights.csv")}
    models: dict[str, list[str]] = {}
    for dataset, model in sorted(cells):
        models.setdefault(dataset, []).append(model)
    return models


def fetch_published(
    file: PublishedFile, weights_dir: Path, *, offline: bool, folder: Path | None = None
) -> Path:
    """Return the local copy of a published file, downloading it when it is not there yet.

    It goes to `published/<path>` in `weights_dir`, unless there is a `folder` that has published
    files already, under their paths.

    Raises:
        RequestError: The file cannot be had, or its digest is wrong.
    """
    path = (folder or weights_dir / "published") / file.path
    if folder is None and not offline:
        size = int(file.bytes) if file.bytes else None
        fetch(file.url, path, digest=f"{file.digest_kind}:{file.digest}", size=size)
    elif path.exists():
        verify_published(file, path)
    elif folder is not None:
        raise RequestError(f"--published-dir: {path} is not there")
    else:
        raise RequestError(
            f"published weights of {file.dataset}/{file.model}: --offline, and they are not there; "
            f"put {file.url} at {path}"
        )
    return path


def verify_published(file: PublishedFile, path: Path) -> None:
    """Raise RequestError unless a file has the published digest."""
    wanted = f"{file.digest_kind}:{file.digest}"
    digest = file_digest(path, wanted)
    if digest == wanted:
        return
    with path.open("rb") as stream:
        what = describe_content(stream.read(500))
    found = f"this is {what}" if what else f"its digest is {digest}, published: {wanted}"
    raise RequestError(f"{path}: {found}; delete it to fetch it again")


class _PickledPart:
    """Stands in for the class of every module of a pickled network, and runs none of its code."""


def read_state(path: Path) -> StateDict:
    """Read a state dict from a `.pt` or `.pth` file without running any code in it.

    The file holds a state dict, bare or as `model_state_dict` or `state_dict` of a dict, or a whole
    pickled module, of which only the tensors are read. Counters of thop are left out.

    Raises:
        RequestError: The file is corrupt, or holds anything else than tensors.
    """
    import torch
    from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

    from harness.networks.weights import without_counters

    try:
        zipped = is_zipfile(regular_file(path))
        names = get_unsafe_globals_in_checkpoint(str(path)) if zipped else []
        with safe_globals([(_PickledPart, name) for name in names]):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(loaded, _PickledPart):
            loaded = dict(_tensors_of(loaded))
    except Exception as error:
        reason = str(error).splitlines()[0][:120]
        raise RequestError(f"{path}: not a readable state dict: {reason}") from error
    for key in ("model_state_dict", "state_dict"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(
        isinstance(value, torch.Tensor) for value in loaded.values()
    ):
        raise RequestError(f"{path}: not a state dict: it holds {type(loaded).__name__}")
    return without_counters(loaded)


def _tensors_of(part: _PickledPart, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters and buffers of a pickled module with the keys of its state dict."""
    state = vars(part)
    for name, tensor in (state["_parameters"] | state["_buffers"]).items():
        if tensor is not None and name not in state["_non_persistent_buffers_set"]:
            yield f"{prefix}{name}", tensor
    for name, below in state["_modules"].items():
        yield from _tensors_of(below, f"{prefix}{name}.")
