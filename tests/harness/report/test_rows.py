"""Which rows a table has, and which runs belong to one of them."""

from harness.report.rows import group_runs, make_rows
from harness.reproduction.published import published_cells
from tests.harness.report.test_paths import path


def repeat(make_record, seed, **changes):
    settings = {"seed": seed} | changes.pop("settings", {})
    return make_record(seed=seed, repeat=True, settings=settings, **changes)


def test_runs_with_other_seeds_belong_to_their_cell(make_record):
    first, others = make_record(), [repeat(make_record, seed) for seed in (2, 1)]
    elsewhere = make_record(model="vgg")
    groups = group_runs([*others, elsewhere, first])
    assert sorted(tuple(r.settings.seed for r in group) for group in groups) == [(42,), (42, 1, 2)]


def test_a_run_of_another_experiment_is_not_averaged(make_record):
    others = [
        repeat(make_record, 1, settings={"training": {"epochs": 9}}),
        repeat(make_record, 2, data_sha256="other"),
        repeat(make_record, 3, status="failed", accuracy_top1=None),
        repeat(make_record, 4, device="cuda"),
    ]
    groups = group_runs([make_record(), *others])
    assert [[r.settings.seed for r in group] for group in groups] == [[42], [4]]


def test_without_a_record_of_its_own_the_first_run_takes_the_place(make_record):
    (group,) = group_runs([repeat(make_record, seed) for seed in (7, 3)])
    assert [r.settings.seed for r in group] == [3, 7]


def test_published_models_come_first_whether_they_were_run_or_not(make_record, make_cost):
    rows = make_rows(
        [make_record(model="mine", label="Mine"), make_record(model="vit", label="ViT-B/16")],
        [make_cost(model="vgg", label="VGG-16"), make_cost(model="efficientnet", label="E")],
    )
    published = [model for dataset, model in published_cells() if dataset == "cifar10"]
    assert [row.model for row in rows] == [*published, "efficientnet", "mine"]
    titles = {row.model: row.title for row in rows}
    # Ours where something of ours is there, else the published name.
    assert (titles["vgg"], titles["vit"]) == ("VGG-16", "ViT-B/16")
    assert titles["resnet_quantized"] == "ResNet50 Quantized"


def test_counts_fill_the_row_of_what_was_not_run(make_record, make_cost):
    cost = make_cost()
    (not_run, *_) = make_rows([], [cost])
    assert not_run.values("gmacs_thop") == [4.1317]
    assert not_run.values("accuracy_top1") == []
    (failed, *_) = make_rows([make_record(status="failed", gmacs_thop=None)], [cost])
    assert failed.values("gmacs_thop") == [4.1317]
    # What a run of its own did not measure has a reason there, and is not filled in.
    (ran, *_) = make_rows([make_record(gmacs_thop=None)], [cost])
    assert ran.values("gmacs_thop") == []


def test_a_run_at_another_size_than_was_counted_stands_in_a_row_of_its_own(make_record, make_cost):
    small, whole = make_record(image_size=32), make_record(model="vgg", label="VGG-16")
    rows = make_rows([small, whole], [make_cost(), make_cost(model="vgg")])
    named = {row.title: row for row in rows if row.model in ("resnet", "vgg")}
    assert list(named) == ["ResNet-50", "ResNet-50 at 32 px", "VGG-16"]
    counted, ran = named["ResNet-50"], named["ResNet-50 at 32 px"]
    assert (counted.record, counted.cost.gmacs, counted.published.label) == (
        *(None, 4.087),
        "ResNet50",
    )
    assert (ran.record, ran.cost, ran.published) == (small, None, None)
    assert named["VGG-16"].record == whole


def test_a_ratio_at_another_size_is_not_the_rows(make_record, make_cost, make_latency_record):
    counted = {size: make_cost(dataset="mine", image_size=size) for size in (32, 224)}
    not_run = {
        size: make_rows([], [cost], [make_latency_record(dataset="mine")])[0]
        for size, cost in counted.items()
    }
    assert not_run[32].latency.ratio == 1.0
    assert not_run[224].latency is None
    at_32, *_ = make_rows([make_record(image_size=32)], (), [make_latency_record()])
    at_224, *_ = make_rows([make_record()], (), [make_latency_record()])
    assert at_32.latency.ratio == 1.0
    assert at_224.latency is None


def test_the_ratio_of_another_tree_is_not_the_rows(make_record, make_latency_record, make_row):
    tree, flat = make_record(image_size=32, paths=[path("root", 10)]), make_record(image_size=32)

    def ratio(record, sha256):
        row = make_row("resnet", "ResNet-50", 1.0, weights_sha256=sha256)
        first, *_ = make_rows([record], (), [make_latency_record(rows=(row,))])
        return first.latency and first.latency.ratio

    assert ratio(tree, tree.weights.weights_sha256) == 1.0
    assert ratio(tree, "other") is None
    assert ratio(flat, "other") == 1.0
