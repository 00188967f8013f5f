"""Everything in `results/` that is made from the records, and the README's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from harness.errors import RequestError
from harness.files import write_text
from harness.latency_records import LatencyRecord, read_latency_records
from harness.records import Record, read_records
from harness.report.figures import refresh_figures, stale_figures
from harness.report.latency import render_latency, render_latency_csv
from harness.report.page import render_page_files
from harness.report.paths import render_paths
from harness.report.tables import render_csv, render_markdown

README_MARK = "<!-- results: {} -->"


def refresh(results: Path) -> None:
    """Write the tables of every data set, the page, and the figures that are out of date.

    Raises:
        CellError: A file cannot be written.
        RequestError: A record cannot be read.
    """
    records, latencies = read_records(results), read_latency_records(results)
    refresh_texts(results, records, latencies)
    refresh_figures(results, records)


def refresh_texts(
    results: Path, records: Sequence[Record], latencies: Sequence[LatencyRecord]
) -> None:
    """Write the tables and the page, where they are not what they were.

    Raises:
        CellError: A file cannot be written.
    """
    files = render_files(records, latencies) | render_page_files(results, records, latencies)
    for path, text in files.items():
        _write_if_changed(results / path, text)


def render_files(
    records: Sequence[Record], latencies: Sequence[LatencyRecord] = ()
) -> dict[Path, str]:
    """Return the text files made from records, by their path below the results folder."""
    files: dict[Path, str] = {}
    for dataset in sorted({r.dataset for r in records} | {r.dataset for r in latencies}):
        members = [record for record in records if record.dataset == dataset]
        compared = [record for record in latencies if record.dataset == dataset]
        page = f"# {dataset}\n"
        if members:
            page += f"\n{render_markdown(members)}{render_paths(members)}"
            files[Path(f"{dataset}.csv")] = render_csv(members)
            files |= _render_details(members)
        if compared:
            page += render_latency(compared)
            files[Path(f"{dataset}-latency.csv")] = render_latency_csv(compared)
        files[Path(f"{dataset}.md")] = page
    return files


def render_readme(text: str, records: list[Record]) -> str:
    """Return the README with the table between each pair of its marks made anew.

    Raises:
        RequestError: A mark names a data set without records, or is not closed.
    """
    by_dataset = {d: list(g) for d, g in groupby(records, key=lambda record: record.dataset)}
    end = README_MARK.format("end")
    for dataset in _marked(text):
        mark = README_MARK.format(dataset)
        if dataset not in by_dataset:
            raise RequestError(f"README.md: {mark}: no records of '{dataset}' in results/records")
        before, _, rest = text.partition(mark)
        _, closed, after = rest.partition(end)
        if not closed:
            raise RequestError(f"README.md: {mark} has no {end} after it")
        text = f"{before}{mark}\n{render_markdown(by_dataset[dataset])}{end}{after}"
    return text


def stale_files(root: Path) -> list[Path]:
    """Return the files that are not what the records make them."""
    results, readme = root / "results", root / "README.md"
    records, latencies = read_records(results), read_latency_records(results)
    rendered = render_files(records, latencies) | render_page_files(results, records, latencies)
    wanted: Mapping[Path, str] = {results / path: text for path, text in rendered.items()}
    wanted = {**wanted, readme: render_readme(readme.read_text(encoding="utf-8"), records)}
    stale = [path for path, text in wanted.items() if _read(path) != text]
    return stale + stale_figures(results, records)


def _marked(text: str) -> list[str]:
    start, end = README_MARK.split("{}")
    names = [part.partition(end)[0].strip() for part in text.split(start)[1:]]
    return [name for name in names if name != "end"]


def _render_details(records: list[Record]) -> dict[Path, str]:
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
