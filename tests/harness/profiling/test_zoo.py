"""Real models: the true counts that are known, and (slow) all of torchvision."""

import pytest
import torchvision

from harness.profiling.analysis import Failure, analyse, analyse_all
from harness.profiling.names import ModelName, known_names, resolve_names
from harness.profiling.request import Options

# 224×224, 1000 classes; DINOv2 without a head, its position table interpolated.
TRUE_GMACS = {
    "resnet18": 1.814,
    "resnet50": 4.089,
    "vgg16": 15.470,
    "convnext_base": 15.355,
    "mobilenet_v2": 0.301,
    "efficientnet_b0": 0.386,
    "vit_b_16": 17.564,
    "swin_t": 4.491,
    "timm:deit_tiny_patch16_224": 1.254,
    "hf:vit": 17.564,
}


@pytest.mark.parametrize("name", TRUE_GMACS)
def test_the_complete_accounting_has_the_true_multiply_accumulates(name):
    (row,) = analyse_all(resolve_names([name]), Options())
    assert row.metrics.gmacs == pytest.approx(TRUE_GMACS[name], rel=0.005)
    assert row.graph.unknown == ()


def test_dinov2_has_its_true_multiply_accumulates():
    row = analyse(ModelName(source="ours", name="dinov2"), Options(classes=10))
    assert row.metrics.gmacs == pytest.approx(23.539, rel=0.005)


def test_batches_multiply_what_moves_but_the_weights():
    name = ModelName(source="torchvision", name="squeezenet1_1")
    one, four = (analyse(name, Options(batch_size=n)).metrics for n in (1, 4))
    assert four.gflops == pytest.approx(4 * one.gflops)
    assert four.traffic_input_mb == pytest.approx(4 * one.traffic_input_mb)
    assert four.traffic_weights_mb == one.traffic_weights_mb
    assert four.peak_activations_mb == pytest.approx(4 * one.peak_activations_mb)
    assert four.intensity_flops_per_byte > one.intensity_flops_per_byte


def test_precision_changes_bytes_alone():
    name = ModelName(source="torchvision", name="squeezenet1_1")
    wide, narrow = (analyse(name, Options(precision=p)).metrics for p in ("fp32", "int8"))
    assert narrow.gflops == wide.gflops
    assert narrow.traffic_mb == pytest.approx(wide.traffic_mb / 4)
    assert narrow.model_size_mb == pytest.approx(wide.model_size_mb / 4)
    assert narrow.peak_activations_mb == pytest.approx(wide.peak_activations_mb / 4)


@pytest.mark.slow
@pytest.mark.parametrize("accounting", ["complete", "published"])
def test_all_of_torchvision_has_the_parameters_and_operations_that_it_states(accounting):
    options = Options(accounting=accounting)
    rows = {name: analyse_all([_torchvision(name)], options)[0] for name in _all_torchvision()}
    assert not [name for name, row in rows.items() if isinstance(row, Failure)]
    assert not [name for name, row in rows.items() if row.graph.unknown]
    for name, row in rows.items():
        stated = torchvision.models.get_model_weights(name).DEFAULT.meta
        assert row.metrics.params == stated["num_params"], name
        if accounting == "complete":
            # Stated in thousandths.
            tolerance = max(0.000501, 0.005 * row.metrics.gmacs)
            assert abs(row.metrics.gmacs - stated["_ops"]) <= tolerance, name


def _torchvision(name):
    return ModelName(source="torchvision", name=name)


def _all_torchvision():
    return known_names("torchvision")
