"""Time the report of many records: making its tables and page, and using the page in Chromium.

    python studies/report_scale.py --records 10000

Records are made up from those in results/, in a temporary folder. Figures are left out: those of a
record are drawn once, when its cell has run. Where there is a Chromium with its driver, the page is
opened in it, and typing a letter, sorting, opening a record and scrolling are timed in the page.
"""

from __future__ import annotations

import dataclasses
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from typer import Option

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

from harness.errors import RequestError
from harness.jobs import Cell
from harness.records import parts
from harness.records.cell import CELLS, Record
from harness.records.material import read_material
from harness.report.site import make_findings, write_texts

_PER_DATASET = 500
_MODELS = 100
_ROUNDS = 15

# Each returns the milliseconds until the next frame was drawn.
_TIMED = """
const [what, done] = arguments;
requestAnimationFrame(() => {
  const start = performance.now();
  %s
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
});
"""
_CLICK = _TIMED % "document.querySelector(what).click();"
_TYPE = (
    _TIMED
    % """
  const field = document.getElementById("search");
  field.value = what;
  field.dispatchEvent(new Event("input"));
"""
)
# Returns the milliseconds between frames while the page scrolls by a third of a screen each.
_SCROLL = """
const [pictures, done] = arguments, times = [];
window.scrollTo({top: 0, behavior: "instant"});
const step = (now) => {
  times.push(now);
  window.scrollBy({top: innerHeight / 3, behavior: "instant"});
  if (times.length <= pictures) requestAnimationFrame(step);
  else done(times.slice(1).map((time, place) => time - times[place]));
};
requestAnimationFrame(step);
"""

Count = Annotated[int, Option("--records", help="How many records.", min=1)]

T = TypeVar("T", bound="DataclassInstance")


def main(records: Count = 10_000) -> None:
    """Make up records, make the report from them, and print how long everything took."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        for record in make_records(CELLS.read_all(ROOT / "results"), records):
            CELLS.write(results, record)
        print(f"{records:,} records")
        for what in ("first time", "again"):
            start, used = perf_counter(), process_time()
            write_texts(results, make_findings(results, read_material(results)))
            seconds, used = perf_counter() - start, process_time() - used
            print(f"tables and page, {what}: {seconds:.1f} s, {used:.1f} s of them on the CPU")
        page = results / "index.html"
        print(f"page: {page.stat().st_size / 1e6:.1f} MB")
        _print_browser(page)


def make_records(models: Sequence[Record], count: int) -> Iterator[Record]:
    """Yield records made from real ones, which differ in everything that the table shows."""
    chance = random.Random(0)  # noqa: S311 - nothing secret
    for index in range(count):
        like = models[index % len(models)]
        dataset, model = divmod(index, _PER_DATASET)
        factor, accuracy = chance.uniform(0.5, 2), chance.uniform(50, 100)
        yield dataclasses.replace(
            like,
            cell=Cell(
                dataset=f"set{dataset:03d}", model=f"net{model:03d}", device=like.cell.device
            ),
            label=f"{like.label} {model % _MODELS}",
            accuracy=parts.Accuracy(
                accuracy_top1=accuracy,
                accuracy_top1_low=accuracy - 1,
                accuracy_top1_high=min(accuracy + 1, 100),
                n_test=like.accuracy.n_test,
            ),
            latency=_scale(
                parts.Latency(latency_ms_p50=like.latency.latency_ms_p50), "latency_ms_p50", factor
            ),
            throughput=_scale(like.throughput, "throughput_images_per_s", factor),
            operations=_scale(like.operations, "gmacs", factor),
            memory=_scale(like.memory, "weights_mb", factor),
        )


def _scale(part: T, name: str, factor: float) -> T:
    """Return a part of a record with one figure, if it was measured, times a factor."""
    value = getattr(part, name)
    return part if value is None else dataclasses.replace(part, **{name: value * factor})


def _print_browser(page: Path) -> None:
    """Print how long things take in the page, where there is a browser."""
    from studies.browser import find_chromium, open_browser, open_page

    try:
        chromium = find_chromium()
    except RequestError as error:
        print(f"in Chromium: not measured: {error}")
        return
    with open_browser(chromium) as driver:
        run = driver.execute_async_script
        open_page(driver, page)
        load = "return performance.timing.loadEventEnd - performance.timing.navigationStart"
        print(f"in Chromium, loading: {driver.execute_script(load):,} ms")
        _print_times("typing a letter", [run(_TYPE, f"net{n}") for n in range(_ROUNDS)])
        run(_TYPE, "")
        sort = "th[data-field=accuracy_top1] button"
        _print_times("sorting", [run(_CLICK, sort) for _ in range(_ROUNDS)])
        _print_times("opening a record", [run(_CLICK, "#rows tr:nth-child(50) a")])
        driver.execute_script("document.getElementById('close').click()")
        _print_times("between pictures while scrolling", run(_SCROLL, 60))


def _print_times(what: str, milliseconds: Sequence[float]) -> None:
    median, most = statistics.median(milliseconds), max(milliseconds)
    print(f"in Chromium, {what}: median {median:.0f} ms, longest {most:.0f} ms")


if __name__ == "__main__":
    typer.run(main)
