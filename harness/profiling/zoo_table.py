"""The table of the zoo: reading it, choosing rows of it. It imports no torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import RequestError, unknown_name
from harness.profiling.metrics import Metrics
from harness.profiling.publishers import PUBLISHED, read_timm_results
from harness.profiling.request import SORTED_BY, Request
from harness.registry import REFERENCE_RESULTS

if TYPE_CHECKING:
    import pandas as pd

ZOO = REFERENCE_RESULTS / "zoo"
TABLE, VERSIONS = "models.csv", "versions.json"

_ROOFLINE = {"ridge_flops_per_byte", "latency_bound_ms", "memory_bound_time_percent"}
FIGURES = tuple(f.name for f in dataclasses.fields(Metrics) if f.name not in _ROOFLINE)
"""The figures in the table: all but those that depend on hardware."""
# Other words for figures, on the command line.
_ALIASES = {"accuracy": "published_top1", "top1": "published_top1", "top5": "published_top5"}
_HIGHER_IS_BETTER = {"published_top1", "published_top5", "intensity_flops_per_byte"}
# What models are alike in: their costs, by order of magnitude.
_COSTS = ("params", "gmacs", "activations", "traffic_mb", "peak_activations_mb", "sequential_depth")
FIELDS = (
    *("model", "source", "form", "image_size", *FIGURES, *PUBLISHED),
    *("operators_without_formula", "reason"),
)
"""The columns of the table."""


def read_zoo(folder: Path = ZOO) -> pd.DataFrame:
    """Return the table, a row for each form of each model; RequestError if there is none."""
    import pandas as pd

    path = folder / TABLE
    try:
        frame = pd.read_csv(path, dtype={"image_size": str})
    except (OSError, ValueError) as error:
        raise RequestError(f"{path}: {error} (made by: python cli/update_zoo.py)") from None
    if missing := set(FIELDS) - set(frame.columns):
        raise RequestError(f"{path}: columns missing: {', '.join(sorted(missing))}")
    return frame


def to_dicts(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows by the columns' names, with None for what is not known."""
    frame = frame.astype(object)
    rows: list[dict[str, Any]] = frame.where(frame.notna(), None).to_dict("records")
    return rows


def read_versions(folder: Path = ZOO) -> dict[str, str | int]:
    """Return what the table was made with: versions of libraries, and of the counting."""
    found: dict[str, str | int] = json.loads((folder / VERSIONS).read_text(encoding="utf-8"))
    return found


def choose_rows(request: Request, folder: Path = ZOO) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows of the zoo that a request asks for, in its order, and what was left out."""
    frame, notes = read_zoo(folder), []
    if request.timm_results is not None:
        frame = _join_timm(frame, request.timm_results)
    failed = frame["reason"].notna()
    notes.append(f"{len(frame)} rows, {int(failed.sum())} of them models without figures")
    whole = frame = frame[~failed]
    if request.names:
        frame = frame[[_is_named(model, request.names) for model in frame["model"]]]
    if request.form:
        frame = frame[frame["form"].isna() | (frame["form"] == request.form)]
    if request.where:
        frame = _query(frame, request.where)
    if request.pareto:
        frame, left_out = _pareto(frame, request.pareto)
        if left_out:
            notes.append(f"--pareto {request.pareto}: {left_out} rows lack one of these figures")
    if request.like:
        frame = _sort_by_likeness(frame, whole, request.like)
    elif request.sort_by or request.top or request.pareto:
        key = request.sort_by or ("accuracy" if request.top else "macs")
        field = SORTED_BY[key]
        ascending = [field not in _HIGHER_IS_BETTER, True]
        frame = frame.sort_values([field, "model"], ascending=ascending)
    chosen = frame.head(request.top or (20 if request.like else len(frame)))
    notes.append(f"{len(chosen)} rows chosen")
    return chosen, notes


def _is_named(model: str, names: Sequence[str]) -> bool:
    """Return whether a name or pattern means a model; one without a prefix means any source."""
    short = model.partition(":")[2] or model
    return any(fnmatchcase(model, name) or fnmatchcase(short, name) for name in names)


def _unknown_figure(option: str, name: str, frame: pd.DataFrame) -> RequestError:
    return unknown_name(f"figure of {option}", name, [*frame.columns, *_ALIASES])


def _query(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    from pandas.errors import UndefinedVariableError

    columns = frame.assign(**{word: frame[field] for word, field in _ALIASES.items()})
    try:
        chosen = columns.eval(where)
    except UndefinedVariableError as error:
        raise _unknown_figure("--where", str(error).split("'")[1], frame) from None
    except Exception as error:
        text = " ".join(str(error).split())
        raise RequestError(f"--where '{where}': {type(error).__name__}: {text}") from None
    if str(getattr(chosen, "dtype", "")) not in ("bool", "boolean"):
        raise RequestError(f"--where '{where}': a comparison wanted, such as 'gmacs < 0.5'")
    return frame[chosen]


def _pareto(frame: pd.DataFrame, wanted: str) -> tuple[pd.DataFrame, int]:
    """Return the rows that no other is better than in all figures, and how many lack one."""
    from pandas.api.types import is_numeric_dtype

    names = [name.strip() for name in wanted.split(",") if name.strip()]
    fields = [_ALIASES.get(name, name) for name in names]
    for field in fields:
        if field not in frame.columns:
            raise _unknown_figure("--pareto", field, frame)
    if len(fields) < 2:
        raise RequestError(f"--pareto {wanted}: two or more figures wanted, as accuracy,gmacs")
    for field in fields:
        if not is_numeric_dtype(frame[field]):
            raise RequestError(f"--pareto {wanted}: {field} is no number")
    known = frame.dropna(subset=fields)
    signs = [-1 if field in _HIGHER_IS_BETTER else 1 for field in fields]
    costs = known[fields].to_numpy(float) * signs
    best = [not ((costs <= row).all(1) & (costs < row).any(1)).any() for row in costs]
    return known[best], len(frame) - len(known)


def _sort_by_likeness(frame: pd.DataFrame, whole: pd.DataFrame, like: str) -> pd.DataFrame:
    """Return rows with those first whose costs differ least from a model's, by factors."""
    import numpy as np

    def orders(rows: pd.DataFrame) -> pd.DataFrame:
        return np.log(rows[list(_COSTS)].astype(float).clip(1e-9))

    for name in (like, like.removeprefix("torchvision:"), f"timm:{like}"):
        own = whole[whole["model"] == name]
        if len(own):
            distance = np.sqrt(
                ((orders(frame) - orders(own).iloc[0]) ** 2).mean(axis=1, skipna=False)
            )
            factors = frame.assign(factor_from_like=np.exp(distance))
            return factors.sort_values(["factor_from_like", "model"])
    raise unknown_name("model of --like", like, dict.fromkeys(whole["model"]))


def _join_timm(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the table with the accuracies of timm's results at the sizes of the images."""
    results = read_timm_results(path)
    frame = frame.astype({"published_weights": object})
    keys = zip(frame["model"].str.removeprefix("timm:"), frame["image_size"], strict=True)
    stated = [results.get(key) for key in keys]
    for field in PUBLISHED[:3]:
        frame[field] = [
            found[field] if found and source == "timm" else old
            for found, source, old in zip(stated, frame["source"], frame[field], strict=True)
        ]
    return frame
