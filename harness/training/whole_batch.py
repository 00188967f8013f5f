"""Layers that depend on the whole batch, of which each of several processes has a share.

`nn.SyncBatchNorm` runs on GPUs alone, and converting a network to it drops what subclasses of
batch norm do besides, such as timm's activations. So the functions that layers call are replaced
while a block runs. Batch norm takes its statistics from the whole batch: by torch's own kernels on
a GPU, by sums over all processes on a CPU. Dropout and stochastic depth draw for the whole batch,
in each process alike, as one process does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional
from torch.nn.modules._functions import SyncBatchNorm
from torch.overrides import TorchFunctionMode

from harness.data.shares import Share

_DROPOUTS = {getattr(functional, f"dropout{dimensions}") for dimensions in ("", "1d", "2d", "3d")}


class WholeBatch(TorchFunctionMode):
    """Lets layers see the whole batch of `count` images while the block runs.

    `synced` says whether batch norm takes its statistics from it.
    """

    def __init__(self, share: Share, count: int, *, synced: bool) -> None:
        super().__init__()
        self.rows, self.count, self.synced = share.rows(count), count, synced

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run a function of torch, or in its place what takes the whole batch into account."""
        del types
        kwargs = kwargs or {}
        if func is functional.batch_norm and self.synced:
            return _batch_norm(*args, **kwargs)
        if func in _DROPOUTS and self._times(args[0]):
            return self._dropout(func, *args, **kwargs)
        if func is Tensor.bernoulli_ and self._times(args[0]):
            drawn = self._whole(args[0]).bernoulli_(*args[1:], **kwargs)
            return args[0].copy_(self._own(drawn))
        return func(*args, **kwargs)

    def _dropout(
        self,
        func: Callable[..., Tensor],
        inputs: Tensor,
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
    ) -> Tensor:
        if not training or p == 0:
            return func(inputs, p, training, inplace)
        factors = self._own(func(self._whole(inputs).fill_(1), p))
        return inputs.mul_(factors) if inplace else inputs * factors

    def _times(self, part: Tensor) -> int:
        """Return how many rows of a tensor each image has; 0: its rows are not of images."""
        rows = part.shape[0] if part.ndim else 0
        times, rest = divmod(rows, self.rows.stop - self.rows.start)
        return 0 if rest else times

    def _whole(self, part: Tensor) -> Tensor:
        """Return an empty tensor for the whole batch, in the layout of that for a share."""
        turned = part.ndim == 4 and part.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if turned else torch.contiguous_format
        rows = self.count * self._times(part)
        return part.new_empty((rows, *part.shape[1:])).contiguous(memory_format=layout)

    def _own(self, whole: Tensor) -> Tensor:
        """Return the rows of this process's images."""
        times = len(whole) // self.count
        return whole[self.rows.start * times : self.rows.stop * times]


def _batch_norm(
    inputs: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Do what `functional.batch_norm` does, over the images of all processes."""
    statistics = (running_mean, running_var)
    if not training:
        return functional.batch_norm(inputs, *statistics, weight, bias, False, momentum, eps)
    if inputs.device.type == "cuda":
        group = dist.group.WORLD
        normal: Tensor = SyncBatchNorm.apply(
            inputs, weight, bias, *statistics, eps, momentum, group, dist.get_world_size()
        )
        return normal
    others = [dimension for dimension in range(inputs.ndim) if dimension != 1]
    shape = [1, -1, *[1] * (inputs.ndim - 2)]
    values = inputs.float()
    own = torch.tensor([float(values.numel() // values.shape[1])])
    sums = _Sum.apply(torch.cat([values.sum(others), own]))
    count, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
    if count < 2:
        raise ValueError(f"batch norm needs several values, found shape {tuple(inputs.shape)}")
    centred = values - mean.view(shape)
    variance = _Sum.apply(centred.square().sum(others)) / count
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(variance * count / (count - 1), momentum)
    normal = centred * (variance + eps).rsqrt().view(shape)
    if weight is not None:
        normal = normal * weight.view(shape)
    if bias is not None:
        normal = normal + bias.view(shape)
    return normal.to(inputs.dtype)


class _Sum(Function):
    """The sum of a tensor over all processes, through which gradients flow back."""

    @staticmethod
    def forward(_context: Any, tensor: Tensor) -> Tensor:
        """Return the sum of the processes' tensors."""
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        """Return the sum of the processes' gradients."""
        return _Sum.forward(_context, gradient)
