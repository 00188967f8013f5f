"""Makes everything in `results/` that comes from the records, and the README's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.errors import RequestError
from harness.records.cell import Record
from harness.records.material import Material, read_material
from harness.records.predictions import find_predictions
from harness.report.costs import render_costs_csv
from harness.report.figures import refresh_figures, stale_figures
from harness.report.frame import frame_records
from harness.report.latency import render_latency, render_latency_csv
from harness.report.latex import render_latex
from harness.report.missing import render_missing
from harness.report.page import render_page_files
from harness.report.paths import render_paths
from harness.report.ranking import SameImages, compare_cells, render_pairs, render_ranking
from harness.report.readme import VERDICTS, fill_readme
from harness.report.rows import Row, make_rows
from harness.report.table import write_csv
from harness.report.tables import render_markdown
from harness.report.tuning import render_tuning
from harness.report.verdicts import render_summary, render_verdicts, render_verdicts_csv
from harness.reproduction.judging import Reproduction, judge_publication
from harness.util.files import regular_file, write_text


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the text files are made from, worked out once.

    `rows`, `tables` and `compared` are by data set; the tables are Markdown, of those that have
    rows; `compared` are the cells on the same test images.
    """

    material: Material
    rows: Mapping[str, Sequence[Row]]
    tables: Mapping[str, str]
    compared: Mapping[str, Sequence[SameImages]]
    reproduction: Reproduction


def make_findings(results: Path, material: Material) -> Findings:
    """Return what the text files are made from; predictions are looked up in `results`."""
    parts = {dataset: material.of(dataset) for dataset in material.datasets}
    rows = {
        name: make_rows(p.records, p.costs, p.latencies)
        for name, p in parts.items()
        if p.records or p.costs or p.latencies
    }
    find = partial(find_predictions, results)
    return Findings(
        material=material,
        rows=rows,
        tables={n: render_markdown(r, parts[n].records) for n, r in rows.items() if r},
        compared={name: compare_cells(p.records, find) for name, p in parts.items()},
        reproduction=judge_publication(material),
    )


def refresh(results: Path) -> None:
    """Write the tables of every data set, the page, and the figures that are out of date."""
    findings = make_findings(results, read_material(results))
    write_texts(results, findings)
    refresh_figures(results, findings.material.records, findings.material.tunings)


def regenerate(root: Path) -> int:
    """Make everything below a project's `results/` anew, and its README; count the records.

    Raises:
        RequestError: The README cannot be read, or its marks are damaged; nothing was written then.
    """
    findings = make_findings(root / "results", read_material(root / "results"))
    _write_stale(_render_project(root, findings))
    refresh_figures(root / "results", findings.material.records, findings.material.tunings)
    return len(findings.material.records)


def stale_files(root: Path) -> list[Path]:
    """Return the files that are not what the records make them; raise as `regenerate`."""
    findings = make_findings(root / "results", read_material(root / "results"))
    stale = _stale(_render_project(root, findings))
    return stale + stale_figures(
        root / "results", findings.material.records, findings.material.tunings
    )


def write_texts(results: Path, findings: Findings) -> None:
    """Write the tables and the page where they are not what they were."""
    _write_stale(_render_all(results, findings))


def render_files(findings: Findings) -> dict[Path, str]:
    """Return the text files made from records, by their path below the results folder."""
    files: dict[Path, str] = {}
    for dataset in findings.material.datasets:
        files |= _render_dataset(dataset, findings)
    if findings.reproduction.attempted:
        files[Path("verdicts.md")] = render_verdicts(findings.reproduction)
        files[Path("verdicts.csv")] = render_verdicts_csv(findings.reproduction.verdicts)
    return files


def render_readme(text: str, findings: Findings) -> str:
    """Return the README with what stands between each pair of its marks made anew."""
    material = findings.material
    datasets = {r.cell.dataset for r in material.records} | {c.dataset for c in material.costs}
    parts = {name: findings.tables[name] for name in datasets}
    return fill_readme(text, parts | {VERDICTS: render_summary(findings.reproduction.verdicts)})


def _render_project(root: Path, findings: Findings) -> dict[Path, str]:
    path = root / "README.md"
    try:
        text = regular_file(path).read_bytes().decode("utf-8")
    except (OSError, UnicodeError) as error:
        raise RequestError(f"{path}: cannot be read ({error})") from error
    return _render_all(root / "results", findings) | {path: render_readme(text, findings)}


def _render_all(results: Path, findings: Findings) -> dict[Path, str]:
    files = render_files(findings)
    files |= render_page_files(results, findings.material, findings.reproduction, findings.compared)
    return {results / path: text for path, text in files.items()}


def _render_dataset(dataset: str, findings: Findings) -> dict[Path, str]:
    material, rows = findings.material.of(dataset), findings.rows.get(dataset)
    records, files = material.records, dict[Path, str]()
    page = f"# {dataset}\n"
    if rows:
        page += f"\n{findings.tables[dataset]}{render_missing(rows)}"
        files[Path(f"{dataset}.tex")] = render_latex(rows)
    if records:
        compared = findings.compared[dataset]
        pairs = Path(f"{dataset}-mcnemar.csv")
        page += render_ranking(compared, pairs.name)
        page += render_paths([record for record in records if not record.settings.repeat])
        files[Path(f"{dataset}.csv")] = write_csv(frame_records(records))
        files |= _render_details(records)
        if any(group.pairs for group in compared):
            files[pairs] = render_pairs(compared)
    if material.costs:
        files[Path(f"{dataset}-costs.csv")] = render_costs_csv(material.costs)
    if material.latencies:
        page += render_latency(material.latencies)
        files[Path(f"{dataset}-latency.csv")] = render_latency_csv(material.latencies)
    page += render_tuning(material.tunings)
    files[Path(f"{dataset}.md")] = page
    return files


def _render_details(records: Sequence[Record]) -> dict[Path, str]:
    import pandas as pd

    files: dict[Path, str] = {}
    for record in records:
        name = Path(record.cell.dataset) / f"{record.stem}.csv"
        if record.weights.history:
            logs = pd.DataFrame(map(vars, record.weights.history)).dropna(axis="columns", how="all")
            files["training" / name] = write_csv(logs, digits=6)
        if record.accuracy.confusion_matrix:
            rows = [",".join(map(str, row)) for row in record.accuracy.confusion_matrix]
            files["confusion" / name] = "\n".join(rows) + "\n"
    return files


def _write_stale(files: Mapping[Path, str]) -> None:
    for path in _stale(files):
        write_text(path, files[path])


def _stale(files: Mapping[Path, str]) -> list[Path]:
    # As bytes, so that line ends that are not ours are seen.
    return [
        path
        for path, text in files.items()
        if not regular_file(path).exists() or path.read_bytes() != text.encode()
    ]
