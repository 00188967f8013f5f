"""Everything in `results/` that is made from the records, and the README's tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from harness.cost_records import CostRecord, read_cost_records
from harness.errors import RequestError
from harness.files import write_text
from harness.latency_records import LatencyRecord, read_latency_records
from harness.predictions import find_predictions
from harness.published import published_cells
from harness.records import Record, read_records
from harness.report.contradictions import Material
from harness.report.costs import render_costs_csv
from harness.report.latency import render_latency, render_latency_csv
from harness.report.latex import render_latex
from harness.report.missing import render_missing
from harness.report.paths import render_paths
from harness.report.ranking import FindPredictions, compare_cells, render_pairs, render_ranking
from harness.report.readme import VERDICTS, fill_readme
from harness.report.rows import datasets_of, make_rows
from harness.report.tables import render_csv, render_markdown
from harness.report.verdicts import (
    judge_all,
    render_summary,
    render_verdicts,
    render_verdicts_csv,
)

Latencies = Sequence[LatencyRecord]
Costs = Sequence[CostRecord]


def refresh(results: Path) -> None:
    """Write the tables of every data set, and the figures that are older than their record.

    Raises:
        CellError: A file cannot be written.
        RequestError: A record cannot be read.
    """
    from harness.report.figures import refresh_figures

    records = read_records(results)
    for path, text in _render_all(results, records).items():
        _write_if_changed(results / path, text)
    refresh_figures(results, [record for record in records if not record.repeat])


def _no_predictions(_: Record) -> tuple[None, str]:
    return None, "no predictions are there"


def render_files(
    records: Sequence[Record],
    latencies: Latencies = (),
    costs: Costs = (),
    find: FindPredictions = _no_predictions,
) -> dict[Path, str]:
    """Return the text files made from records, by their path below the results folder.

    Args:
        records: Of cells.
        latencies: Comparisons of latencies.
        costs: What was counted.
        find: Returns the predictions of a record, or None and why there are none.
    """
    files: dict[Path, str] = {}
    for dataset in datasets_of(records, costs, latencies):
        files |= _render_dataset(
            dataset,
            [each for each in records if each.dataset == dataset],
            [each for each in latencies if each.dataset == dataset],
            [each for each in costs if each.dataset == dataset],
            find,
        )
    if any(files.get(Path(f"{dataset}.md")) for dataset, _ in published_cells()):
        verdicts = judge_all(records, costs, latencies)
        material = Material(records=records, costs=costs, latencies=latencies)
        files[Path("verdicts.md")] = render_verdicts(verdicts, material)
        files[Path("verdicts.csv")] = render_verdicts_csv(verdicts)
    return files


def render_readme(
    text: str, records: Sequence[Record], latencies: Latencies = (), costs: Costs = ()
) -> str:
    """Return the README with what stands between each pair of its marks made anew.

    Raises:
        RequestError: The marks are damaged, or one names a data set without records.
    """

    def table(dataset: str) -> str:
        return render_markdown(
            [each for each in records if each.dataset == dataset],
            [each for each in costs if each.dataset == dataset],
            [each for each in latencies if each.dataset == dataset],
        )

    parts: dict[str, Callable[[], str]] = {
        dataset: partial(table, dataset) for dataset in datasets_of(records, costs, ())
    }
    parts[VERDICTS] = lambda: render_summary(judge_all(records, costs, latencies))
    return fill_readme(text, parts)


def read_readme(root: Path) -> str:
    """Return the README as it is.

    Raises:
        RequestError: It cannot be read.
    """
    try:
        return (root / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise RequestError(f"{root / 'README.md'}: cannot be read ({error})") from error


def make_readme(root: Path) -> str:
    """Return the README of a project as its records make it.

    Raises:
        RequestError: As `render_readme`, or a record cannot be read.
    """
    results = root / "results"
    records, latencies = read_records(results), read_latency_records(results)
    return render_readme(read_readme(root), records, latencies, read_cost_records(results))


def stale_files(root: Path) -> list[Path]:
    """Return the text files that are not what the records make them."""
    results = root / "results"
    rendered = _render_all(results, read_records(results))
    wanted: Mapping[Path, str] = {results / path: text for path, text in rendered.items()}
    wanted = {**wanted, root / "README.md": make_readme(root)}
    return [path for path, text in wanted.items() if _read(path) != text]


def _render_all(results: Path, records: Sequence[Record]) -> dict[Path, str]:
    return render_files(
        records,
        read_latency_records(results),
        read_cost_records(results),
        partial(find_predictions, results),
    )


def _render_dataset(
    dataset: str,
    records: Sequence[Record],
    latencies: Latencies,
    costs: Costs,
    find: FindPredictions,
) -> dict[Path, str]:
    """Return the files of one data set."""
    files: dict[Path, str] = {}
    page = f"# {dataset}\n"
    rows = make_rows(records, costs, latencies)
    if rows:
        page += f"\n{render_markdown(records, costs, latencies)}{render_missing(rows)}"
        files[Path(f"{dataset}.tex")] = render_latex(rows)
    if records:
        compared = compare_cells(records, find)
        pairs = Path(f"{dataset}-mcnemar.csv")
        page += render_ranking(compared, pairs.name)
        page += render_paths([record for record in records if not record.repeat])
        files[Path(f"{dataset}.csv")] = render_csv(records)
        files |= _render_details(records)
        if any(group.pairs for group in compared):
            files[pairs] = render_pairs(compared)
    if costs:
        files[Path(f"{dataset}-costs.csv")] = render_costs_csv(costs)
    if latencies:
        page += render_latency(latencies)
        files[Path(f"{dataset}-latency.csv")] = render_latency_csv(latencies)
    files[Path(f"{dataset}.md")] = page
    return files


def _render_details(records: Sequence[Record]) -> dict[Path, str]:
    """Return the learning curve and the confusion matrix of each record, as CSV."""
    files: dict[Path, str] = {}
    for record in records:
        name = Path(record.dataset) / f"{record.stem}.csv"
        if record.history:
            names = list(record.history[0])
            rows = [",".join(_format(entry[key]) for key in names) for entry in record.history]
            files["training" / name] = "\n".join([",".join(names), *rows]) + "\n"
        if record.confusion_matrix:
            rows = [",".join(map(str, row)) for row in record.confusion_matrix]
            files["confusion" / name] = "\n".join(rows) + "\n"
    return files


def _format(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def _write_if_changed(path: Path, text: str) -> None:
    if _read(path) != text:
        write_text(path, text)


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
