"""Cross-check of peak memory: by how much the resident memory of a process rises in a pass.

The process is a fresh one, because an older one would reuse memory that it freed and kept, without
showing it. It maps every large block anew, so that freed memory is returned at once.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import platform
import re
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import Tensor, nn

from harness.measure.networks import inference, meta_copy
from harness.util.error_text import describe_error

_MAP_FROM_BYTES = 65536
# mallopt takes its parameters by number; this one is from glibc's malloc.h.
_M_MMAP_THRESHOLD = -3


def measure_process_peak_mb(network: nn.Module, example: Tensor) -> tuple[float | None, str | None]:
    """Return the rise of resident memory in a forward pass, in MB (10^6 bytes), or None and why.

    Weights and input are there before the pass and do not count; scratch memory of kernels does.
    Linux counts resident memory to within some pages per core. Measuring takes seconds, most of
    them for starting the process, which fills a copy of the network with zeros.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return None, "needs Linux with glibc"
    try:
        answer = _ask_child(meta_copy(network), example.to("meta"))
    except Exception as error:
        answer = describe_error(error)
    if isinstance(answer, int):
        return answer / 1e6, None
    return None, f"no process could be measured: {answer}"


def _ask_child(network: nn.Module, example: Tensor) -> int | str:
    """Return the rise in bytes, or what went wrong in the child."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    arguments = (sender, network, example, torch.get_num_threads())
    child = context.Process(target=_send_peak_bytes, args=arguments, daemon=True)
    with receiver, sender:
        child.start()
        sender.close()  # only the child's end is left, so that the child's death ends the wait
        try:
            answer: int | str = receiver.recv()
        except EOFError:
            answer = "it ended without an answer"
        child.join()
    return answer


def _send_peak_bytes(sender: Connection, network: nn.Module, example: Tensor, threads: int) -> None:
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MAP_FROM_BYTES)
    torch.set_num_threads(threads)
    try:
        sender.send(_peak_bytes(network.to_empty(device="cpu"), example))
    except Exception as error:
        sender.send(describe_error(error))


def _peak_bytes(network: nn.Module, example: Tensor) -> int:
    with torch.no_grad():
        for tensor in [*network.parameters(), *network.buffers()]:
            tensor.zero_()
    image = torch.zeros_like(example, device="cpu")
    with inference(network):
        for _ in range(2):  # the first calls also allocate what the libraries keep
            network(image)
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM
        before = _status_bytes("VmRSS")
        network(image)
        return _status_bytes("VmHWM") - before


def _status_bytes(field: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status has no {field}")
    return int(found[1]) * 1024
