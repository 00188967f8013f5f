"""Cache use by a `perf` that the tests write, and by the machine's own."""

import mmap
import shutil
import sys

import pytest
import torch
from torch import nn

from harness.measure import calls, counters
from harness.measure.counters import measure_cache

PAIR = torch.zeros(2, 3, 2, 2)

# Takes commands as perf does; `log` lists them, among the calls of the network. The `answers`
# are True, False for a perf that ends at once, or "late" for one that does not end.
FAKE_PERF = """\
#!{python}
import os, signal, sys

log, rows, answers = {log!r}, {rows!r}, {answers!r}
note = lambda text: print(text, file=open(log, "a"))
control = int(sys.argv[-1].split(":")[1].split(",")[0])
note(" ".join(sys.argv[1:-2]).replace(sys.argv[6], "PID"))
assert int(sys.argv[6]) == os.getppid()

def stop(*_):
    sys.stderr.write(rows)
    sys.stderr.flush()
    os._exit(0)

signal.signal(signal.SIGINT, stop if answers != "late" else signal.SIG_IGN)
if not answers:
    sys.exit("Error:\\nNo permission to enable\\ncache-references event.")
while True:
    for command in os.read(control, 64).decode().split():
        note(command)
        sys.stderr.write("Events %sd\\n" % command)
        os.write(control, b"ack\\n\\0")
"""
COUNTED = "900,,cache-references,5,100.00,,\n450,,cache-misses,5,100.00,50.00,of all cache refs\n"


class Network(nn.Module):
    """Notes its calls, each of which takes a second."""

    def __init__(self, log):
        super().__init__()
        self.log = log
        self.now = 0.0

    def forward(self, batch):
        assert not self.training
        self.now += 1
        with self.log.open("a") as log:
            log.write("call\n")


@pytest.fixture
def network(tmp_path, monkeypatch):
    network = Network(tmp_path / "log")
    monkeypatch.setattr(calls, "perf_counter", lambda: network.now)
    return network


@pytest.fixture
def install_perf(tmp_path, network, monkeypatch):
    def install(rows=COUNTED, answers=True):
        perf = tmp_path / "bin" / "perf"
        perf.parent.mkdir()
        log = str(network.log)
        perf.write_text(
            FAKE_PERF.format(python=sys.executable, log=log, rows=rows, answers=answers)
        )
        perf.chmod(0o755)
        monkeypatch.setenv("PATH", str(perf.parent))

    return install


def test_counts_are_divided_by_the_images_of_the_calls_counted(install_perf, network):
    install_perf()
    *found, reason = measure_cache(network, PAIR, seconds=3)
    assert reason is None
    assert found == [900 / 6, 450 / 6]


def test_perf_counts_from_the_first_call_to_the_last(install_perf, network):
    install_perf()
    measure_cache(network, PAIR, seconds=2)
    start = "stat -x, -e cache-references,cache-misses -p PID"
    assert network.log.read_text().splitlines() == [
        *(start, "enable", "call", "disable"),
        *(start, "enable", "call", "call", "disable"),
    ]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(COUNTED.replace("references,", "references:u,"), id="without the kernel"),
        pytest.param(
            "400,,cpu_atom/cache-references/,5,100.00,,\n500,,cpu_core/cache-references/,5,100.00,,"
            "\n450,,cache-misses,5,100.00,,\n",
            id="two kinds of cores",
        ),
        pytest.param(f"Some warning, of several, words, and, commas\n{COUNTED}", id="a warning"),
    ],
)
def test_other_ways_of_perf_to_put_it(install_perf, network, rows):
    install_perf(rows)
    assert measure_cache(network, PAIR, seconds=3) == (900 / 6, 450 / 6, None)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (COUNTED.replace("450", "<not supported>"), "cache-misses <not supported> (virtual"),
        (COUNTED.replace("900", "<not counted>"), "cache-references <not counted>"),
        (COUNTED.replace("100.00", "61.50"), "cache-references for 61.50% of the time only"),
        (COUNTED.splitlines()[0], "perf does not tell cache-misses"),
        ("", "perf does not tell cache-references: Events enabled Events disabled"),
    ],
)
def test_what_is_not_counted_is_none_after_one_call(install_perf, network, rows, reason):
    install_perf(rows)
    *found, told = measure_cache(network, PAIR, seconds=3)
    assert found == [None, None]
    assert reason in told
    assert network.log.read_text().count("call") == 1


def test_a_perf_that_is_not_allowed_says_why(install_perf, network):
    install_perf(answers=False)
    *found, reason = measure_cache(network, PAIR, seconds=3)
    assert found == [None, None]
    message = "Error: No permission to enable cache-references event."
    assert reason == f"perf did not attach: {message}"


def test_a_perf_that_does_not_end_is_ended(install_perf, network, monkeypatch):
    monkeypatch.setattr(counters, "_PATIENCE_SECONDS", 1.0)
    install_perf(answers="late")
    *_, reason = measure_cache(network, PAIR, seconds=3)
    assert reason == "perf did not end when it was told to"


def test_no_perf(network, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    *found, reason = measure_cache(network, PAIR, seconds=3)
    assert found == [None, None]
    assert "needs the perf command" in reason


def test_a_gpu_is_not_counted(install_perf, network):
    class Images(list):
        is_cuda = True

    install_perf()
    *found, reason = measure_cache(network, Images([0]), seconds=3)
    assert found == [None, None]
    assert "on a GPU" in reason


def test_an_error_of_the_network_ends_perf_and_is_not_swallowed(install_perf):
    install_perf()

    def fail(batch):
        raise OSError("the network's own")

    with pytest.raises(OSError, match="the network's own"):
        measure_cache(fail, PAIR, seconds=3)


needs_perf = pytest.mark.skipif(shutil.which("perf") is None, reason="needs the perf command")


@needs_perf
def test_the_real_perf_gives_counts_or_a_reason():
    *found, reason = measure_cache(nn.Conv2d(3, 8, 3), torch.zeros(1, 3, 64, 64), seconds=0.2)
    assert [figure is None for figure in found] == [bool(reason)] * 2


def touch_fresh_pages():
    with mmap.mmap(-1, 64 << 20) as block:  # memory that Python has freed might be used again
        for start in range(0, len(block), 4096):
            block[start] = 1


@needs_perf
def test_the_real_perf_counts_between_its_commands(monkeypatch):
    """By the faults of fresh pages, which the kernel counts without the processor's help."""
    monkeypatch.setattr(counters, "_EVENTS", ("page-faults", "page-faults:u"))
    monkeypatch.setattr(counters, "_parse", lambda output, _: output)
    (output, _), _ = counters._count(shutil.which("perf"), touch_fresh_pages)
    if output.startswith("Error"):
        pytest.skip("perf is not allowed to count")
    faults = [int(row.split(",")[0]) for row in output.splitlines() if ",page-faults" in row]
    assert len(faults) == 2
    assert max(faults) >= 32  # of 2 MiB pages; of 4 KiB it is 16384
