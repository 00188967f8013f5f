"""Records beside models: whose is whose, and what there is none of."""

import pytest

from harness.errors import RequestError
from harness.profiling import results as results_module
from harness.profiling.analysis import analyse_all
from harness.profiling.names import resolve_names
from harness.profiling.report import Report, notes
from harness.profiling.request import Options
from harness.profiling.results import join_results, read_results
from harness.records.cell import CELLS
from tests.records import cell_record

OPTIONS = Options(image_size=64, classes=10)


def make_record(model, device="cpu", **changes):
    fields = {
        "dataset": "digits",
        "label": model,
        "status": "ok",
        "accuracy_top1": 90.0,
        "latency_ms_p50": 5.0,
        "image_size": 32,
        "device_name": "a processor",
        "weights_origin": "trained",
        "classes": list("0123456789"),
        "not_measured": {"energy_j_per_image": "no counter", "gmacs_thop": "thop failed"},
        "settings": {"weights": "auto"},
    }
    return cell_record(model=model, device=device, **(fields | changes))


@pytest.fixture(name="records")
def _records(tmp_path):
    for record in (
        make_record("mobilenet"),
        make_record("mobilenet", "cuda", accuracy_top1=91.0),
        make_record("resnet", "cuda", accuracy_top1=92.0),
        make_record("resnet", status="failed", accuracy_top1=None),
        make_record("vgg", accuracy_top1=99.0, settings={"weights": "published"}),
        make_record("trunk"),
        make_record("resnet_quantized", accuracy_top1=93.0),
        make_record("vit", dataset="svhn"),
    ):
        CELLS.write(tmp_path, record)
    return tmp_path


def join(names, records):
    analyses = analyse_all(resolve_names(names), OPTIONS)
    found = join_results(analyses, OPTIONS, read_results("digits", records))
    return {
        str(name): (r.cell.model, r.cell.device, r.accuracy.accuracy_top1)
        for name, r in found.items()
    }


def test_a_folder_has_its_record_the_cpus_where_there_are_two(records):
    assert join(["ours:mobilenet", "ours:resnet", "ours:vgg", "ours:deit"], records) == {
        "ours:mobilenet": ("mobilenet", "cpu", 90.0),
        "ours:resnet": ("resnet", "cuda", 92.0),
    }


def test_a_library_has_the_record_of_a_folder_with_the_same_network(records):
    names = ["mobilenet_v2", "resnet50", "timm:resnet50", "resnet18", "resnext50_32x4d"]
    assert join(names, records) == {
        "mobilenet_v2": ("mobilenet", "cpu", 90.0),
        "resnet50": ("resnet", "cuda", 92.0),
        "timm:resnet50": ("resnet", "cuda", 92.0),
    }


def test_folders_need_no_building(records, monkeypatch):
    monkeypatch.setattr(results_module, "analyse_all", None)
    assert set(join(["ours:mobilenet"], records)) == {"ours:mobilenet"}


@pytest.mark.parametrize("dataset", ["digit", "cifar10"])
def test_a_data_set_without_records_is_one_line(records, dataset):
    with pytest.raises(RequestError, match=rf"^unknown --with-results '{dataset}': ") as caught:
        read_results(dataset, records)
    assert "digits" in str(caught.value)


def test_the_notes_say_what_was_measured_where_and_what_was_not(make_analysis):
    with_record = make_analysis("resnet", source="ours")
    without = make_analysis("vit", source="ours")
    report = Report(
        options=OPTIONS,
        rows=[with_record, without],
        dataset="digits",
        measured={with_record.name: make_record("resnet")},
    )
    assert notes(report) == [
        "ours:resnet: measured as resnet on digits, cpu (a processor), 32 pixels, 10 classes, "
        "trained weights",
        "ours:vit: no record on digits",
        "energy_j_per_image not measured: no counter",
    ]
