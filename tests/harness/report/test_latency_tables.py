"""Comparisons of latencies as Markdown, CSV and on the terminal."""

import csv
import io

import pytest

from harness.records.cell import CELLS
from harness.records.latency import LATENCIES
from harness.report.latency import print_latency, render_latency, render_latency_csv
from harness.report.site import refresh, stale_files
from tests.records import cell_record, files_of, findings_of

GOLDEN = """
## Latency side by side, 2 CPU threads

| Model | Runtime | × reference (95%) | By process | p50 ms | p05–p95 ms | p99 ms | Notes |
| :--- | :--- | ---: | ---: | ---: | ---: | ---: | :--- |
| ViT-B/16 | compile | 0.0625 (0.0563–0.0688) | 0.0605–0.0664 | 0.62 | 0.56–0.77 | 1.25 | \
random weights |
| ResNet-50 | eager | 1 (1–1) | 1–1 | 10.00 | 9.00–12.35 | 20.00 | trained weights |
| ViT-B/16 | eager | 2.5 (2.25–2.75) | 2.42–2.66 | 25.00 | 22.50–30.86 | 50.00 | trained weights |
| TRUNK | eager | – | – | – | – | – | not timed: it is routed, and there are no weights |

100 rounds in 3 processes on a processor, 2 CPU threads, pinned to cores 1, 3; reference resnet \
in eager, which drifted by 1.2%.
"""


def make_cell(**changes):
    fields = {"dataset": "cifar10", "model": "resnet", "label": "ResNet-50", "device": "cpu"}
    return cell_record(**(fields | {"status": "failed", "reason": "loss is nan"} | changes))


def test_a_section_of_one_comparison(make_latency_record):
    assert render_latency([make_latency_record()]) == GOLDEN


def test_what_makes_it_doubtful_is_said(make_latency_record):
    busy = "other processes took 38% of the CPU"
    record = make_latency_record(drifted=True, drift=0.08, busy=busy, cores=None, threads=1)
    text = render_latency([record])
    assert text.startswith("\n## Latency side by side, 1 CPU thread\n")
    assert text.splitlines()[-1] == (
        "100 rounds in 3 processes on a processor, 1 CPU thread; reference resnet in eager, which "
        "drifted by 8.0% (too much); busy machine: other processes took 38% of the CPU."
    )


def test_cores_that_changed_from_process_to_process(make_latency_record):
    text = render_latency([make_latency_record(threads=1)])
    assert "1 CPU thread, pinned to 1 of cores 1, 3; reference" in text
    text = render_latency([make_latency_record(threads=1, cores=[3])])
    assert "1 CPU thread, pinned to core 3; reference" in text


def test_a_comparison_of_one_process(make_latency_record, make_row):
    for by_process in ([], [0.5]):
        row = make_row("vit", "ViT", 0.5, ratio_by_process=by_process)
        text = render_latency([make_latency_record(processes=1, rows=(row,))])
        assert "| ViT | eager | 0.5 (0.45–0.55) | – | 5.00 |" in text
        assert "100 rounds in 1 process on a processor" in text


def test_a_gpu_is_called_by_its_name(make_latency_record):
    record = make_latency_record(device="cuda", device_name="NVIDIA H200", cores=None)
    text = render_latency([make_latency_record(), record])
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles[1] == "## Latency side by side, NVIDIA H200"
    assert render_latency([]) == ""


def test_a_reason_does_not_break_the_table(make_latency_record, make_row):
    row = make_row("vit", "ViT", reason="int | None wanted")
    text = render_latency([make_latency_record(rows=(row,))])
    (line,) = [line for line in text.splitlines() if "ViT" in line]
    assert line == r"| ViT | eager | – | – | – | – | – | not timed: int \| None wanted |"


def test_the_csv_has_every_row_and_figure(make_latency_record):
    records = [make_latency_record(), make_latency_record(threads=1, busy="it was")]
    rows = list(csv.DictReader(io.StringIO(render_latency_csv(records))))
    assert [(row["threads"], row["model"], row["runtime"]) for row in rows] == [
        (threads, model, runtime)
        for threads in ("2", "1")
        for model, runtime in (
            *(("vit", "eager"), ("resnet", "eager")),
            *(("trunk", "eager"), ("vit", "compile")),
        )
    ]
    first, _, untimed, _ = rows[:4]
    assert (first["ratio"], first["latency_ms_p95"], first["reason"]) == ("2.5", "30.8625", "")
    assert (first["drift"], first["reference"], first["device_name"]) == (
        *("0.0123", "resnet"),
        "a processor",
    )
    assert (untimed["ratio"], untimed["latency_ms_p50"]) == ("", "")
    assert untimed["reason"] == "it is routed, and there are no weights"
    assert [row["busy"] for row in rows] == [""] * 4 + ["it was"] * 4


def test_the_golden_csv(make_latency_record, make_row):
    record = make_latency_record(rows=(make_row("resnet", "ResNet-50", 1.0),))
    assert render_latency_csv([record]) == (
        "dataset,device,device_name,threads,reference,processes,rounds,drift,busy,"
        "model,label,runtime,runtime_method,weights_origin,weights_sha256,image_size,"
        "max_difference,latency_ms_p05,latency_ms_p50,latency_ms_p95,latency_ms_p99,"
        "ratio,ratio_low,ratio_high,reason,ratio_by_process\n"
        "cifar10,cpu,a processor,2,resnet,3,100,0.0123,,"
        'resnet,ResNet-50,eager,"2.0: evaluation mode, fp32",trained,0123,32,'
        "0.0,9.0,10.0,12.345,20.0,1.0,0.9,1.1,,1.0 1.0625 0.96875\n"
    )


def test_a_page_has_both_sections(make_latency_record):
    files = files_of(findings_of([make_cell()], latencies=[make_latency_record()]))
    page = files["cifar10.md"]
    assert page.startswith("# cifar10\n\n| Model | Top-1")
    assert "failed: loss is nan" in page
    assert page.endswith(GOLDEN)
    assert {"cifar10.csv", "cifar10-latency.csv"} <= set(files)


def test_a_page_has_the_section_that_there_is(make_latency_record):
    files = files_of(findings_of([make_cell(dataset="svhn")], latencies=[make_latency_record()]))
    names = "cifar10.md cifar10.tex cifar10-latency.csv svhn.md svhn.csv svhn.tex verdicts.md"
    assert set(files) == {*names.split(), "verdicts.csv"}
    assert files["cifar10.md"].endswith(f"\n{GOLDEN}")
    assert "Latency side by side" not in files["svhn.md"]


def test_a_page_without_a_table_has_that_section_alone(make_latency_record):
    files = files_of(findings_of(latencies=[make_latency_record(dataset="digits")]))
    assert files["digits.md"] == f"# digits\n{GOLDEN}"
    assert set(files) == {"digits.md", "digits-latency.csv"}


def test_refreshing_writes_them_and_staleness_is_seen(tmp_path, make_latency_record):
    results = tmp_path / "results"
    (tmp_path / "README.md").write_text("nothing\n")
    CELLS.write(results, make_cell())
    LATENCIES.write(results, make_latency_record())
    refresh(results)
    assert (results / "cifar10.md").read_text().endswith(GOLDEN)
    assert stale_files(tmp_path) == []
    LATENCIES.write(results, make_latency_record(rounds=50))
    stale = {path.name for path in stale_files(tmp_path)}
    assert stale == {"cifar10.md", "cifar10-latency.csv", "index.html"}
    assert (results / "cifar10.tex").exists()


def test_the_terminal_shows_each_comparison(capsys, make_latency_record):
    print_latency([make_latency_record(), make_latency_record(dataset="emnist", threads=1)])
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    text = " ".join(lines)
    where = "on a processor, 2 CPU threads, pinned to cores 1, 3;"
    assert f"cifar10: 100 rounds in 3 processes {where}" in text
    assert "emnist: 100 rounds in 3 processes on a processor, 1 CPU thread" in text
    golden = [line for line in GOLDEN.splitlines() if line.startswith("|")][2:]
    rows = [" ".join(line.replace("|", " ").split()) for line in golden]
    assert [line for line in lines if line in rows] == 2 * rows


@pytest.mark.parametrize("reason", ["[cpu] is no [device]", "the end of [/tmp/model.onnx]"])
def test_the_terminal_shows_brackets_as_they_are(capsys, make_latency_record, make_row, reason):
    print_latency([make_latency_record(rows=(make_row("vit", "ViT", reason=reason),))])
    assert reason in capsys.readouterr().out
