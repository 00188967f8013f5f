"""Every runtime gives eager's logits, or one line that says why it cannot."""

import logging
import os
import sys
from functools import cache

import pytest
import torch
import torch._inductor.config
from torch import nn

from harness.errors import CellError, RequestError
from harness.measure import runtime_builders
from harness.measure.runtime_builders import BUILDERS, Built
from harness.measure.runtimes import RUNTIMES, prepare


class DependsOnValues(nn.Module):
    def forward(self, images):
        return images.flatten(1) if images.sum() > 0 else -images.flatten(1)


@pytest.fixture(autouse=True, scope="module")
def _no_caches_of_inductor():
    """Compile in this process and without caches, whose keys take the digest of all of torch."""
    with (
        torch._inductor.config.patch(compile_threads=1),
        torch.compiler.config.patch(force_disable_caches=True),
    ):
        yield


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)]
    network = nn.Sequential(*parts)
    network(torch.randn(8, 3, 8, 8) * 3 + 1)  # gives batch norm statistics to fold
    return network


@pytest.fixture(scope="module")
def prepared(network):
    example = torch.randn(1, 3, 8, 8)
    with pytest.MonkeyPatch.context() as patch:
        # Both runtimes of ONNX share an export, which takes seconds.
        patch.setattr(runtime_builders, "export_onnx", cache(runtime_builders.export_onnx))
        return {runtime: prepare(network, example, runtime) for runtime in RUNTIMES}


@pytest.fixture
def doctor(monkeypatch):
    """Let runtime "eager" do something else to the network's logits."""

    def doctored(change):
        def build(network, _example):
            return Built(call=lambda images: change(network(images)), version="1", method="")

        monkeypatch.setitem(BUILDERS, "eager", build)

    return doctored


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_logits_of_other_images_equal_eagers(prepared, network, runtime):
    found = prepared[runtime]
    with torch.inference_mode():
        first, second = torch.randn(2, 1, 3, 8, 8)
        logits = found.call(first), found.call(second)
        # Both are compared at the end: no call may write over an earlier one's logits.
        torch.testing.assert_close(logits, (network(first), network(second)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_was_done_is_on_record(prepared, runtime):
    found = prepared[runtime]
    assert found.version[0].isdigit()
    assert found.method
    assert 0 <= found.max_difference < 1e-5


def test_runtimes_but_eager_run_something_of_their_own(prepared, network):
    assert prepared["eager"].call is network
    assert len({id(found.call) for found in prepared.values()}) == len(RUNTIMES)
    assert all(prepared[runtime].max_difference > 0 for runtime in RUNTIMES[1:])


def test_nothing_is_sent_to_the_makers(prepared):
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    assert sys.modules["openvino_telemetry"] is None


def test_logging_is_as_before(prepared):
    assert logging.root.manager.disable == logging.NOTSET


@pytest.mark.parametrize(
    "change", [lambda logits: logits * 1.01, lambda logits: logits * torch.nan]
)
def test_other_logits_are_refused(network, doctor, change):
    doctor(change)
    with pytest.raises(CellError, match="eager: logits differ .* more than 0.001"):
        prepare(network, torch.ones(1, 3, 8, 8), "eager")


def test_logits_of_another_shape_are_refused(network, doctor):
    doctor(lambda logits: logits[:, :1])
    with pytest.raises(CellError, match=r"logits \(1, 1\), not \(1, 5\)"):
        prepare(network, torch.ones(1, 3, 8, 8), "eager")


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_missing_library_is_named_with_its_extra(network, monkeypatch, runtime):
    monkeypatch.setitem(sys.modules, runtime, None)
    with pytest.raises(RequestError, match=f"needs {runtime}: uv sync --extra {runtime}, or pip"):
        prepare(network, torch.ones(1, 3, 8, 8), runtime)


def test_unknown_runtime_gets_near_matches(network):
    with pytest.raises(RequestError, match="unknown runtime 'onnx': did you mean onnxruntime"):
        prepare(network, torch.ones(1, 3, 8, 8), "onnx")


def test_network_that_cannot_be_exported_says_why_in_one_line(capfd):
    with pytest.raises(CellError, match="runtime openvino failed: .*data-dependent") as caught:
        prepare(DependsOnValues(), torch.ones(1, 3, 8, 8), "openvino")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert capfd.readouterr() == ("", "")


def test_openvino_refuses_another_device():
    network, example = nn.Flatten(), torch.ones(1, 3, 8, 8, device="meta")
    with pytest.raises(RequestError, match="runs on the CPU, not on meta"):
        prepare(network, example, "openvino")


def test_one_networks_compilation_leaves_room_for_the_next(network):
    graphs = torch._dynamo.utils.counters["stats"]
    before = graphs["unique_graphs"]
    with torch._dynamo.config.patch(recompile_limit=1):
        for width in (1, 2):
            small = nn.Sequential(nn.Flatten(), nn.Linear(12, width))
            prepare(small, torch.ones(1, 3, 2, 2), "compile")
    assert graphs["unique_graphs"] == before + 2


@pytest.mark.gpu
def test_compile_on_a_gpu(network):
    on_gpu = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).cuda()
    found = prepare(on_gpu, torch.ones(1, 3, 2, 2, device="cuda"), "compile")
    with torch.inference_mode():
        assert found.call(torch.ones(1, 3, 2, 2, device="cuda")).is_cuda
