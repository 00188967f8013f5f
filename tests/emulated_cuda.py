"""A CUDA device without a GPU: CPU tensors that are marked, and may not meet unmarked ones.

What runs under it is the project's own code for GPUs with real arithmetic, so that forgotten moves
between devices fail as they do on a GPU, and every wait of the host for the device is counted. It
says nothing about kernels, speed or memory.
"""

import contextlib
import sys
import time
import weakref
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

NAME = "Emulated CUDA device"
DEVICE = torch.device("cuda", 0)
# Those that lie on the device; caches of the project may outlive a test.
_STORAGES = weakref.WeakSet()
_ROOT = f"{Path(__file__).resolve().parent.parent}/"
# Operators that CUDA lets take tensors of both devices.
_TAKE_BOTH = {
    *("aten::copy_", "aten::_to_copy", "aten::_foreach_copy_", "aten::set_"),
    *("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"),
    *("aten::_unsafe_index", "aten::_local_scalar_dense"),
}
# Operators whose result has a size that only the device knows.
_SIZED_BY_VALUES = {
    *("aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::bincount"),
    "aten::repeat_interleave",
}


class EmulatedCuda:
    """Which tensors lie on the device, and how often the host waited for it.

    Attributes:
        copies: Blocking copies between host and device, by line of the project's code.
        reads: Reads of values, as by `item`, by line of the project's code.
    """

    def __init__(self):
        self.copies, self.reads = Counter(), Counter()

    def reset(self):
        self.copies.clear()
        self.reads.clear()

    def holds(self, tensor):
        with torch._C.DisableTorchFunction():
            on_cpu = tensor.device.type == "cpu" and tensor.layout == torch.strided
        return on_cpu and tensor.untyped_storage() in _STORAGES

    def mark(self, result):
        with torch._C.DisableTorchFunction():
            for tensor in _tensors([result]):
                if tensor.device.type == "cpu":
                    _STORAGES.add(tensor.untyped_storage())
        return result

    def unmark(self, tensor):
        _STORAGES.discard(tensor.untyped_storage())
        return tensor


def _line():
    """Return the innermost line of the project that led here."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_ROOT) and file != __file__ and "site-packages" not in file:
            return f"{file.removeprefix(_ROOT)}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"


def _tensors(values):
    """Yield the tensors among values and in lists of them; torch's own way is far slower."""
    for each in values:
        if isinstance(each, Tensor):
            yield each
        elif isinstance(each, list | tuple):
            yield from _tensors(each)


def _is_cuda(device):
    return device is not None and torch.device(device).type == "cuda"


class _Operators(TorchDispatchMode):
    """Runs operators on the CPU, marks what comes out, and fails where devices mix."""

    def __init__(self, cuda):
        super().__init__()
        self.cuda = cuda

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        cuda, kwargs = self.cuda, dict(kwargs or {})
        name = func._schema.name
        wanted = _is_cuda(kwargs.get("device"))
        if wanted:
            kwargs["device"] = torch.device("cpu")
        here, others = [], []
        for each in _tensors((*args, *kwargs.values())):
            if cuda.holds(each):
                here.append(each)
            elif each.dim() > 0 and each.device.type == "cpu":
                others.append(each)
        if here and others:
            self._check(name, here, others, args, kwargs)
        if here and name == "aten::_local_scalar_dense":
            cuda.reads[_line()] += 1
        if here and name in _SIZED_BY_VALUES:
            cuda.reads[_line()] += 1
        result = func(*args, **kwargs)
        return cuda.mark(result) if wanted or here else result

    def _check(self, name, here, others, args, kwargs):
        if name == "aten::copy_":
            if not kwargs.get("non_blocking", len(args) > 2 and args[2]):
                self.cuda.copies[_line()] += 1
            return
        if name.startswith(("aten::index", "aten::_index", "aten::_unsafe_index")):
            if not self.cuda.holds(args[0]):
                raise RuntimeError(f"indices of a CPU tensor are on {DEVICE}, at {_line()}")
            self.cuda.copies[_line()] += 1
        if name not in _TAKE_BOTH:
            raise RuntimeError(
                f"Expected all tensors to be on the same device: {name} got "
                f"{[tuple(each.shape) for each in here]} on {DEVICE} and "
                f"{[tuple(each.shape) for each in others]} on cpu, at {_line()}"
            )


class _Methods(TorchFunctionMode):
    """Answers what Python asks of a tensor's device, and moves tensors."""

    def __init__(self, cuda):
        super().__init__()
        self.cuda = cuda
        self._on_device = {
            Tensor.device.__get__: lambda _: DEVICE,
            Tensor.is_cuda.__get__: lambda _: True,
            Tensor.numpy: self._refuse_numpy,
            Tensor.tolist: self._read,
            Tensor.__deepcopy__: lambda *args: cuda.mark(Tensor.__deepcopy__(*args)),
        }

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in (Tensor.to, Tensor.cpu, Tensor.cuda):
            return self._to(func, args[0], args[1:], kwargs)
        if func is Tensor.pin_memory:
            return args[0]
        if func in self._on_device and self.cuda.holds(args[0]):
            return self._on_device[func](*args, **kwargs)
        if _is_cuda(kwargs.get("device")):
            # A factory; what it makes of data on the host is copied over.
            if func in (torch.tensor, torch.as_tensor):
                self.cuda.copies[_line()] += 1
            return self.cuda.mark(func(*args, **{**kwargs, "device": "cpu"}))
        return func(*args, **kwargs)

    def _refuse_numpy(self, _tensor, **_options):
        raise TypeError(f"cannot convert a tensor on {DEVICE} to numpy, at {_line()}")

    def _read(self, tensor):
        self.cuda.reads[_line()] += 1
        with torch._C.DisableTorchFunction():
            return tensor.detach().clone().tolist()

    def _to(self, func, tensor, args, kwargs):
        target = self._target(func, args, kwargs)
        here = self.cuda.holds(tensor)
        if target is None or target.type not in ("cpu", "cuda"):
            return func(tensor, *args, **kwargs)
        rest = {k: v for k, v in kwargs.items() if k not in ("device", "other", "non_blocking")}
        for each in args:
            if isinstance(each, torch.dtype):
                rest["dtype"] = each
        if (target.type == "cuda") == here:
            return Tensor.to(tensor, **rest) if rest else tensor
        if not kwargs.get("non_blocking", False):
            self.cuda.copies[_line()] += 1
        with torch._C.DisableTorchFunction():
            layout = rest.pop("memory_format", torch.preserve_format)
            moved = tensor.clone(memory_format=layout)
            if here:
                self.cuda.unmark(moved)
            else:
                self.cuda.mark(moved)
        return Tensor.to(moved, **rest) if rest else moved

    def _target(self, func, args, kwargs):
        if func is Tensor.cpu:
            return torch.device("cpu")
        if func is Tensor.cuda:
            return DEVICE
        for each in (*args, kwargs.get("device"), kwargs.get("other")):
            if isinstance(each, str | torch.device):
                return torch.device(each)
            if isinstance(each, Tensor):
                return each.device
        return None


class _Event:
    def __init__(self, **_options):
        self.at = 0.0

    def record(self, *_stream):
        self.at = time.perf_counter()

    def synchronize(self):
        pass

    def elapsed_time(self, other):
        return 1e3 * (other.at - self.at)


class _Autocast(torch.autocast):
    def __init__(self, device_type, *args, **kwargs):
        super().__init__("cpu" if _is_cuda(device_type) else device_type, *args, **kwargs)


_PROPERTIES = SimpleNamespace(
    name=NAME, total_memory=80 * 10**9, uuid="GPU-0", major=9, minor=0, multi_processor_count=132
)
_CUDA = {
    "is_available": lambda: True,
    "is_initialized": lambda: False,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "set_device": lambda _device: None,
    "device": lambda _device: contextlib.nullcontext(),
    "synchronize": lambda _device=None: None,
    "empty_cache": lambda: None,
    "mem_get_info": lambda _device=None: (70 * 10**9, 80 * 10**9),
    "memory_allocated": lambda _device=None: 0,
    "max_memory_allocated": lambda _device=None: 12_345_678,
    "reset_peak_memory_stats": lambda _device=None: None,
    "manual_seed": lambda _seed: None,
    "manual_seed_all": lambda _seed: None,
    "get_rng_state": lambda _device=None: torch.get_rng_state(),
    "set_rng_state": lambda _state, _device=None: None,
    "get_rng_state_all": lambda: [torch.get_rng_state()],
    "set_rng_state_all": lambda _states: None,
    "is_bf16_supported": lambda *_args, **_kwargs: True,
    "get_device_capability": lambda _device=None: (9, 0),
    "get_device_name": lambda _device=None: NAME,
    "get_device_properties": lambda _device=None: _PROPERTIES,
    "_lazy_init": lambda: None,
    "Event": _Event,
}


@contextlib.contextmanager
def emulated_cuda():
    """Let torch have a CUDA device, `cuda:0`, and yield what is known of it."""
    cuda = EmulatedCuda()
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.multiple(torch.cuda, **_CUDA))
        stack.enter_context(mock.patch.object(torch, "autocast", _Autocast))
        stack.enter_context(mock.patch.object(torch.amp, "autocast", _Autocast))
        health = "_accelerator_graph_capture_health_check"
        stack.enter_context(mock.patch.object(torch.optim.Optimizer, health, create=True))
        stack.enter_context(_Operators(cuda))
        stack.enter_context(_Methods(cuda))
        yield cuda
