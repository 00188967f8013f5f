"""Batch norm over the images of all processes that train one network.

`nn.SyncBatchNorm` runs on GPUs alone, and converting a network to it drops what subclasses of
batch norm do besides, such as timm's activations. So the function that all of them call is replaced
while the block runs: by torch's own kernels on a GPU, by sums over all processes on a CPU.
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


class SyncedNorms(TorchFunctionMode):
    """Lets every batch norm in training mode see the images of all processes."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run a function of torch, or batch norm over all processes in its place."""
        del types
        if func is functional.batch_norm:
            return _batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


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
