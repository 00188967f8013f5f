"""The settings of a Slurm cluster, from a YAML file: what each job asks for."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from operator import mul
from pathlib import Path
from typing import Annotated, Any, ClassVar

import yaml
from annotated_types import Ge
from pydantic import BeforeValidator, StringConstraints, TypeAdapter, ValidationError

from harness.errors import RequestError, unknown_name
from harness.registry import ROOT, model_files

_DEFAULT_CONFIG = ROOT / "configs" / "launch" / "slurm.yaml"
_STRICT = {"extra": "forbid"}
_TIME = re.compile(r"(\d+-)?\d+(:\d+){0,2}")
_OPTION = re.compile(r"[a-z][a-z-]*")
# Options that follow from other settings or from how jobs are submitted.
_OURS = {"array", "dependency", "error", "job-name", "nodes", "ntasks", "output", "signal"}


def read_minutes(value: object) -> object:
    """Return the whole minutes, rounded up as Slurm does, of a time in one of sbatch's forms.

    The forms are minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes
    and days-hours:minutes:seconds; a ValueError says that it is in none of them.
    """
    if not _TIME.fullmatch(str(value)):
        raise ValueError("a time wanted, as 90, 10:30, 04:00:00 or 1-12 (days-hours)")
    days, _, clock = str(value).rpartition("-")
    numbers = [int(part) for part in clock.split(":")]
    # The first number is minutes, unless there are days before it or two numbers after it.
    units = (3600, 60, 1) if days or len(numbers) == 3 else (60, 1)
    seconds = 86_400 * int(days or 0) + sum(map(mul, numbers, units))
    return -(-seconds // 60)


# Each takes a millisecond to make, and grids have many parts.
_adapter = cache(TypeAdapter)

_Minutes = Annotated[int, Ge(1), BeforeValidator(read_minutes)]
_Memory = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*[KMGT]?$")]


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one job asks for; None leaves it to the cluster.

    Attributes:
        partition: As sbatch takes it; so are account, qos and constraint.
        time: Time limit of one run of a job, minutes.
        memory: Memory of a job, as 8G.
    """

    __pydantic_config__ = _STRICT

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: _Minutes = 240
    gpus: Annotated[int, Ge(0)] = 0
    cpus: Annotated[int, Ge(1)] = 2
    memory: _Memory | None = None


@dataclass(frozen=True, kw_only=True)
class Cluster(Resources):
    """The settings of a cluster.

    Attributes:
        setup: Lines of bash that each job runs first.
        parallel: How many jobs of an array run at once; None: no limit.
        array_size: The most jobs of an array.
        max_requeues: How often a job may be queued again before it counts as failed.
        signal_seconds: How long before its end a job is told to write its checkpoint.
        sbatch: Further options of sbatch, by long name; `true` is an option without a value.
        models: For some models, resources other than the common ones.
    """

    __pydantic_config__ = _STRICT

    setup: tuple[str, ...] = ()
    parallel: Annotated[int, Ge(1)] | None = None
    array_size: Annotated[int, Ge(1)] = 1000
    max_requeues: Annotated[int, Ge(0)] = 10
    signal_seconds: Annotated[int, Ge(1)] = 120
    sbatch: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def resources(self, model: str) -> Resources:
        """Return what a job of a model asks for."""
        common = {each.name: getattr(self, each.name) for each in dataclasses.fields(Resources)}
        asked: Resources = _validate(Resources, common | dict(self.models.get(model, {})), "")
        return asked


def load_cluster(path: Path | None = None) -> Cluster:
    """Read the settings of a cluster, by default `configs/launch/slurm.yaml`, or refuse them."""
    path = path or _DEFAULT_CONFIG
    try:
        # Times and names stay as they are written: YAML would take 10:30 for 630.
        tree = yaml.load(path.read_text(encoding="utf-8"), _TextLoader)  # noqa: S506
    except OSError as error:
        raise RequestError(f"--launcher-config {path}: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(error, "problem", "not text in UTF-8")
        raise RequestError(f"{path}:{line} not YAML: {problem}") from None
    cluster: Cluster = _validate(Cluster, tree or {}, f"{path}: ")
    for option in cluster.sbatch:
        if option in _OURS or not _OPTION.fullmatch(option):
            raise RequestError(
                f"{path}: sbatch.{option}: not an option that is left to you; long names without "
                f"dashes in front are wanted, and not {', '.join(sorted(_OURS))}"
            )
    for model, changes in cluster.models.items():
        if model not in model_files():
            raise unknown_name(f"model in {path}, models", model, model_files())
        _validate(Resources, changes, f"{path}: models.{model}.")
    return cluster


class _TextLoader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads every plain value as text, but for null."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


_TextLoader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"(~|null|)$"), ["~", "n", ""]
)


def _validate(cls: type, tree: object, where: str) -> Any:
    try:
        return _adapter(cls).validate_python(tree)
    except ValidationError as error:
        first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "settings"
    if first["type"] == "unexpected_keyword_argument":
        names = [each.name for each in dataclasses.fields(cls)]
        raise unknown_name(f"setting in {where}".rstrip(": ."), key, names)
    message = first["msg"].removeprefix("Value error, ")
    raise RequestError(f"{where}{key}: {message}, found {first['input']!r}")
