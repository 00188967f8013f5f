"""Weights on disk: a safetensors file, with a JSON sidecar that describes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import safetensors.torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn

from harness.errors import RequestError
from harness.records.parts import Amount, Count, Epoch, Percent, Positive
from harness.records.store import STRICT, explain_validation
from harness.util.files import atomic_path, file_sha256, regular_file, write_text

_COUNTERS = ("total_ops", "total_params")


@dataclass(frozen=True, kw_only=True)
class _BaseNotes:
    """What `Sidecar.compression` holds: fields of `harness.records.parts.Compression`."""

    __pydantic_config__ = STRICT

    base: str
    base_weights_sha256: str
    base_start: str
    base_epochs: Count
    base_training_seconds: Amount
    settings: dict[str, Any] | None
    accuracy_base: Percent | None = None
    accuracy_fake_quantized: Percent | None = None
    accuracy_pruned: Percent | None = None


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """What a weights file holds and how it came about.

    What earlier versions did not note is None or empty.

    Attributes:
        image_size: The side of the images that the network takes, in pixels.
        recipe_hash: The hash of the settings that the weights depend on.
        start: imagenet, random, or the model whose trained weights training began from.
        threads: CPU threads; another number gives other rounding.
        processes: Number of processes that trained the network together, in the end.
        logs: The fields of `harness.records.parts.Epoch` for each epoch.
        settings: The recipe: that of a tree's first stage, and of a compressed model's last.
        structure: What else it takes to build the network: `ModelSpec.describe`.
        tree: How a tree of networks was grown.
        compression: What a compressed model was made from, how, and the accuracies on the way.
        code: The digest of the code that builds the network.
    """

    __pydantic_config__ = STRICT

    dataset: str
    model: str
    num_classes: Positive
    image_size: Positive
    recipe_hash: str
    data_sha256: str
    start: str
    seed: Count
    threads: Positive
    device: str
    training_seconds: Amount
    logs: list[dict[str, Any]]
    settings: dict[str, Any]
    sha256: str = ""
    processes: int = 1
    channels: Positive | None = None
    structure: dict[str, Any] | None = None
    tree: dict[str, Any] | None = None
    compression: dict[str, Any] | None = None
    channels_last: bool | None = None
    code: str = ""

    @property
    def real_start(self) -> str:
        """What training started from: of a compressed model, that of its base."""
        return str((self.compression or {}).get("base_start", self.start))


def read_sidecar(weights: Path) -> Sidecar | None:
    """Return the sidecar of a weights file; None where either of the two files is missing.

    Raises:
        RequestError: The file cannot be read as a sidecar.
    """
    path = weights.with_suffix(".json")
    if not (regular_file(weights).exists() and regular_file(path).exists()):
        return None
    whole, logs, notes = _adapters()
    try:
        sidecar = whole.validate_json(path.read_bytes(), strict=True)
        logs.validate_python(sidecar.logs)
        notes.validate_python(sidecar.compression)
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        raise RequestError(
            f"{path}: not a sidecar of weights ({explain_validation(error)}); delete both files to "
            "train again"
        ) from None
    return sidecar


@cache
def _adapters() -> tuple[
    TypeAdapter[Sidecar], TypeAdapter[list[Epoch]], TypeAdapter[_BaseNotes | None]
]:
    return TypeAdapter(Sidecar), TypeAdapter(list[Epoch]), TypeAdapter(_BaseNotes | None)


def save_weights(weights: Path, network: nn.Module, sidecar: Sidecar) -> Sidecar:
    """Write a network's state and its sidecar; return the sidecar with the digest of the state.

    Raises:
        CellError: The disk is full or the folder cannot be written to.
    """
    write_state(weights, network)
    complete = replace(sidecar, sha256=file_sha256(weights))
    write_text(weights.with_suffix(".json"), json.dumps(asdict(complete), indent=1) + "\n")
    return complete


def load_weights(weights: Path, network: nn.Module, sidecar: Sidecar) -> None:
    """Load what `save_weights` wrote into a network of the same shape.

    Raises:
        RequestError: The file is not the one that the sidecar describes, or does not fit.
    """
    if file_sha256(weights) != sidecar.sha256:
        raise RequestError(
            f"{weights}: its SHA-256 is not the one in {weights.with_suffix('.json').name}: "
            "corrupt or exchanged; restore it, or delete it to train again"
        )
    load_state(network, read_tensors(weights), str(weights))


def write_state(path: Path, network: nn.Module) -> None:
    """Write the parameters and buffers of a network as safetensors, atomically.

    Raises:
        CellError: The disk is full or the folder cannot be written to.
    """
    state = state_to_save(network)
    # Not `save_file`: it writes a file of another name first, which a kill would leave for ever.
    content = safetensors.torch.save(state)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def state_to_save(network: nn.Module) -> dict[str, Tensor]:
    """Return copies of the parameters and buffers of a network, as a safetensors file takes them.

    Raises:
        RequestError: The state dict holds something that is no tensor.
    """
    state = without_counters(network.state_dict())
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise RequestError(
                f"its state dict holds {key} of type {type(value).__name__}: only tensors are saved"
            )
    # Cloned, because safetensors refuses tensors that share memory.
    return {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        RequestError: The file cannot be read, or has another format.
    """
    try:
        return safetensors.torch.load_file(regular_file(path))
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror or error})") from None
    except SafetensorError as error:
        raise RequestError(f"{path}: not a safetensors file ({error})") from error


def load_state(network: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load a state dict whose keys, shapes and types must be exactly the network's.

    Raises:
        RequestError: A tensor is missing, foreign or of another shape or type; the first one is
            named.
    """
    wanted = without_counters(network.state_dict())
    missing = [key for key in wanted if key not in state]
    foreign = [key for key in state if key not in wanted]
    if missing or foreign:
        example = f"lacks {missing[0]}" if missing else f"has {foreign[0]}, which is foreign"
        raise RequestError(
            f"{where}: not weights of this network: {example} "
            f"({len(missing)} missing, {len(foreign)} foreign of {len(wanted)})"
        )
    for key, value in state.items():
        if value.shape != wanted[key].shape:
            found, need = tuple(value.shape), tuple(wanted[key].shape)
            raise RequestError(
                f"{where}: {key} has shape {found}, this network wants {need} "
                "(another number of classes, channels or image size?)"
            )
        if value.dtype != wanted[key].dtype:
            raise RequestError(
                f"{where}: {key} is {value.dtype}, this network wants {wanted[key].dtype}"
            )
    network.load_state_dict(dict(state))


def without_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict without the counters that thop leaves in a network it has profiled."""
    return {k: v for k, v in state.items() if k.rpartition(".")[2] not in _COUNTERS}
