"""What `--device` chooses: one of several GPUs, and where compressed models are trained."""

import os

import pytest

from harness.errors import RequestError
from harness.plan.cells import plan_request
from harness.plan.jobs import name_gpus, resolve_device, visible_gpus
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


def test_several_gpus_are_named_as_their_processes_see_them(two_gpus):
    for choice in ("cuda:0,cuda:1", "cuda:all", "cuda:1,cuda:0"):
        assert resolve_device(choice) == "cuda"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,7"
    assert visible_gpus(name_gpus("cuda:1,cuda:0")) == ["7", "4"]
    assert visible_gpus(name_gpus("cuda:all")) == ["4", "7"]
    assert name_gpus("cuda") == name_gpus("cpu") == name_gpus("auto") == []


def test_the_gpu_of_another_machine_is_not_asked_for():
    assert resolve_device("cuda", elsewhere=True) == "cuda"
    assert resolve_device("cpu", elsewhere=True) == "cpu"
    with pytest.raises(RequestError, match="a cluster chooses among its own"):
        resolve_device("cuda:1", elsewhere=True)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("cuda:0,cuda:2", "this machine has cuda:0 to cuda:1 alone"),
        ("cuda:1,cuda:1", "a GPU is named twice"),
        ("cuda:0,cpu", "unknown device 'cuda:0,cpu'"),
        ("cuda:", "unknown device 'cuda:'"),
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
