"""The list of figures made from the records, and whether each is up to date."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from harness.records.cell import Record
from harness.records.tuning import TuningRecord
from harness.report.canvas import figure_files, is_current, save_figure
from harness.report.plots import plot_confusion, plot_training
from harness.report.points import COSTS, measured_points, published_points
from harness.report.roofline import Roofline, plot_roofline, read_rooflines
from harness.report.scatter import Scatter, plot_scatter
from harness.report.tuning import has_importance, plot_importance, plot_trials
from harness.util.files import file_sha256, regular_file
from harness.util.hashing import hash_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class FigureSpec:
    """A figure: its files without .svg and .png, the digest of its data and code, and the code.

    `needs` is a module beyond the project's own requirements that draws it; empty: none.
    """

    stem: Path
    digest: str
    plot: Callable[[], Figure]
    needs: str = ""


def refresh_figures(
    results: Path, records: Sequence[Record], tunings: Sequence[TuningRecord] = ()
) -> None:
    """Draw the figures whose data or code changed, by the digest of both that each file carries.

    Those that Optuna draws are named on the standard error where it is not installed.
    """
    _draw_missing(results, list_figures(results, records, tunings))


def stale_figures(
    results: Path, records: Sequence[Record], tunings: Sequence[TuningRecord] = ()
) -> list[Path]:
    """Return the files of figures that are missing, or whose data or code changed."""
    return [
        path
        for figure in list_figures(results, records, tunings)
        if not _is_current(results, figure)
        for path in figure_files(results / figure.stem)
    ]


def list_figures(
    results: Path, records: Sequence[Record], tunings: Sequence[TuningRecord] = ()
) -> Iterator[FigureSpec]:
    """Yield the figures: up to two of a cell or search, three of a data set, one of a roofline.

    Runs with other seeds have none.
    """
    records = [record for record in records if not record.settings.repeat]
    for record in records:
        yield from _of_record(record)
    for dataset, group in groupby(records, key=lambda record: record.cell.dataset):
        yield from _of_dataset(dataset, list(group))
    for tuning in tunings:
        yield from _of_tuning(tuning)
    for path in results.glob("roofline/*.csv"):
        regular_file(path)
    for roofline in read_rooflines(results, records):
        stem = roofline_stem(roofline).as_posix()
        yield _figure(stem, asdict(roofline), partial(plot_roofline, roofline))


def roofline_stem(roofline: Roofline) -> Path:
    """Return the path of a roofline's figure below the results folder, without .svg and .png."""
    return Path("figures") / f"roofline-{roofline.name}"


def tuning_stems(record: TuningRecord) -> list[Path]:
    """Return the paths of a search's figures below the results folder, without .svg and .png."""
    return [figure.stem for figure in _of_tuning(record)]


def draw_record(results: Path, record: Record) -> list[Path]:
    """Draw the figures of one record where they are not up to date, and return their files."""
    figures = list(_of_record(record))
    _draw_missing(results, figures)
    return [path for figure in figures for path in figure_files(results / figure.stem)]


def _draw_missing(results: Path, figures: Iterable[FigureSpec]) -> None:
    for figure in figures:
        if _is_current(results, figure):
            continue
        if figure.needs and find_spec(figure.needs) is None:
            print(f"{figure.stem}: not drawn: needs {figure.needs}", file=sys.stderr)
            continue
        files = figure_files(results / figure.stem)
        save_figure(figure.plot, files, digest=figure.digest, palette=True)


def _is_current(results: Path, figure: FigureSpec) -> bool:
    for path in figure_files(results / figure.stem):
        regular_file(path)
    return is_current(results / figure.stem, figure.digest)


def _of_record(record: Record) -> Iterator[FigureSpec]:
    stem = Path("figures") / record.cell.dataset / record.stem
    if record.weights.history:
        data: object = [record.title, record.cell.dataset, record.flat["history"]]
        yield _figure(f"{stem}-training", data, partial(plot_training, record))
    if record.accuracy.confusion_matrix:
        classes, matrix = record.data.classes, record.accuracy.confusion_matrix
        data = [record.title, record.cell.dataset, classes, matrix]
        yield _figure(f"{stem}-confusion", data, partial(plot_confusion, record))


def _of_tuning(record: TuningRecord) -> Iterator[FigureSpec]:
    stem = f"figures/{record.cell.dataset}/{record.cell.model}-{record.cell.device}-tuning"
    trials = [asdict(trial) for trial in record.trials]
    data = [record.label, record.cell.dataset, record.space, trials]
    plots = {"trials": plot_trials} | (
        {"importance": plot_importance} if has_importance(record) else {}
    )
    for name, plot in plots.items():
        figure = _figure(f"{stem}-{name}", [name, data], partial(plot, record))
        yield replace(figure, needs="optuna")


def _of_dataset(dataset: str, records: Sequence[Record]) -> Iterator[FigureSpec]:
    images = ", ".join(
        dict.fromkeys(r.data.data_name for r in records if r.accuracy.accuracy_top1 is not None)
    )
    for cost in COSTS:
        points = measured_points(records, cost)
        if points:
            scatter = Scatter(
                dataset=dataset,
                images=images,
                cost=cost,
                points=points,
                published=published_points(dataset, cost),
            )
            name = f"figures/{dataset}/accuracy-{cost.name}"
            yield _figure(name, asdict(scatter), partial(plot_scatter, scatter))


def _figure(stem: str, data: object, plot: partial[Figure]) -> FigureSpec:
    digest = hash_json([_code_digest(plot.func.__module__), data])
    return FigureSpec(stem=Path(stem), digest=digest, plot=plot)


@cache
def _code_digest(module: str) -> str:
    names = ("canvas", "labels", module.rpartition(".")[2])
    return hash_json([file_sha256(_FOLDER / f"{name}.py") for name in names])
