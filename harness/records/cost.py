"""The record of a model's counted costs: one JSON file for a data set, model and image size."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from harness.records.parts import Amount, Count, Positive, Provenance
from harness.records.store import STRICT, Store, nest_parts


@dataclass(frozen=True, kw_only=True)
class CostPath:
    """The counted costs of one path through a routed network; fields as in `PathCosts`.

    Attributes:
        file_mb: Size of the file of its parameters and buffers, MB.
        gmacs_unpadded: `gmacs` as it would be without padding of 1×1 convolutions; None where
            there is no such padding.
    """

    name: str
    classes: Positive
    params: Count
    weights_mb: Amount
    file_mb: Amount
    gmacs: Amount
    gmacs_thop: Amount | None
    gmacs_unpadded: Amount | None = None


@dataclass(frozen=True, kw_only=True)
class CostRecord:
    """The counted costs of a model at the shape of a data set, the same for any images and machine.

    A figure that could not be counted is None, and `not_measured` gives the reason under its name.

    Attributes:
        schema: Version of this layout.
        dataset: The data set's name.
        model: The model's name.
        label: The name of the model in tables.
        variant: published if this is the network that was published under the model's name and
            differs from ours; empty if it is ours.
        image_size: Side of the image, pixels.
        channels: Number of channels of the image.
        classes: Number of classes.
        weights_origin: random, or published if the shape of the network depends on its weights.
        params: Number of parameters.
        weights_mb: Bytes of parameters and buffers, MB (10^6).
        file_mb: Size of the file that `torch.save` makes of the state dict, MB.
        peak_memory_mb: Largest sum of live activations of one image's forward pass, MB; in a
            routed network, on the path with most operations.
        gmacs: True multiply-accumulates of one image, 10^9.
        gflops: Operations of one image, two to a multiply-accumulate, 10^9.
        gmacs_thop: Multiply-accumulates as thop counts them, 10^9 (the published "G-Flops").
        paths: The costs of each path through a routed network, cheapest first.
        code_digest: The digest of the code that builds the network; None: not noted.
        not_measured: Reasons, by the name of the field that is None.
        provenance: Code, time, command and environment.
    """

    __pydantic_config__ = STRICT

    schema: Literal[2] = 2
    dataset: str
    model: str
    label: str
    image_size: Positive
    channels: Positive
    classes: Positive
    variant: Literal["", "published"] = ""
    weights_origin: str
    params: Count
    weights_mb: Amount
    file_mb: Amount
    peak_memory_mb: Amount | None = None
    gmacs: Amount | None = None
    gflops: Amount | None = None
    gmacs_thop: Amount | None = None
    paths: tuple[CostPath, ...] = ()
    code_digest: str | None = None
    not_measured: dict[str, str] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)


def cost_place(dataset: str, model: str, image_size: int, variant: str = "") -> Path:
    """Return where the costs of a model at a data set's shape are kept below a results folder."""
    return Path("costs") / dataset / f"{'-'.join(filter(None, (model, variant)))}-{image_size}.json"


COSTS = Store(
    kind="record of costs",
    cls=CostRecord,
    schema=CostRecord.schema,
    pattern="costs/*/*.json",
    place=lambda r: cost_place(r.dataset, r.model, r.image_size, r.variant),
    migrate=partial(nest_parts, CostRecord),
)
"""The counted costs of a results folder, by data set, model and image size."""
