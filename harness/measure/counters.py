"""Cache references and misses per image, as the processor's own counters tell them.

Linux's `perf` reads them. Attached to this process, it is told to begin and to end, and says when
it has, so that nothing but the calls is counted.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from harness.measure.calls import call_for
from harness.measure.networks import inference

METHOD = (
    "perf stat -e cache-references,cache-misses, attached to all threads of this process, "
    "kernel included where allowed; what a reference is, is up to the processor; "
    "one uncounted call before"
)
_EVENTS = ("cache-references", "cache-misses")
_PATIENCE_SECONDS = 10.0
# Below it perf scales up what it saw in part of the time, which is an estimate.
_WHOLE_TIME_PERCENT = 99.0


@dataclass(frozen=True, kw_only=True)
class CacheUse:
    """Use of the cache that a processor counts, most often its last level.

    Attributes:
        cache_references_per_image: How often it was asked, or None.
        cache_misses_per_image: How often in vain, or None.
        cache_reason: Why both are None.
        method: What was counted, and of what.
    """

    cache_references_per_image: float | None
    cache_misses_per_image: float | None
    cache_reason: str | None
    method: str = METHOD


class _UncountedError(Exception):
    """Nothing was counted; the message is the reason."""


def measure_cache(
    network: Callable[[Tensor], object], example: Tensor, *, seconds: float
) -> CacheUse:
    """Count cache references and misses during calls in a row, divided by the images of all calls.

    Args:
        network: A module is put in evaluation mode meanwhile.
        example: One image or more, N×C×H×W, on the CPU.
        seconds: For the calls, at least one.
    """
    try:
        with inference(network):
            references, misses = _count_per_image(network, example, seconds)
    except _UncountedError as reason:
        return CacheUse(
            cache_references_per_image=None, cache_misses_per_image=None, cache_reason=str(reason)
        )
    return CacheUse(
        cache_references_per_image=references, cache_misses_per_image=misses, cache_reason=None
    )


def _count_per_image(
    network: Callable[[Tensor], object], example: Tensor, seconds: float
) -> tuple[float, float]:
    if example.is_cuda:
        raise _UncountedError("perf counts for the CPU, and the network is on a GPU")
    perf = shutil.which("perf")
    if perf is None:
        raise _UncountedError("needs the perf command (Linux: package linux-perf or linux-tools)")
    images = 0

    def call_for_some_time() -> None:
        nonlocal images
        images, _ = call_for(network, example, seconds)

    # This one warms up, and a machine without counters goes no further.
    _count(perf, lambda: network(example))
    references, misses = _count(perf, call_for_some_time)
    return references / images, misses / images


def _count(perf: str, work: Callable[[], object]) -> tuple[int, int]:
    """Return the cache references and misses of `work`, that of other threads included."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = _attach(perf, theirs.fileno())
        with process:
            try:
                obeyed = _tell(ours, "enable")
                if obeyed:
                    work()
                    obeyed = _tell(ours, "disable")
                process.send_signal(signal.SIGINT)
                _, output = process.communicate(timeout=_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                raise _UncountedError("perf did not end when it was told to") from None
            finally:
                process.kill()
    if not obeyed:
        raise _UncountedError(f"perf did not attach: {' '.join(output.split())[:200]}")
    return _parse(output, "cache-references"), _parse(output, "cache-misses")


def _attach(perf: str, control: int) -> subprocess.Popen[str]:
    """Start perf, which counts nothing until the descriptor `control` tells it to."""
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
    """Give perf a command and return whether it carried it out; it does not when it has ended."""
    control.settimeout(_PATIENCE_SECONDS)
    try:
        control.sendall(f"{command}\n".encode())
        return b"ack" in control.recv(64)
    except OSError:
        return False


def _parse(output: str, event: str) -> int:
    """Return an event's count: "value,unit,event,run time,percentage of it counted,…" a line."""
    rows = [line.split(",") for line in output.splitlines()]
    # The event may bear a suffix ("cache-misses:u" is without the kernel) or the core's kind.
    found = [row for row in rows if len(row) >= 5 and event in row[2]]
    if not found:
        raise _UncountedError(f"perf does not tell {event}: {' '.join(output.split())[:200]}")
    for value, _, _, _, percent, *_ in found:
        if not value.isdecimal():
            raise _UncountedError(f"perf: {event} {value} (virtual machines often hide it)")
        if float(percent) < _WHOLE_TIME_PERCENT:
            raise _UncountedError(f"perf counted {event} for {percent}% of the time only")
    return sum(int(row[0]) for row in found)
