"""Compare the harness's counts of operations with those of thop, fvcore and torchvision.

    python studies/operation_counts.py
    python studies/operation_counts.py --all

Prints a Markdown table of the models of monolithic_architectures (10 classes) and of a
torchvision model of a dozen families, or of all, at each image size that weights are published
for (1000 classes). No weights are loaded. A core takes half a minute, for all three minutes.

thop and fvcore add norms and pooling. thop leaves out attention and all operations outside modules
that it knows; fvcore leaves out fused attention only, as in ViT, DeiT and DINOv2.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import torchvision
import typer
from accelerate import init_empty_weights
from torch import Tensor, nn
from typer import Option

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.catalog import load_model
from harness.measure.operations import measure_operations
from harness.registry import model_files
from harness.report.table import Table
from harness.util.error_text import describe_error

FAMILIES = (
    *("convnext_tiny", "densenet121", "efficientnet_b0", "inception_v3", "maxvit_t"),
    *("mobilenet_v3_large", "regnet_y_400mf", "resnet18", "shufflenet_v2_x1_0"),
    *("swin_t", "swin_v2_t", "vit_b_16"),
)

_STATED = "torchvision states"
# Half of torchvision's last digit, and a little more for rounding in binary.
_ROUNDING_GMACS = 0.000501
# fvcore's names for the operators that the harness counts. It takes einsum's count from what numpy
# prints, four digits, so MaxViT's differs by 1,072 multiply-accumulates.
_FVCORE_PRODUCTS = ("conv", "linear", "addmm", "matmul", "bmm", "einsum")

All = Annotated[bool, Option("--all", help="Every torchvision classification model.")]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network for RGB images, its parameters on the meta device, and what torchvision states."""

    name: str
    network: nn.Module
    image_size: int
    gmacs_stated: float | None = None

    def __str__(self) -> str:
        return f"{self.name} at {self.image_size}"


class FvcoreCount(NamedTuple):
    """What fvcore counts for one image: everything, and products without fused attention."""

    gmacs: float
    macs_products: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """All counts of one network, in 10^9, those of others by column; and why some are missing."""

    subject: Subject
    gmacs: float
    others: dict[str, float | None]
    reasons: tuple[str, ...]


def main(everything: All = False) -> None:
    """Print the counts side by side, and say which differ by more than 0.5%."""
    names = torchvision.models.list_models(torchvision.models) if everything else FAMILIES
    print(render([measure(subject) for subject in chain(zoo_models(), torchvision_models(names))]))


def zoo_models() -> Iterator[Subject]:
    """Yield the models of monolithic_architectures, for 10 classes and RGB images."""
    for name, path in model_files().items():
        if path.parent.parent.name == "monolithic_architectures":
            spec = load_model(name)
            with init_empty_weights():
                network = spec.build(10, 3, False)
            yield Subject(name=spec.label, network=network, image_size=spec.image_size)


def torchvision_models(names: Sequence[str]) -> Iterator[Subject]:
    """Yield torchvision's models, each once for every image size that it has weights for."""
    for name in names:
        weights = torchvision.models.get_model_weights(name)
        stated = {each.transforms().crop_size[0]: each.meta["_ops"] for each in weights}
        for image_size, gmacs in stated.items():
            sized = {"image_size": image_size} if name.startswith("vit_") else {}
            with init_empty_weights(), warnings.catch_warnings():
                # GoogLeNet and Inception v3 warn that their initialisation will change.
                warnings.simplefilter("ignore", FutureWarning)
                network = torchvision.models.get_model(name, weights=None, **sized)
            yield Subject(name=name, network=network, image_size=image_size, gmacs_stated=gmacs)


def measure(subject: Subject) -> Row:
    """Return all counts of a network."""
    image = torch.zeros(1, 3, subject.image_size, subject.image_size)
    operations = measure_operations(subject.network, image)
    fvcore, reason = None, None
    try:
        fvcore = count_fvcore(subject.network, image)
    except Exception as error:
        reason = f"fvcore failed: {describe_error(error)}"
    return Row(
        subject=subject,
        gmacs=operations.gmacs or 0.0,
        others={
            "thop": operations.gmacs_thop,
            "fvcore": fvcore and fvcore.gmacs,
            "fvcore, products alone": fvcore and fvcore.macs_products / 1e9,
            _STATED: subject.gmacs_stated,
        },
        reasons=tuple(filter(None, (operations.reasons.get("gmacs_thop"), reason))),
    )


def count_fvcore(network: nn.Module, image: Tensor) -> FvcoreCount:
    """Count with fvcore, which runs the network: it traces, which the meta device does not bear.

    Raises:
        ModuleNotFoundError: fvcore is not installed; it is one of the development tools.
    """
    with warnings.catch_warnings():
        # fvcore uses torch.jit, which is deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        from fvcore.nn import FlopCountAnalysis

    # Zeros that are never written take no memory on Linux.
    zeros = {id(p): nn.Parameter(torch.zeros(p.shape)) for p in network.parameters()}
    analysis = FlopCountAnalysis(copy.deepcopy(network, zeros).eval(), image)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    counts = analysis.by_operator()
    return FvcoreCount(
        gmacs=sum(counts.values()) / 1e9,
        macs_products=sum(round(counts[name]) for name in _FVCORE_PRODUCTS if name in counts),
    )


def agrees(column: str, gmacs: float, other: float) -> bool:
    """Return whether another count is within 0.5%, or is the same in the digits that it has."""
    within = 0.005 * gmacs
    return abs(other - gmacs) <= (max(within, _ROUNDING_GMACS) if column == _STATED else within)


def render(rows: Sequence[Row]) -> str:
    """Return the counts as a Markdown table, and under it what differs and what is missing."""
    header = ("Model", "Image", "True GMACs", *rows[0].others)
    cells = [
        [row.subject.name, row.subject.image_size, f"{row.gmacs:.4f}"]
        + [
            "" if other is None else f"{other:.4f} ({100 * (other / row.gmacs - 1):+.2f}%)"
            for other in row.others.values()
        ]
        for row in rows
    ]
    notes = [_agreement(rows, column) for column in header[3:]]
    notes += [
        f"{reason}: {', '.join(str(row.subject) for row in rows if reason in row.reasons)}"
        for reason in dict.fromkeys(reason for row in rows for reason in row.reasons)
    ]
    table = Table.of_texts(header, cells).markdown()
    return f"{table}\n" + "\n".join(f"- {note}" for note in notes)


def _agreement(rows: Sequence[Row], column: str) -> str:
    """Return for how many models another count agrees, and the names of the others."""
    known = [(row, other) for row in rows if (other := row.others[column]) is not None]
    differing = [
        f"{row.subject} ({100 * (other / row.gmacs - 1):+.1f}%)"
        for row, other in known
        if not agrees(column, row.gmacs, other)
    ]
    first = f"{column}: {len(known) - len(differing)} of {len(known)} agree"
    return f"{first}; by more than 0.5% differ {', '.join(differing)}" if differing else first


if __name__ == "__main__":
    typer.run(main)
