"""Networks made ready to be measured: copies, the mode of inference, inputs and layouts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from harness.errors import CellError
from harness.util.error_text import describe_error

Network = Callable[[Tensor], Any]


class UnmeasuredError(Exception):
    """Something cannot be measured here; the message is the reason."""


# What logits of the two layouts may differ by, as a share of the largest: rounding alone.
_LAYOUT_TOLERANCE = 1e-3


def copy_network(
    network: nn.Module, replaced: Mapping[int, object] | None = None, *, on_meta: bool = False
) -> nn.Module:
    """Return a copy of any network, whatever its forward pass has left on its modules.

    Tensors with a gradient history, such as the membranes of spiking layers, are copied without
    it; `on_meta`, to the meta device. Attributes that cannot be copied, such as locks and open
    files, are shared. Objects whose `id` is in `replaced` are replaced.
    """
    known = dict(replaced or {})
    with _CopiesDetached(on_meta):
        try:
            return copy.deepcopy(network, dict(known))
        except Exception:
            shared = _uncopyable(network, known)
            return copy.deepcopy(network, known | shared)


def meta_copy(network: nn.Module) -> nn.Module:
    """Return a copy on the meta device, in evaluation mode, without copying a single weight.

    Tensors that the network shares stay shared.
    """
    replaced: dict[int, object] = {}
    for parameter in network.parameters():
        empty = torch.empty_like(parameter, device="meta")
        replaced[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
    for buffer in network.buffers():
        replaced[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy_network(network, replaced, on_meta=True).eval()


class _CopiesDetached(TorchFunctionMode):
    """Lets `deepcopy` copy results of a forward pass, which torch refuses."""

    def __init__(self, on_meta: bool) -> None:
        super().__init__()
        self.on_meta = on_meta

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        if func is Tensor.__deepcopy__ and (not args[0].is_leaf or args[0].is_inference()):
            tensor, memo = args
            memo[id(tensor)] = (
                tensor.detach().to("meta") if self.on_meta else tensor.clone().detach()
            )
            return memo[id(tensor)]
        return func(*args, **(kwargs or {}))


def _uncopyable(network: nn.Module, known: Mapping[int, object]) -> dict[int, object]:
    """Return the attributes of modules that `deepcopy` refuses, by their `id`."""
    shared: dict[int, object] = {}
    for module in network.modules():
        for name, value in vars(module).items():
            if name == "_modules":
                continue
            try:
                copy.deepcopy(value, dict(known))
            except Exception:
                shared[id(value)] = value
    return shared


def own_inputs(network: Network, example: Tensor) -> Network:
    """Call a network once under `torch.inference_mode`; return one that does not alter its input.

    That is the network itself, unless it writes to its input: then one that copies it first, and
    the copying is part of its time.
    """
    given = example.clone()
    network(given)
    return network if torch.equal(given, example) else lambda images: network(images.clone())


def laid_out(images: Tensor, layout: torch.memory_format) -> Tensor:
    """Return images N×C×H×W in a layout in memory: channels last, or contiguous.

    Those of grey images are the same to `Tensor.contiguous`, but not to a convolution, whose
    output has the layout that the strides of its input suggest.
    """
    if layout == torch.channels_last:
        return images.contiguous(memory_format=layout)
    return images.clone(memory_format=layout)


def takes_channels_last(network: nn.Module, images: Tensor) -> bool:
    """Whether a network, which is not changed, gives the same logits for images channels last.

    Raises:
        RuntimeError: The network cannot run on contiguous images either.
    """
    copied = copy_network(network)
    expected = seeded_logits(copied, laid_out(images, torch.contiguous_format))
    try:
        turned = laid_out(images, torch.channels_last)
        found = seeded_logits(copied.to(memory_format=torch.channels_last), turned)
    except RuntimeError:
        return False
    return relative_difference(found, expected) <= _LAYOUT_TOLERANCE


def seeded_logits(network: nn.Module, images: Tensor) -> Tensor:
    """Return the fp32 logits N×K of images in evaluation mode; what is random is so by one seed."""
    devices = [images.device] if images.is_cuda else []
    with (
        inference(network),
        torch.random.fork_rng(devices),
        torch.autocast(images.device.type, enabled=False),
    ):
        torch.manual_seed(0)
        logits: Tensor = network(images.clone())
    return logits


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference of two tensors as a share of the largest expected value."""
    scale = expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
    return float((found - expected).abs().max() / scale)


@contextmanager
def on_meta_device(failure: str) -> Iterator[None]:
    """Run a copy of a network on the meta device in a block.

    Raises:
        CellError: Anything went wrong, e.g. because the network's path depends on values; the
            message begins with `failure`.
    """
    try:
        yield
    except Exception as error:
        raise CellError(
            f"{failure} on the meta device: {describe_error(error)} "
            "(constant tensors must be buffers, and no path may depend on values)"
        ) from error


@contextmanager
def inference(*networks: object) -> Iterator[None]:
    """Put modules in evaluation mode under `torch.inference_mode`; restore every mode after.

    Callables that are not modules are left alone.
    """
    modules = [network for network in networks if isinstance(network, nn.Module)]
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        for module in modules:
            module.eval()
        with torch.inference_mode():
            yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Turn `requires_grad` off for all parameters; restore it after."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
