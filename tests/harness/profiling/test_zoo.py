"""Real models: the true counts that are known, and (slow) all of torchvision."""

import pytest
import torchvision

from harness.profiling.analysis import Failure, analyse_all
from harness.profiling.names import ModelName, known_names, resolve_names
from harness.profiling.request import Options

# 224×224, 1000 classes. The guide's models (`test_guide.py`) are not repeated here.
TRUE_GMACS = {
    "resnet18": 1.814,
    "vgg16": 15.470,
    "convnext_base": 15.355,
    "swin_t": 4.491,
    "timm:deit_tiny_patch16_224": 1.254,
    "hf:vit": 17.564,
}


@pytest.mark.parametrize("name", TRUE_GMACS)
def test_the_complete_accounting_has_the_true_multiply_accumulates(name):
    (row,) = analyse_all(resolve_names([name]), Options())
    assert row.metrics.gmacs == pytest.approx(TRUE_GMACS[name], rel=0.005)
    assert row.graph.unknown == ()


# What counting each architecture beside its peers found to be wrong once, for each form.
FOUND = {
    ("hf:efficientnet", "complete"): [{"gflops": 72.11}],
    ("timm:nf_resnet50", "published"): [{"gmacs": 5.340}],
    ("timm:efficientnet_b0", "published"): [{"gflops": 0.808, "intensity_flops_per_byte": 4.899}],
    ("timm:mobilenetv2_100", "published"): [{"gflops": 0.641, "intensity_flops_per_byte": 4.675}],
    ("timm:densenet121", "published"): [{"gflops": 5.762, "intensity_flops_per_byte": 14.815}],
    ("timm:convit_tiny", "complete"): [{"peak_activations_mb": 3.68}],
    ("timm:levit_256", "complete"): [{"peak_activations_mb": 3.21}],
    ("timm:levit_conv_384_s8", "complete"): [{"peak_activations_mb": 34.32}],
    ("timm:swinv2_tiny_window8_256", "complete"): [{"peak_activations_mb": 20.45}],
    ("timm:cait_xxs24_224", "complete"): [{"peak_activations_mb": 2.90}],
    ("timm:nest_tiny_jx", "complete"): [{"peak_activations_mb": 24.39}],
    ("vgg11", "complete"): [{"peak_activations_mb": 22.48, "activations": 7.44e6}],
    ("timm:vit_base_patch16_sapiens2", "complete"): [{"gmacs": 525.7}],
    ("timm:mobileone_s0", "complete"): [
        {"params": 5.29e6, "gmacs": 1.052},
        {"params": 2.08e6, "gmacs": 0.275, "traffic_mb": 69.5},
    ],
    ("hf:siglip2", "complete"): [{"gmacs": 23.411}],
    ("quantized_resnet18", "complete"): [{"gmacs": 1.814}],
}


@pytest.mark.parametrize(("name", "accounting"), FOUND)
def test_figures_that_were_wrong_once(name, accounting):
    expected = FOUND[name, accounting]
    options = Options(accounting=accounting, form="train" if len(expected) == 1 else None)
    for row, figures in zip(analyse_all(resolve_names([name]), options), expected, strict=True):
        assert {key: getattr(row.metrics, key) for key in figures} == pytest.approx(
            figures, rel=0.002
        )
        assert row.graph.unknown == ()


def test_training_the_weights_of_convolutions_normalised_counts_as_a_norm():
    (row,) = analyse_all(resolve_names(["timm:nf_resnet50"]), Options())
    norms = sum(o.flops for o in row.graph.operators if o.name == "batch_norm")
    assert norms / 1e6 == pytest.approx(141, abs=0.5)


def test_images_need_not_be_square():
    row, square = squeezenet(image_size=(64, 128)), squeezenet(image_size=64)
    assert row.image_size == (64, 128)
    assert row.metrics.gmacs > 2 * square.metrics.gmacs
    (vit,) = analyse_all(resolve_names(["vit_b_16"]), Options(image_size=(64, 128)))
    assert vit.reason == "vit_b_16 takes square images, not 64x128"


def test_an_assertion_without_words_is_named():
    (row,) = analyse_all(resolve_names(["timm:botnet26t_256"]), Options(image_size=225))
    assert "raised by '" in row.reason
    assert "bottleneck_attn.py" in row.reason


def test_types_that_take_no_plain_images_are_refused_in_words():
    names = resolve_names(["hf:imagegpt", "hf:perceiver", "hf:shieldgemma2"])
    reasons = [row.reason.partition(",")[0] for row in analyse_all(names, Options())]
    assert reasons == [
        "it takes the numbers of colour clusters",
        "its attention mask depends on values",
        "it takes text besides images",
    ]


def test_dinov2_has_its_true_multiply_accumulates():
    (row,) = analyse_all(resolve_names(["ours:dinov2"]), Options(classes=10))
    assert row.metrics.gmacs == pytest.approx(23.539, rel=0.005)


def squeezenet(**options):
    (row,) = analyse_all(resolve_names(["squeezenet1_1"]), Options(**options))
    return row


def test_batches_multiply_what_moves_but_the_weights():
    one, four = (squeezenet(batch_size=n).metrics for n in (1, 4))
    assert four.gflops == pytest.approx(4 * one.gflops)
    assert four.traffic_input_mb == pytest.approx(4 * one.traffic_input_mb)
    assert four.traffic_weights_mb == one.traffic_weights_mb
    assert four.peak_activations_mb == pytest.approx(4 * one.peak_activations_mb)
    assert four.intensity_flops_per_byte > one.intensity_flops_per_byte


def test_precision_changes_bytes_alone():
    wide, narrow = (squeezenet(precision=p).metrics for p in ("fp32", "int8"))
    assert narrow.gflops == wide.gflops
    assert narrow.traffic_mb == pytest.approx(wide.traffic_mb / 4)
    assert narrow.model_size_mb == pytest.approx(wide.model_size_mb / 4)
    assert narrow.peak_activations_mb == pytest.approx(wide.peak_activations_mb / 4)


@pytest.mark.slow
@pytest.mark.parametrize("accounting", ["complete", "published"])
def test_all_of_torchvision_has_the_parameters_and_operations_that_it_states(accounting):
    options = Options(accounting=accounting)
    rows = {
        name: analyse_all([ModelName(source="torchvision", name=name)], options)[0]
        for name in known_names("torchvision")
    }
    assert not [name for name, row in rows.items() if isinstance(row, Failure)]
    assert not [name for name, row in rows.items() if row.graph.unknown]
    for name, row in rows.items():
        stated = torchvision.models.get_model_weights(name).DEFAULT.meta
        assert row.metrics.params == stated["num_params"], name
        if accounting == "complete":
            # Stated in thousandths.
            tolerance = max(0.000501, 0.005 * row.metrics.gmacs)
            assert abs(row.metrics.gmacs - stated["_ops"]) <= tolerance, name
