"""Published weight files: listing, fetching, and reading them without unpickling."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote
from zipfile import is_zipfile

from harness.errors import RequestError
from harness.registry import ROOT
from harness.spec import StateDict
from harness.util.files import atomic_path, read_csv

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
    """Return the published weight file of a data set and model.

    Raises:
        RequestError: None was published.
    """
    files = [PublishedFile(**row) for row in read_csv(FOLDER / "weights.csv")]
    for file in files:
        if (file.dataset, file.model) == (dataset, model):
            return file
    there = sorted({f"{file.dataset}/{file.model}" for file in files})
    raise RequestError(
        f"--weights published: no weights were published for {dataset}/{model}; "
        f"there are: {', '.join(there)}"
    )


def fetch_published(
    file: PublishedFile, weights_dir: Path, *, offline: bool, folder: Path | None = None
) -> Path:
    """Return the local copy of a published file, downloading it when it is not there yet.

    Args:
        file: What to fetch.
        weights_dir: The folder where the file goes to `published/<path>`.
        offline: Whether to never download.
        folder: A folder that has published files already, under their paths; None: download.

    Raises:
        RequestError: The file cannot be had, or its digest is wrong.
    """
    if folder is not None:
        path = folder / file.path
        if not path.exists():
            raise RequestError(f"--published-dir: {path} is not there")
    else:
        path = weights_dir / "published" / file.path
        if not path.exists():
            _download(file, path, offline)
    verify_published(file, path)
    return path


def verify_published(file: PublishedFile, path: Path) -> None:
    """Check a file against the published digest.

    Raises:
        RequestError: The digest is that of another file.
    """
    digest = hashlib.sha256()
    if file.digest_kind == "git-sha1":
        head = f"blob {path.stat().st_size}\0".encode()
        digest = hashlib.sha1(head, usedforsecurity=False)
    with path.open("rb") as stream:
        hashlib.file_digest(stream, lambda: digest)
    if digest.hexdigest() != file.digest:
        raise RequestError(
            f"{path}: its {file.digest_kind} is {digest.hexdigest()}, published: {file.digest}; "
            "delete it to fetch it again"
        )


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
        names = get_unsafe_globals_in_checkpoint(str(path)) if is_zipfile(path) else []
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


def _download(file: PublishedFile, path: Path, offline: bool) -> None:
    import torch

    what, by_hand = f"published weights of {file.dataset}/{file.model}", f"put {file.url} at {path}"
    if offline:
        raise RequestError(f"{what}: --offline, and it is not there; {by_hand}")
    with atomic_path(path) as temporary:
        try:
            torch.hub.download_url_to_file(file.url, str(temporary), progress=sys.stderr.isatty())
        except OSError as error:
            raise RequestError(f"{what}: no download ({error}); {by_hand}") from error
