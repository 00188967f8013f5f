"""What `cli/compare_models.py` is asked for, checked, and how it has models counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)

from harness.errors import RequestError, unknown_name
from harness.profiling.hardware import USUAL_HARDWARE, Precision, Roof, find_roof
from harness.profiling.metrics import Accounting

Format = Literal["table", "markdown", "csv", "json", "html"]
Purpose = Literal["mobile", "server", "memory", "latency"]
Form = Literal["train", "deploy"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

USUAL_IMAGE_SIZE = 224
"""The side of the images of models whose library names none."""
MOST_PIXELS, MOST_CHANNELS, MOST_CLASSES, MOST_IMAGES = 16_384, 4096, 10_000_000, 1_000_000
MOST_NUMBERS = 10**12
"""What counting goes up to: beyond it, sizes no longer fit into 64 bits. The last is that of all
numbers of the images in a batch."""


def _parse_size(given: object) -> object:
    """Return the sides in "1024x768", height first; one number where they are the same."""
    if not isinstance(given, str):
        return given
    sides = given.lower().replace("×", "x").split("x")
    return sides[0] if len(sides) == 1 or sides == sides[:1] * 2 else tuple(sides)


_Side = Annotated[PositiveInt, Field(le=MOST_PIXELS)]
ImageSize = Annotated[_Side | tuple[_Side, _Side], BeforeValidator(_parse_size)]
"""The side of square images in pixels, or their height and width."""


def sides(size: ImageSize) -> tuple[int, int]:
    """Return height and width in pixels."""
    return (size, size) if isinstance(size, int) else size


def show_size(size: ImageSize) -> str:
    """Return "224" or "1024x768"."""
    return str(size) if isinstance(size, int) else "x".join(map(str, size))


SORTED_BY = {
    "params": "params",
    "flops": "gflops",
    "macs": "gmacs",
    "activations": "activations",
    "memory": "traffic_mb",
    "efficiency": "flops_per_param",
    "ai": "intensity_flops_per_byte",
    "latency": "latency_bound_ms",
    "depth": "sequential_depth",
    "size": "model_size_mb",
    "peak": "peak_activations_mb",
    "accuracy": "published_top1",
    "name": "model",
}
"""What each word sorts by: a figure, or the model's name."""


def _check_order(word: str) -> str:
    if word not in SORTED_BY:
        raise unknown_name("--sort-by", word, SORTED_BY)
    return word


@dataclass(frozen=True, kw_only=True)
class Options:
    """How models are counted; the output names all of it.

    Attributes:
        image_size: In pixels; None: the size each model was made for.
        batch_size: The number of images in the forward pass that all figures describe.
        classes: The number of logits.
        precision: The type of every floating-point number, which decides its bytes and the
            hardware's peak.
        roof: The hardware; None: no times are computed.
        form: Which form of a re-parameterised network is counted; None: both.
        training: Whether what autograd keeps for the backward pass is found, too.
    """

    accounting: Accounting = "complete"
    image_size: ImageSize | None = None
    batch_size: Annotated[PositiveInt, Field(le=MOST_IMAGES)] = 1
    channels: Annotated[PositiveInt, Field(le=MOST_CHANNELS)] = 3
    classes: Annotated[PositiveInt, Field(le=MOST_CLASSES)] = 1000
    precision: Precision = "fp32"
    roof: Roof | None = None
    form: Form | None = None
    training: bool = False


@dataclass(frozen=True, kw_only=True)
class Request(Options):
    """The options of `cli/compare_models.py`, whose help says what each means."""

    names: list[str]
    list_all: bool
    hardware: str
    peak_tflops: Positive | None
    bandwidth_gbs: Positive | None
    transpose: bool | None
    sort_by: Annotated[str, AfterValidator(_check_order)] | None
    recommend: Purpose | None
    per_layer: str
    block_depth: PositiveInt | None
    format: Format
    plot: Path | None
    with_results: str
    results_dir: Path
    timm_results: Path | None
    measure: bool
    where: str
    pareto: str
    top: PositiveInt | None
    like: str

    @property
    def asks_the_zoo(self) -> bool:
        """Whether it is answered from the table of the zoo, without building any network."""
        return bool(self.where or self.pareto or self.top or self.like)


AnyOptions = TypeVar("AnyOptions", bound=Options)


def usual_roof(options: Options) -> Roof:
    """Return the hardware for recommendations and pictures: that asked for, else the usual one."""
    return options.roof or find_roof(USUAL_HARDWARE, options.precision)


def parse_request(options: Mapping[str, object]) -> Request:
    """Check options, which have the names of the fields of `Request`; numbers may be texts.

    RequestError: an option has a wrong value, or some do not go together.
    """
    request = parse_options(options, Request)
    _check_together(request)
    return request


def parse_options(options: Mapping[str, object], kind: type[AnyOptions]) -> AnyOptions:
    """Check options, which have the names of the fields of a class; see `parse_request`."""
    known = [each.name for each in fields(kind)]
    for name in options:
        if name not in known:
            raise unknown_name("option", name, known)
    try:
        return TypeAdapter(kind).validate_python(options)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        option, found = f"--{field.replace('_', '-')}", options[field]
        if first["type"] == "literal_error":
            raise unknown_name(option, str(found), _choices(field)) from None
        raise RequestError(f"{option} '{found}': {first['msg'].lower()}") from None


def _check_together(request: Request) -> None:
    _check_sizes(request)
    _check_files(request)
    if request.block_depth and not request.per_layer:
        raise RequestError("--block-depth goes with --per-layer")
    if request.asks_the_zoo:
        _check_zoo(request)
    elif request.sort_by == "accuracy":
        raise RequestError("--sort-by accuracy goes with --where, --pareto, --top or --like")
    by_hand = (request.peak_tflops, request.bandwidth_gbs)
    if any(by_hand) and not all(by_hand):
        raise RequestError("--peak-tflops and --bandwidth-gbs go together")
    if all(by_hand) and request.hardware:
        raise RequestError("give --hardware, or --peak-tflops and --bandwidth-gbs, not both")
    if request.sort_by == "latency" and not (request.hardware or all(by_hand)):
        raise RequestError("--sort-by latency wants --hardware, such as a100 or this-machine")
    if request.format == "csv" and request.per_layer and request.names:
        raise RequestError("--format csv holds one table: leave out --per-layer or the other names")


def _check_sizes(request: Request) -> None:
    height, width = sides(request.image_size or 1)
    numbers = request.batch_size * request.channels * height * width
    if numbers > MOST_NUMBERS:
        raise RequestError(
            f"--batch-size × --channels × --image-size² are {numbers:.3g} numbers: at most "
            f"{MOST_NUMBERS:.0e} can be counted"
        )


def _check_files(request: Request) -> None:
    plot = request.plot
    if plot is not None and plot.suffix.lower() not in (".png", ".svg"):
        raise RequestError(f"--plot {plot}: a file ending in .png or .svg wanted")
    if plot is not None and not plot.parent.is_dir():
        raise RequestError(f"--plot {plot}: there is no folder {plot.parent}")
    if request.timm_results is not None and not request.timm_results.is_file():
        raise RequestError(f"--timm-results {request.timm_results}: no such file")


def _check_zoo(request: Request) -> None:
    """Refuse what the table of the zoo does not answer."""
    given = {
        "--per-layer": request.per_layer,
        "--plot": request.plot,
        "--recommend": request.recommend,
        "--with-results": request.with_results,
        "--measure": request.measure,
        "--hardware": request.hardware or request.peak_tflops,
        "--image-size": request.image_size,
        "--accounting published": request.accounting == "published",
        "--precision": request.precision != "fp32",
        "--batch-size": request.batch_size != 1,
        "--channels": request.channels != 3,
        "--classes": request.classes != 1000,
    }
    if wrong := [option for option, value in given.items() if value]:
        raise RequestError(
            f"{wrong[0]}: --where, --pareto, --top and --like read the table of the zoo, which has "
            "one image of each model's own size, 1000 classes and fp32"
        )


def _choices(field: str) -> list[str]:
    """Return the words that a field takes."""
    schema = TypeAdapter(Request).json_schema()["properties"][field]
    return [word for part in schema.get("anyOf", [schema]) for word in part.get("enum", [])]
