"""What `--device` chooses: one of several GPUs, and where compressed models are trained."""

import os

import pytest

from harness.errors import RequestError
from harness.plan.cells import plan_request
from harness.plan.jobs import resolve_device
from tests.emulated_cuda import emulated_cuda
from tests.refusals import make_request


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    with emulated_cuda():
        monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
        yield


def test_one_of_several_gpus_is_all_that_is_seen(two_gpus):
    assert resolve_device("cuda") == "cuda"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,7"
    assert resolve_device("cuda:1") == "cuda"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("cuda:2", "this machine has cuda:0 to cuda:1 alone"),
        ("cuda:one", "unknown device 'cuda:one'"),
        ("cpu:0", "unknown device 'cpu:0'"),
    ],
)
def test_a_device_that_is_not_there(two_gpus, choice, words):
    with pytest.raises(RequestError, match=words):
        resolve_device(choice)


def test_int8_is_trained_on_the_gpu_and_measured_on_the_cpu(tmp_path, two_gpus):
    request = make_request(tmp_path, models=["resnet_quantized,vgg_pruned"], device="cuda")
    int8, pruned = (planned.job for planned in plan_request(request))
    assert (int8.cell.device, int8.training_device) == ("cpu", "cuda")
    assert "--device cuda" in int8.command
    assert (pruned.cell.device, pruned.training_device) == ("cuda", "cuda")


@pytest.mark.parametrize("precision", ["fp16", "tf32"])
def test_a_precision_that_only_gpus_have(tmp_path, precision):
    request = make_request(tmp_path, assignments=[f"training.precision={precision}"])
    with pytest.raises(RequestError, match=f"{precision} is for GPUs; use fp32 or bf16 on a CPU"):
        plan_request(request)
