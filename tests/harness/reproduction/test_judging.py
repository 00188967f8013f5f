"""A verdict on each published figure, and why those that differ do."""

from pathlib import Path

from harness.records.material import Material, read_material
from harness.reproduction.judging import judge_publication

RESULTS = Path(__file__).resolve().parents[3] / "results"


def test_every_published_figure_has_a_verdict():
    found = judge_publication(Material(records=[]))
    assert not found.attempted
    verdicts = found.verdicts
    assert len(verdicts) == 30 * 4
    keys = [(v.dataset, v.model, v.figure) for v in verdicts]
    assert len(set(keys)) == 120
    assert list(dict.fromkeys(dataset for dataset, *_ in keys)) == ["emnist", "cifar10", "svhn"]
    assert {v.outcome for v in verdicts} == {"cannot be judged"}
    assert all(v.reason for v in verdicts)


def test_the_committed_verdicts_rest_on_files_that_are_there():
    material = read_material(RESULTS)
    verdicts = judge_publication(material).verdicts
    judged = [v for v in verdicts if v.outcome != "cannot be judged"]
    assert len(judged) >= 40
    assert all(v.measured and (RESULTS / v.evidence).exists() for v in judged)
    # What was published of the sizes and counts of these reproduces, whatever else changes.
    found = {(v.dataset, v.model, v.figure): v.outcome for v in verdicts}
    for dataset in ("emnist", "cifar10", "svhn"):
        for model in ("resnet", "vgg", "convnext", "mobilenet", "vit"):
            assert found[dataset, model, "size"] == "reproduced"
            assert found[dataset, model, "count"] == "reproduced"
    assert found["svhn", "dinov2", "count"] == "differs"
    assert found["cifar10", "trunk", "size"] == "differs"
    for figure in ("size", "count"):
        assert found["cifar10", "resnet_quantized", figure] == "reproduced"
        assert found["svhn", "trunk", figure] == "differs"


def test_another_network_of_ours_says_nothing_of_the_published_one(make_cost, make_record):
    int8 = make_cost(model="resnet_quantized", file_mb=95.2, gmacs_thop=0.02)
    trained = make_record(model="resnet_quantized", accuracy_top1=85.46)

    def judge(*costs, records=(trained,)):
        verdicts = judge_publication(Material(records=records, costs=costs)).verdicts
        return {
            v.figure: v for v in verdicts if (v.dataset, v.model) == ("cifar10", "resnet_quantized")
        }

    found = judge(int8)
    assert {v.outcome for v in found.values()} == {"cannot be judged"}
    assert found["size"].reason == "not counted with published weights"
    assert found["size"].command.endswith("resnet_quantized --measure cost --weights published")
    assert found["accuracy"].command.endswith("--model resnet_quantized --weights published")
    observed = make_cost(
        model="resnet_quantized", variant="published", file_mb=95.2, gmacs_thop=0.02
    )
    weights = make_record(
        model="resnet_quantized",
        accuracy_top1=85.46,
        weights_origin="published",
        settings={"weights": "published"},
    )
    found = judge(int8, observed, records=(trained, weights))
    evidence = "costs/cifar10/resnet_quantized-published-224.json"
    assert (found["size"].outcome, found["size"].evidence) == ("reproduced", evidence)
    assert (found["count"].outcome, found["accuracy"].outcome) == ("reproduced", "reproduced")
