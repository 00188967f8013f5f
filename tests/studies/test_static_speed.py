"""The benchmark of static comparison prints what it says."""

from harness.profiling.names import ModelName
from studies import static_speed
from studies.static_speed import Timing, render


def timing(name, seconds, reason=None):
    model = ModelName(source="timm", name=name)
    return Timing(name=model, seconds=seconds, cpu_seconds=seconds / 2, reason=reason)


def test_rates_median_percentile_and_failures():
    timings = [timing(f"m{i}", i / 10) for i in range(1, 20)] + [timing("odd", 1.0, "it is odd")]
    assert render("timm", timings).splitlines() == [
        "timm: 20 models, 1 failed (5.0%)",
        "  by the clock: 1.00 models/s; median 1.000 s, 95th percentile 1.900 s, longest 1.900 s "
        "(timm:m19)",
        "  of the processor: 2.00 models/s; median 0.500 s, 95th percentile 0.950 s, "
        "longest 0.950 s",
        "  timm:odd: it is odd",
    ]


def test_a_model_that_fails_is_timed_and_named():
    options = static_speed.Options(image_size=96)
    good, bad = static_speed.time_models(["squeezenet1_1", "vit_b_16"], "torchvision", options)
    assert good.reason is None
    assert good.seconds >= 0 < good.cpu_seconds
    assert bad.reason is None or "vit" in str(bad.name)
    odd = static_speed.Options(image_size=100)
    (failed,) = static_speed.time_models(["vit_b_16"], "torchvision", odd)
    assert failed.reason.startswith("cannot be built")
