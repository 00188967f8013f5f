"""Tables: every digit from a record or a published cell, and nothing made up in between."""

import csv
import io

import pytest

from harness.errors import RequestError
from harness.report.frame import frame_records
from harness.report.site import render_readme
from harness.report.table import write_csv
from harness.report.tables import print_records
from tests.records import cell_record, changed, files_of, findings_of


def make_record(**changes):
    fields = {
        "dataset": "cifar10",
        "model": "resnet",
        "label": "ResNet-50",
        "device": "cpu",
        "status": "ok",
        "accuracy_top1": 91.234,
        "accuracy_top1_low": 90.66,
        "accuracy_top1_high": 91.77,
        "latency_ms_p50": 25.078,
        "throughput_images_per_s": 51.6,
        "weights_mb": 94.3,
        "peak_memory_mb": 10.42,
        "params": 23_528_522,
        "gmacs": 4.0875,
        "gmacs_thop": 4.1317,
        "device_name": "a processor",
        "threads": 2,
        "weights_origin": "trained",
        "start": "random",
        "epochs": 2,
        "training_seconds": 90.0,
        "image_size": 224,
        "data_name": "some.npz",
        "data_sha256": "0123456789abcdef0123",
        "history": [
            {"epoch": 1, "loss": 2.0, "accuracy": 0.5, "learning_rate": 0.01, "seconds": 50.0},
            {"epoch": 2, "loss": 1.0, "accuracy": 0.75, "learning_rate": 0.0, "seconds": 40.0},
        ],
        "classes": ["a", "b"],
        "confusion_matrix": [[3, 1], [0, 4]],
    }
    return cell_record(**(fields | changes))


def markdown(records, costs=(), latencies=()):
    (text,) = findings_of(records, costs, latencies).tables.values()
    return text


GOLDEN = """\
| Model | Top-1 % ↑ (95%) | Latency ms ↓ | Images/s ↑ | Weights MB ↓ | Peak MB ↓ | Params M ↓ \
| GMACs ↓ | thop GMACs ↓ | Notes |
| :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | :--- |
| ResNet-50 | 91.23 (90.7–91.8) | 25.08 | 52 | 94.30 | 10.42 | 23.53 | 4.088 | 4.132 | a b |

- a: 2 epochs at 224 px from random weights, 1.5 min
- b: images of some.npz, not the official split
- Images: some.npz, **not the official split**, SHA-256 `0123456789abcdef…`
- Machine: a processor, 2 CPU threads; latency at batch 1 in fp32, accuracy in fp32
"""


def test_a_table_of_one_record():
    assert markdown([make_record(dataset="ours")]) == GOLDEN


def test_the_notes_say_where_layers_were_frozen():
    ours = make_record(dataset="ours", params_trainable=20_490)
    assert "- b: 0.02 of 23.53 M parameters trained\n" in markdown([ours])
    assert markdown([changed(ours, params_trainable=23_528_522)]) == GOLDEN
    random = make_record(params_trainable=20_490, weights_origin="random")
    assert "parameters trained" not in markdown([random])


def test_the_notes_say_how_a_recipe_was_found():
    tuning = {"trials": 8, "images": 4000, "epochs": 3, "searched": [], "space": "0123456789"}
    text = markdown([make_record(dataset="ours", settings={"tuning": tuning})])
    assert "- b: recipe found in 8 trials of 4,000 images × 3 epochs\n" in text


def test_processors_of_one_name_are_told_apart():
    def on(label, *flags):
        return make_record(label=label, model=label, environment={"cpu_flags": list(flags)})

    text = markdown([on("A", "avx2", "amx_tile"), on("B", "avx2"), on("C", "avx2", "amx_tile")])
    assert (
        "- **Several processors are called a processor** (with amx_tile: A, C; without: B): "
        "latencies and images/s are comparable within each alone\n"
    ) in text
    assert "Several processors" not in markdown([on("A", "avx2"), on("B", "avx2")])


def test_published_columns_stand_only_where_something_was_published():
    text = markdown([make_record(dataset="digits")])
    assert "published" not in text
    text = markdown([make_record(), make_record(model="efficientnet", label="E")])
    row = next(line for line in text.splitlines() if line.startswith("| E |"))
    # Five published cells, the ratio and the file that were not measured, the interval's own dash.
    assert row.count("–") == 8


def test_a_failed_cell_shows_its_reason_and_no_figure():
    record = cell_record(
        dataset="digits",
        model="net",
        label="Net",
        device="cpu",
        status="failed",
        reason="loss is nan",
    )
    row = markdown([record]).splitlines()[2]
    assert row == "| Net | – | – | – | – | – | – | – | – | a |"
    assert "\n- a: failed: loss is nan\n" in markdown([record])


def test_a_small_figure_is_not_shown_as_none():
    text = markdown([make_record(gmacs=0.00026368, latency_ms_p50=0.0)])
    assert "| 0.00026 |" in text
    assert "| 0.00 |" in text


def test_a_compressed_row_says_what_it_was_and_what_that_brought(make_epoch):
    found = {
        "base": "resnet",
        "method": "quantization",
        "accuracy_base": 91.5,
        "accuracy_fake_quantized": 91.125,
        "params_base": 23_528_522,
        "weights_mb_base": 375.1,
        "weights_ratio_to_base": 0.2514,
        "gmacs_base": 4.0875,
        "gmacs_thop_base": 4.1317,
        "speed_up_wanted": None,
        "speed_up": 1.0,
        "latency_ms_p50_base": 150.0,
        "latency_ratio_to_base": 0.167,
        "latency_ratio_to_base_low": 0.16,
        "latency_ratio_to_base_high": 0.17,
        "latency_rounds": 10,
        "latency_drift_base": 0.01,
    }
    history = [make_epoch(stage="quantization")]
    changes = {"start": "resnet", "precision": "int8", "history": history}
    table = markdown([make_record(compression=found, **changes)])
    assert ": 2 epochs at 224 px from resnet weights, 1.5 min\n" in table
    assert ": × resnet: latency 0.17, weights 0.25, MACs 1.00\n" in table
    assert ": resnet itself 91.50%, fake-quantised 91.12%\n" in table
    assert "latency at batch 1 in int8, accuracy in int8" in table
    bare = {name: found[name] for name in found if not name.startswith("accuracy_")}
    table = markdown([make_record(compression=bare | {"speed_up": None})])
    assert ": × resnet: latency 0.17, weights 0.25\n" in table


def test_the_csv_keeps_measured_and_published_apart():
    (row,) = csv.DictReader(io.StringIO(write_csv(frame_records([make_record()]))))
    assert row["accuracy_top1"] == "91.234"
    assert row["published_accuracy_top1"] == "85.09"
    assert row["accuracy_top5"] == ""
    assert row["latency_ms_p50"] == "25.078"


def test_an_accuracy_without_an_interval_is_shown():
    records = [make_record(model=model, accuracy_top1_low=None) for model in ("resnet", "vgg")]
    text = files_of(findings_of(records))["cifar10.md"]
    assert "| ResNet-50 | **91.23** |" in text
    assert "| ResNet-50 | 91.23 |" in text.partition("## Ranking")[2]


def test_the_files_made_from_records():
    files = files_of(findings_of([make_record()]))
    assert files["training/cifar10/resnet-cpu.csv"] == (
        "epoch,loss,accuracy,learning_rate,seconds\n1,2,0.5,0.01,50\n2,1,0.75,0,40\n"
    )
    assert files["confusion/cifar10/resnet-cpu.csv"] == "3,1\n0,4\n"
    assert files["cifar10.md"].startswith("# cifar10\n\n| Model |")


def test_the_readme_takes_the_table_between_its_marks():
    text = "a\n<!-- results: ours -->\nold\n<!-- results: end -->\nb\n"
    record = make_record(dataset="ours")
    once = render_readme(text, findings_of([record]))
    assert once == f"a\n<!-- results: ours -->\n{GOLDEN}<!-- results: end -->\nb\n"
    assert render_readme(once, findings_of([record])) == once
    with pytest.raises(RequestError, match="no records of 'ours'"):
        render_readme(text, findings_of())


def test_a_reason_is_no_markup(capsys):
    record = make_record(status="failed", reason="a|b in [/path] [red]")
    assert "- a: failed: a|b in [/path] [red]" in markdown([record])
    assert r"| a\|b |" in markdown([make_record(label="a|b")])
    # Without published columns the reason is on one line.
    print_records([changed(record, dataset="ours")])
    assert "failed: a|b in [/path] [red]" in capsys.readouterr().out


PUBLISHED_ROW = (
    "| ResNet-50 | 91.23 (90.7–91.8) | 85.09 | 25.08 | 6.23 | – | 1.00 | 52 | – | 94.43 | 94.30 "
    "| 10.42 | 23.53 | 4.088 | 4.132 | 4.13 | a b |"
)


def test_published_figures_stand_beside_ours_for_all_ten_models():
    lines = markdown([make_record()]).splitlines()
    assert lines[0] == (
        "| Model | Top-1 % ↑ (95%) | published | Latency ms ↓ | published | ÷ ResNet-50 ↓ "
        "| published | Images/s ↑ | File MB ↓ | published | Weights MB ↓ | Peak MB ↓ | Params M ↓ "
        "| GMACs ↓ | thop GMACs ↓ | published | Notes |"
    )
    assert lines[2] == PUBLISHED_ROW
    assert lines[5] == (
        "| VGG16 | – | 86.88 | – | 3.09 | – | 0.50 | – | – | 537.22 | – | – | – | – | – | 15.47 "
        "| c |"
    )
    assert "- c: not run; costs not counted" in lines
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == 2 + 10


def test_no_published_figure_is_in_a_measured_column():
    header, *lines = [
        line.strip("| ").split(" | ") for line in markdown([make_record()]).splitlines()[:12]
    ]
    for line in lines[2:]:
        measured = [cell for name, cell in zip(header, line, strict=True) if name != "published"]
        assert set(measured[1:-1]) == {"–"}


def test_the_ratio_to_resnet_stands_beside_the_published_one(make_latency_record, make_row):
    rows = (make_row("resnet", "ResNet-50", 1.0), make_row("vgg", "VGG-16", 2.5))
    latency = make_latency_record(rows=tuple(rows))
    text = markdown([make_record(image_size=32)], (), [latency])
    header, _, resnet, _, _, vgg, *_ = (line.strip("| ").split(" | ") for line in text.splitlines())
    column = header.index("÷ ResNet-50 ↓")
    assert resnet[column : column + 2] == ["**1**", "1.00"]
    assert vgg[column : column + 2] == ["2.5 (2.25–2.75)", "0.50"]  # 3.09 / 6.23


def best(records, column):
    header, lines = {}, []
    text = markdown(records)
    header, _, *lines = (line.strip("| ").split(" | ") for line in text.splitlines())
    place = header.index(column)
    return [line[0] for line in lines if len(line) > place and line[place].startswith("**")]


def row(model, **changes):
    return make_record(dataset="ours", model=model, label=model.upper(), **changes)


def test_the_best_of_a_column_is_in_bold():
    records = [row("a", accuracy_top1=90.0, gmacs=1.0), row("b", accuracy_top1=95.0, gmacs=2.0)]
    assert best(records, "Top-1 % ↑ (95%)") == ["B"]
    assert best(records, "GMACs ↓") == ["A"]
    # What looks the same is equally good; a single row is no best.
    assert best(records, "Params M ↓") == ["A", "B"]
    assert best(records[:1], "GMACs ↓") == []


def test_accuracies_on_other_images_are_not_compared():
    others = [row("c", accuracy_top1=99.0, data_sha256="other"), row("d", accuracy_top1=None)]
    records = [row("a", accuracy_top1=90.0), row("b", accuracy_top1=95.0), *others]
    assert best(records, "Top-1 % ↑ (95%)") == ["B"]
    untrained = row("e", accuracy_top1=96.0, weights_origin="random")
    assert best([*records, untrained], "Top-1 % ↑ (95%)") == ["B"]


def test_times_of_other_machines_are_not_compared():
    other = row("c", latency_ms_p50=0.1, device_name="another")
    records = [row("a", latency_ms_p50=2.0), row("b", latency_ms_p50=3.0), other]
    assert best(records, "Latency ms ↓") == ["A"]


def test_runs_with_other_seeds_are_a_mean_and_a_standard_deviation():
    # 90, 91 and 95: mean 92, deviations −2, −1 and 3, so √(14/2) = 2.65.
    runs = [
        row("a", accuracy_top1=90.0, seed=42),
        row("a", accuracy_top1=91.0, seed=1, repeat=True),
        row("a", accuracy_top1=95.0, seed=2, repeat=True),
    ]
    (line,) = [text for text in markdown(runs).splitlines() if text.startswith("| A |")]
    assert line == (
        "| A | 92.00 ± 2.65 (n=3) | 25.08 | 52 | 94.30 | 10.42 | 23.53 | 4.088 | 4.132 | a b c |"
    )
    assert "mean ± standard deviation of 3 runs, seeds 42, 1, 2" in markdown(runs)
    assert len(list(csv.DictReader(io.StringIO(write_csv(frame_records(runs)))))) == 3


def test_costs_that_differ_between_seeds_are_averaged_too():
    runs = [row("a", gmacs=1.0), row("a", gmacs=3.0, seed=1, repeat=True)]
    (line,) = [text for text in markdown(runs).splitlines() if text.startswith("| A |")]
    assert "| 2.000 ± 1.414 | 4.132 |" in line


def test_a_note_has_one_letter_however_many_rows_it_is_of():
    records = [row(f"m{index:02}", epochs=index) for index in range(27)]
    lines = markdown(records).splitlines()
    assert lines[2].endswith("| a b |")
    assert lines[3].endswith("| c b |")
    assert "- b: images of some.npz, not the official split" in lines
    assert "- aa: 25 epochs at 224 px from random weights, 1.5 min" in lines


def test_the_size_of_a_file_is_that_of_the_same_shape(make_cost, make_path):
    def shown(record, cost, end=""):
        lines = markdown([record], [cost]).splitlines()
        header, *rows = (line.strip("| ").split(" | ") for line in lines if line[:1] == "|")
        (line,) = [line for line in rows if line[0] == record.title + end]
        return line[header.index("File MB ↓")]

    assert shown(make_record(), make_cost()) == "94.43"
    assert shown(make_record(image_size=32), make_cost(), " at 32 px") == "–"
    paths = (make_path("root", file_mb=0.66), make_path("2", file_mb=1.85))
    tree = make_cost(model="trunk", image_size=32, weights_origin="published", paths=paths)
    # The shape of another tree is another.
    trained = make_record(model="trunk", image_size=32)
    assert shown(trained, tree) == "–"
    published = make_record(model="trunk", image_size=32, settings={"weights": "published"})
    assert shown(published, tree) == "0.66–1.85"
