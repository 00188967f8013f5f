"""Cache references and misses per image, from the hardware counters of the processor.

Linux's `perf` reads them. It attaches to this process and starts and stops on command, so that it
counts nothing but the calls.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

from harness.measure.calls import call_for
from harness.measure.networks import UnmeasuredError, inference, own_inputs

T = TypeVar("T")

_EVENTS = ("cache-references", "cache-misses")
_PATIENCE_SECONDS = 10.0
# Below this, perf extrapolates from a part of the time, which is an estimate.
_WHOLE_TIME_PERCENT = 99.0


def measure_cache(
    network: Callable[[Tensor], object], example: Tensor, *, seconds: float
) -> tuple[float | None, float | None, str | None]:
    """Return cache references and misses per image; if they cannot be counted, None and the reason.

    The processor decides which cache it counts, most often the last level. All threads of this
    process count, and so does the kernel where that is allowed. There is at least one call of the
    example, N×C×H×W, after an uncounted one.
    """
    try:
        with inference(network):
            return *_count_per_image(network, example, seconds), None
    except UnmeasuredError as reason:
        return None, None, str(reason)


def _count_per_image(
    network: Callable[[Tensor], object], example: Tensor, seconds: float
) -> tuple[float, float]:
    if example.is_cuda:
        raise UnmeasuredError("perf counts for the CPU, and the network is on a GPU")
    perf = shutil.which("perf")
    if perf is None:
        raise UnmeasuredError("needs the perf command (Linux: package linux-perf or linux-tools)")
    # The first count is the warm-up, and a machine without counters fails here.
    _, network = _count(perf, lambda: own_inputs(network, example))
    counts, (images, _) = _count(perf, lambda: call_for(network, example, seconds))
    references, misses = counts
    return references / images, misses / images


def _count(perf: str, work: Callable[[], T]) -> tuple[tuple[int, int], T]:
    """Return the cache references and misses of `work` in all threads, and what it returns."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = _attach(perf, theirs.fileno())
        with process:
            try:
                obeyed = _tell(ours, "enable")
                if obeyed:
                    result = work()
                    obeyed = _tell(ours, "disable")
                process.send_signal(signal.SIGINT)
                _, output = process.communicate(timeout=_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                raise UnmeasuredError("perf did not end when it was told to") from None
            finally:
                process.kill()
    if not obeyed:
        raise UnmeasuredError(f"perf did not attach: {' '.join(output.split())[:200]}")
    return (_parse(output, "cache-references"), _parse(output, "cache-misses")), result


def _attach(perf: str, control: int) -> subprocess.Popen[str]:
    """Start perf, which counts nothing until it is told to through the descriptor `control`."""
    return subprocess.Popen(
        [
            *(perf, "stat", "-x,", "-e", ",".join(_EVENTS), "-p", str(os.getpid())),
            *("--delay=-1", f"--control=fd:{control},{control}"),
        ],
        pass_fds=[control],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"LC_ALL": "C"},  # no decimal commas
    )


def _tell(control: socket.socket, command: str) -> bool:
    """Give perf a command and return whether perf carried it out; False if it has ended."""
    control.settimeout(_PATIENCE_SECONDS)
    try:
        control.sendall(f"{command}\n".encode())
        return b"ack" in control.recv(64)
    except OSError:
        return False


def _parse(output: str, event: str) -> int:
    """Return an event's count from lines "value,unit,event,run time,percentage counted,…"."""
    rows = [line.split(",") for line in output.splitlines()]
    # The event may have a suffix ("cache-misses:u": without the kernel) or name the kind of core.
    found = [row for row in rows if len(row) >= 5 and event in row[2]]
    if not found:
        raise UnmeasuredError(f"perf does not tell {event}: {' '.join(output.split())[:200]}")
    for value, _, _, _, percent, *_ in found:
        if not value.isdecimal():
            raise UnmeasuredError(f"perf: {event} {value} (virtual machines often hide it)")
        if float(percent) < _WHOLE_TIME_PERCENT:
            raise UnmeasuredError(f"perf counted {event} for {percent}% of the time only")
    return sum(int(row[0]) for row in found)
