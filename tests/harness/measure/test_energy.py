"""Joules from counters that the tests move: a made powercap tree and a made NVML."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from harness.measure import calls
from harness.measure.energy import measure_energy

PAIR = torch.zeros(2, 3, 2, 2)
RANGE_UJ = 65_000_000_000


class Clock:
    now = 0.0


class Network(nn.Module):
    """Takes a second for a call, and what `use` does besides."""

    def __init__(self, clock, use):
        super().__init__()
        self.clock = clock
        self.use = use
        self.modes = []

    def forward(self, batch):
        self.clock.now += 1
        self.use()
        self.modes.append((self.training, torch.is_inference_mode_enabled()))


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(calls, "perf_counter", lambda: clock.now)
    return clock


def make_zone(powercap, name, label, energy_uj=0, range_uj=RANGE_UJ):
    zone = powercap / name
    zone.mkdir(parents=True)
    (zone / "name").write_text(f"{label}\n")
    (zone / "energy_uj").write_text(f"{energy_uj}\n")
    (zone / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return zone / "energy_uj"


def spend(joules, *counters, range_uj=RANGE_UJ):
    for counter in counters:
        uj = int(counter.read_text()) + int(joules * 1e6)
        counter.write_text(f"{uj % range_uj}\n")


def measure_cpu(clock, powercap, use, seconds=3):
    network = Network(clock, use)
    return *measure_energy(network, PAIR, seconds=seconds, powercap=powercap), network


def test_joules_are_divided_by_the_images_of_the_calls_counted(clock, tmp_path):
    package = make_zone(tmp_path, "intel-rapl:0", "package-0", energy_uj=7)
    joules, reason, network = measure_cpu(clock, tmp_path, lambda: spend(5, package))
    assert (joules, reason) == (pytest.approx(5 / 2), None)
    assert network.modes == [(False, True)] * 4  # the first is not counted
    assert network.training


def test_one_call_is_counted_however_long_it_takes(clock, tmp_path):
    package = make_zone(tmp_path, "intel-rapl:0", "package-0")
    joules, _, network = measure_cpu(clock, tmp_path, lambda: spend(5, package), seconds=0)
    assert joules == pytest.approx(5 / 2)
    assert len(network.modes) == 2


def test_packages_are_added_and_all_else_left_out(clock, tmp_path):
    packages = [make_zone(tmp_path, f"intel-rapl:{n}", f"package-{n}") for n in range(2)]
    others = [
        make_zone(tmp_path, "intel-rapl:0:0", "core"),
        make_zone(tmp_path, "intel-rapl:0:1", "dram"),
        make_zone(tmp_path, "intel-rapl:2", "psys"),
        make_zone(tmp_path, "intel-rapl-mmio:0", "package-0"),
    ]
    joules, _, _ = measure_cpu(clock, tmp_path, lambda: spend(3, *packages, *others))
    assert joules == pytest.approx(2 * 3 / 2)


def test_a_counter_that_starts_again(clock, tmp_path):
    package = make_zone(tmp_path, "intel-rapl:0", "package-0", energy_uj=RANGE_UJ - 12_000_000)
    joules, _, _ = measure_cpu(clock, tmp_path, lambda: spend(5, package))
    assert int(package.read_text()) == 8_000_000
    assert joules == pytest.approx(5 / 2)


def test_a_counter_that_could_start_again_twice_is_not_believed(clock, tmp_path):
    package = make_zone(tmp_path, "intel-rapl:0", "package-0")
    joules, reason, _ = measure_cpu(clock, tmp_path, lambda: spend(5, package), seconds=66)
    assert joules is None
    assert "more than once" in reason


def test_a_counter_that_stands_still_is_no_measurement(clock, tmp_path):
    packages = [make_zone(tmp_path, f"intel-rapl:{n}", f"package-{n}") for n in range(2)]
    joules, reason, _ = measure_cpu(clock, tmp_path, lambda: spend(5, packages[0]))
    assert joules is None
    assert "did not move" in reason


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_no_counters(clock, tmp_path, folder):
    (tmp_path / "empty").mkdir()
    joules, reason, network = measure_cpu(clock, tmp_path / folder, lambda: None)
    assert joules is None
    assert reason.startswith(f"no RAPL counters in {tmp_path / folder}")
    assert network.modes == []


def test_a_counter_for_root_only(clock, tmp_path, monkeypatch):
    package = make_zone(tmp_path, "intel-rapl:0", "package-0")
    read_text = Path.read_text

    def guarded(path, **options):
        if path == package:
            raise PermissionError(13, "Permission denied")
        return read_text(path, **options)

    monkeypatch.setattr(Path, "read_text", guarded)
    joules, reason, _ = measure_cpu(clock, tmp_path, lambda: None)
    assert joules is None
    assert reason == f"no permission to read {package} (sudo chmod a+r {package})"


def test_a_counter_that_breaks_off(clock, tmp_path):
    package = make_zone(tmp_path, "intel-rapl:0", "package-0")
    _, reason, _ = measure_cpu(clock, tmp_path, lambda: package.unlink(missing_ok=True))
    assert reason.startswith("FileNotFoundError")


def test_a_counter_that_is_no_number(clock, tmp_path):
    package = make_zone(tmp_path, "intel-rapl:0", "package-0", energy_uj="-1")
    _, reason, _ = measure_cpu(clock, tmp_path, lambda: None)
    assert reason == f"{package} says '-1', not a number of microjoules"


def test_an_error_of_the_network_is_not_swallowed(clock, tmp_path):
    make_zone(tmp_path, "intel-rapl:0", "package-0")

    def fail():
        raise OSError("the network's own")

    with pytest.raises(OSError, match="the network's own"):
        measure_cpu(clock, tmp_path, fail)


def test_this_machine_gives_joules_or_a_reason():
    joules, reason = measure_energy(nn.Conv2d(3, 8, 3), torch.zeros(1, 3, 64, 64), seconds=0.2)
    assert (joules is None) == bool(reason)
    assert joules is None or joules > 0


class NVMLError(Exception):
    pass


class Nvml:
    """Stands in for pynvml, with one GPU."""

    NVMLError = NVMLError

    def __init__(self):
        self.millijoules = 10
        self.started = False

    def nvmlInit(self):  # noqa: N802 (NVML's names)
        self.started = True

    def nvmlDeviceGetHandleByUUID(self, uuid):  # noqa: N802
        assert self.started
        if uuid != "GPU-1234":
            raise NVMLError("Not Found")
        return "handle"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):  # noqa: N802
        assert handle == "handle"
        if self.millijoules is None:
            raise NVMLError("Not Supported")
        return self.millijoules


@pytest.fixture
def nvml(monkeypatch):
    nvml = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    return nvml


@pytest.fixture
def pair_on_gpu(monkeypatch):
    """Two images that say they are on a GPU, whose work is done on `synchronize`."""
    gpu = SimpleNamespace(uuid="1234", on_synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: gpu.on_synchronize())

    class Images(torch.Tensor):
        is_cuda = True
        device = "cuda:0"

    images = torch.zeros(2).as_subclass(Images)
    images.gpu = gpu
    return images


def test_a_gpu_by_nvml_with_all_calls_done(clock, nvml, pair_on_gpu):
    queue = []

    def work_off():
        nvml.millijoules += 4000 * len(queue)
        queue.clear()

    pair_on_gpu.gpu.on_synchronize = work_off
    network = Network(clock, lambda: queue.append(1))
    joules, reason = measure_energy(network, pair_on_gpu, seconds=3)
    assert (joules, reason) == (pytest.approx(4 / 2), None)


def test_a_gpu_without_the_library(clock, pair_on_gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    joules, reason = measure_energy(Network(clock, lambda: None), pair_on_gpu, seconds=3)
    assert joules is None
    assert "pip install nvidia-ml-py" in reason


def test_a_gpu_without_the_counter(clock, nvml, pair_on_gpu):
    nvml.millijoules = None
    joules, reason = measure_energy(Network(clock, lambda: None), pair_on_gpu, seconds=3)
    assert (joules, reason) == (None, "NVMLError: Not Supported")


def test_a_gpu_that_nvml_does_not_know(clock, nvml, pair_on_gpu):
    pair_on_gpu.gpu.uuid = "of a part of a GPU"
    joules, reason = measure_energy(Network(clock, lambda: None), pair_on_gpu, seconds=3)
    assert (joules, reason) == (None, "NVMLError: Not Found")


def test_a_gpu_that_was_reset(clock, nvml, pair_on_gpu):
    def reset():
        nvml.millijoules -= 1

    joules, reason = measure_energy(Network(clock, reset), pair_on_gpu, seconds=3)
    assert joules is None
    assert "was reset" in reason


@pytest.mark.gpu
def test_a_real_gpu():
    pytest.importorskip("pynvml")
    network = nn.Conv2d(3, 64, 3).cuda()
    joules, reason = measure_energy(network, torch.zeros(8, 3, 224, 224, device="cuda"), seconds=2)
    assert reason is None
    assert joules > 0
