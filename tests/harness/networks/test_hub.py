"""Weights that libraries fetch: from a hub that answers well or badly, one line within seconds."""

import hashlib
import io
import time
from types import SimpleNamespace

import huggingface_hub
import pytest
import safetensors.torch
import torch
from huggingface_hub import file_download
from huggingface_hub.utils import _http
from timm.models import load_state_dict_from_hf

from harness.errors import RequestError
from harness.networks import hub
from harness.networks.hub import from_hub
from tests import file_host

STATE = {"fc.weight": torch.arange(60_000.0)}


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    with file_host.running() as host:
        host.files["model.safetensors"] = safetensors.torch.save(STATE)
        yield host


@pytest.fixture
def elapsed(monkeypatch):
    """Shorten all waits; return a function that tells the seconds, at least those of the waits."""
    waits, real = [], hub._TIMEOUT_S
    for module in (_http, file_download):
        monkeypatch.setattr(module, "time", SimpleNamespace(**vars(time) | {"sleep": waits.append}))
    monkeypatch.setattr(hub, "_TIMEOUT_S", real / 10)
    start = time.monotonic()
    return lambda silences: max(time.monotonic() - start, sum(waits) + silences * real)


def from_timm(address, monkeypatch):
    """Fetch as timm does."""
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    with from_hub("weights of Net"):
        return load_state_dict_from_hf("org/net", "model.safetensors")


def from_torchvision(host, address):
    """Fetch as torchvision does."""
    buffer = io.BytesIO()
    torch.save(STATE, buffer)
    name = f"net-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
    host.files[name] = buffer.getvalue()
    with from_hub("weights of Net"):
        return torch.hub.load_state_dict_from_url(
            f"{address}/{name}", progress=False, check_hash=True
        )


@pytest.mark.parametrize("behaviour", file_host.BEHAVIOURS)
@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_weights_or_one_line_within_ten_seconds(host, monkeypatch, elapsed, library, behaviour):
    address = host.address(behaviour)

    def get():
        if library == "timm":
            return from_timm(address, monkeypatch)
        return from_torchvision(host, address)

    if behaviour in file_host.GOOD:
        assert torch.equal(get()["fc.weight"], STATE["fc.weight"])
    else:
        with pytest.raises(RequestError, match="^weights of Net cannot be had ") as raised:
            get()
        assert "\n" not in str(raised.value)
    assert elapsed(len(host.requests) if behaviour == "stall" else 0) < 10


def test_nobody_there(host, monkeypatch, elapsed):
    with pytest.raises(RequestError, match="weights of Net cannot be had"):
        from_timm("http://127.0.0.1:9", monkeypatch)
    assert elapsed(0) < 10


@pytest.mark.usefixtures("elapsed")
def test_cached_weights_need_no_hub(host, monkeypatch):
    from_timm(host.address("ok"), monkeypatch)
    found = from_timm("http://127.0.0.1:9", monkeypatch)
    assert torch.equal(found["fc.weight"], STATE["fc.weight"])


def test_damaged_cached_weights_are_named(host, monkeypatch, tmp_path):
    from_timm(host.address("ok"), monkeypatch)
    for path in (tmp_path / "hub").rglob("model.safetensors"):
        path.resolve().write_bytes(b"damaged")
    with pytest.raises(RequestError, match="weights of Net cannot be had .*eader"):
        from_timm(host.address("ok"), monkeypatch)


def test_a_mistake_of_the_program_is_not_taken_for_the_hubs():
    with pytest.raises(TypeError), hub.from_hub("weights of Net"):
        len(3)
