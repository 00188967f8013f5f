"""Empty cells of a published table, and the commands that fill them."""

from harness.report import missing
from harness.report.missing import render_missing
from harness.report.rows import make_rows

HERE = ["resnet", "vgg", "convnext", "mobilenet", "vit", "dinov2", "deit", "trunk"]


def test_each_empty_cell_has_a_command(
    make_record, make_cost, make_latency_record, make_row, monkeypatch
):
    monkeypatch.setattr(missing, "model_files", lambda: HERE)
    latency = make_latency_record(rows=(make_row("vit", "ViT-B/16", 2.0, image_size=224),))
    records = [make_record(), make_record(model="vgg", label="VGG-16", status="failed")]
    costs = [make_cost(model="vit", label="ViT-B/16"), make_cost(model="efficientnet", label="E")]
    text = render_missing(make_rows(records, costs, [latency]))
    start = "`python comparisons.py --dataset cifar10 --model"
    assert (
        "- VGG-16, ConvNeXt-Base, MobileNetv2, ViT-B/16, DinoV2, DeIT, TRUNK: nothing "
        f"measured: {start} vgg,convnext,mobilenet,vit,dinov2,deit,trunk`\n"
    ) in text
    assert (
        "- ConvNeXt-Base, MobileNetv2, DinoV2, DeIT, TRUNK: costs not counted: "
        f"{start} convnext,mobilenet,dinov2,deit,trunk --measure cost`\n"
    ) in text
    assert (
        "- ResNet-50, VGG-16, ConvNeXt-Base, MobileNetv2, DinoV2, DeIT, TRUNK: latency not "
        f"compared: {start} resnet,vgg,convnext,mobilenet,dinov2,deit,trunk --measure latency "
        "--threads 1`\n"
    ) in text
    assert text.endswith("\n- Not in this version: ResNet50 Quantized, VGG16 Pruned\n")


def test_a_latency_is_compared_by_the_recipe_of_its_row(make_record):
    command = "python comparisons.py --model trunk --device cpu --recipe efficient"
    records = [make_record(), make_record(model="trunk", label="TRUNK", command=command)]
    text = render_missing(make_rows(records))
    assert text.count("--recipe") == 1
    assert " --measure latency --threads 1 --recipe trunk=efficient`\n" in text


def test_what_was_not_published_is_not_missed(make_record):
    assert render_missing(make_rows([make_record(dataset="ours", status="failed")])) == ""
