"""Hardware: the file, figures by hand, and the calibration; rooflines by hand."""

import pytest

from harness.errors import RequestError
from harness.measure import peak
from harness.measure.peak import measure_bandwidth
from harness.profiling.hardware import (
    find_machine,
    find_roof,
    latency_bound_ms,
    memory_bound_percent,
    read_hardware,
)

NAMES = {"a100", "h100", "h200", "t4", "jetson-orin-nano"}


def test_the_file_has_the_devices_with_their_sources():
    devices = read_hardware()
    assert set(devices) >= NAMES
    assert all(device.source and device.label for device in devices.values())


def test_a_named_device_at_a_precision():
    roof = find_roof("t4", "int8")
    assert (roof.peak_gflops_per_s, roof.bandwidth_gb_per_s) == (130_000, 320)
    assert roof.ridge_flops_per_byte == 406.25
    assert "T4" in roof.name
    assert "datasheet" in roof.source


@pytest.mark.parametrize(
    ("name", "precision", "message"),
    [
        ("a10", "fp32", r"^unknown hardware 'a10': did you mean a100\b.*configs/hardware.yaml"),
        ("t4", "bf16", "^--hardware t4: NVIDIA T4 16 GB has no bf16; it has fp32, fp16, int8$"),
        ("this-machine", "int8", "^--hardware this-machine --precision int8: only fp32, bf16 can"),
    ],
)
def test_hardware_that_cannot_be_had(name, precision, message):
    with pytest.raises(RequestError, match=message):
        find_roof(name, precision)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "hardware.yaml: "),
        ("a: {label: A, peak_tflops: {fp32: 1}, source: s}", r"a\.bandwidth_gbs: field required"),
        (
            "a: {label: A, peak_tflops: {fp32: -1}, bandwidth_gbs: 1, source: s}",
            "a.peak_tflops.fp32: input should be greater than 0",
        ),
        (
            "a: {label: A, peak_tflops: {fp3: 1}, bandwidth_gbs: 1, source: s}",
            "a.peak_tflops.fp3",
        ),
    ],
)
def test_a_broken_file_is_one_line(tmp_path, text, message):
    path = tmp_path / "hardware.yaml"
    path.write_text(text)
    with pytest.raises(RequestError, match=f"(?i){message}") as caught:
        read_hardware(path)
    assert "\n" not in str(caught.value)


def test_the_calibration_measures_something(monkeypatch):
    monkeypatch.setattr(peak, "_SIDE", {"cpu": 128, "cuda": 128})
    monkeypatch.setattr(peak, "_COPIED_MB", {"cpu": 4, "cuda": 4})
    roof = find_roof("this-machine", "fp32")
    assert roof.peak_gflops_per_s > 0
    assert roof.bandwidth_gb_per_s > 0
    assert roof.name.startswith("this machine (")
    assert roof.source.startswith("calibrated: ")


def test_the_cpu_is_named_with_the_threads_used(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for threads, words in ((1, ", 1 thread"), (2, ", 2 threads")):
        monkeypatch.setattr("torch.get_num_threads", lambda threads=threads: threads)
        device, name = find_machine()
        assert device == "cpu"
        assert name.endswith(words)


def test_the_bandwidth_counts_what_is_read_and_written(monkeypatch):
    monkeypatch.setattr(peak, "_COPIED_MB", {"cpu": 8})
    monkeypatch.setattr(peak, "best_seconds", lambda copy, repeats: 0.004)
    assert measure_bandwidth("cpu").gb_per_s == pytest.approx(2 * 0.008 / 0.004)


def test_the_roofline_by_hand(make_operator, roof):
    assert roof.ridge_flops_per_byte == 10
    assert [roof.attainable_gflops_per_s(x) for x in (1, 10, 100)] == [10, 100, 100]
    product = make_operator(flops=2_000_000, input_bytes=100_000)
    copy = make_operator(input_bytes=50_000, output_bytes=50_000)
    assert (roof.compute_ms(product), roof.memory_ms(product)) == (0.02, 0.01)
    assert roof.bound_ms(product) == 0.02
    assert latency_bound_ms([product, copy], roof) == pytest.approx(0.03)
    assert memory_bound_percent([product, copy], roof) == pytest.approx(100 / 3)
    assert memory_bound_percent([], roof) == 0.0
