"""What is said about this machine, and the state of a checkout."""

import json
import subprocess
from types import SimpleNamespace

import pytest
import torch

from harness.measure import environment
from harness.measure.environment import describe_environment, device_name, read_git_state


def test_this_machine():
    found = describe_environment("cpu")
    assert found["device_name"] == found["cpu_model"] == device_name("cpu") != ""
    assert found["threads"] == torch.get_num_threads()
    assert found["cpu_cores_logical"] >= (found["cpu_cores_usable"] or 1) >= 1
    assert found["libraries"]["torch"] == torch.__version__.split("+")[0]
    assert set(found["libraries"]) >= {"timm", "thop", "torch-pruning", "numpy"}
    assert (found["gpu_memory_mb"], found["gpu_driver"], found["cuda"]) == (None, None, None)


def test_it_can_be_written_as_json():
    found = describe_environment("cpu")
    assert json.loads(json.dumps(found))["python"] == found["python"]


def test_a_library_that_is_not_installed_is_none(monkeypatch):
    monkeypatch.setattr(environment, "_LIBRARIES", ("numpy", "no-such-distribution"))
    libraries = describe_environment("cpu")["libraries"]
    assert libraries["no-such-distribution"] is None
    assert libraries["numpy"] is not None


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (("575.57", "1980", "0x0", None), ("575.57", "1980", "0x0")),
        (("600.1", "[N/A]", None, "0x4"), ("600.1", None, "0x4")),
        (("No devices were found",) * 4, (None, None, None)),
        ((None,) * 4, (None, None, None)),
    ],
)
def test_nvidia_smi_is_asked_for_one_field_after_the_other(monkeypatch, answers, expected):
    fields = ("driver_version", "clocks.sm")
    fields += ("clocks_throttle_reasons.active", "clocks_event_reasons.active")
    known = dict(zip(fields, answers, strict=True))

    def answer(_program, query, _format, uuid):
        assert uuid == "--id=GPU-abc"
        printed = known[query.removeprefix("--query-gpu=")]
        return printed and f"{printed}\n"

    monkeypatch.setattr(environment, "command_output", answer)
    assert environment._ask_gpu(SimpleNamespace(uuid="abc")) == expected


CPUINFO = """\
processor\t: 0
model name\t: Some CPU @ 2.00GHz
flags\t\t: fpu avx avx2 hypervisor amx_bf16

processor\t: 1
model name\t: Some CPU @ 2.00GHz
flags\t\t: fpu avx avx2 hypervisor amx_bf16
"""


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO, encoding="utf-8")
    monkeypatch.setattr(environment, "_CPUINFO", path)
    return path


def test_the_processor_as_linux_tells_it(cpuinfo):
    found = describe_environment("cpu")
    assert found["cpu_model"] == "Some CPU @ 2.00GHz"
    assert found["cpu_flags"] == ("avx2", "amx_bf16")
    assert found["virtual_machine"]


@pytest.mark.parametrize("text", [None, "processor\t: 0\nFeatures\t: fp asimd\n"])
def test_the_processor_where_linux_does_not_tell_it(cpuinfo, monkeypatch, text):
    cpuinfo.unlink() if text is None else cpuinfo.write_text(text, encoding="utf-8")
    known = {"brand_raw": "Other CPU", "flags": ["asimd"]}
    monkeypatch.setattr("cpuinfo.get_cpu_info", lambda: known)
    found = describe_environment("cpu")
    assert found["cpu_model"] == "Other CPU"
    assert found["cpu_flags"] == ("asimd",)
    assert not found["virtual_machine"]


@pytest.fixture
def checkout(tmp_path):
    def git(*arguments):
        identity = ("-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false")
        command = ("git", "-C", str(tmp_path), *identity, *arguments)
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    (tmp_path / "results").mkdir()
    (tmp_path / "code.py").write_text("1", encoding="utf-8")
    git("add", ".")
    git("commit", "-m", "first")
    return tmp_path, git("rev-parse", "HEAD")


def test_a_clean_checkout(checkout):
    root, commit = checkout
    assert read_git_state(root) == (commit, False)


@pytest.mark.parametrize("name", ["code.py", "new.py"])
def test_changed_and_new_files_make_it_dirty(checkout, name):
    root, commit = checkout
    (root / name).write_text("2", encoding="utf-8")
    assert read_git_state(root) == (commit, True)


def test_results_do_not_make_it_dirty(checkout):
    root, commit = checkout
    (root / "results" / "new.json").write_text("{}", encoding="utf-8")
    assert read_git_state(root) == (commit, False)


def test_the_checkout_around_a_folder_is_not_its_own(checkout):
    root, _ = checkout
    assert read_git_state(root / "results") == (None, None)


def test_no_checkout(tmp_path):
    assert read_git_state(tmp_path) == (None, None)


def test_no_git(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert read_git_state(checkout[0]) == (None, None)


@pytest.mark.gpu
def test_a_gpu():
    found = describe_environment("cuda")
    assert found["device_name"] == torch.cuda.get_device_name()
    assert found["gpu_memory_mb"] > 0
    assert found["cuda"] == torch.version.cuda
