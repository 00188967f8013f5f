"""Small stems (`stem: small`): networks for large images, changed to look at small ones closely.

What is changed is found by what the network does, not by its name:

- The first convolution becomes 3×3 with stride 1, and the max-pool that follows it is taken out, as
  SimCLR has it for CIFAR-10 (Chen et al., 2020, arXiv:2002.05709, B.9). ConvNeXt's patches are such
  a convolution.
- A vision transformer with a table of positions gets patches of 4 pixels, and as many positions.

The new convolution has random weights, whatever the others start from.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from harness.errors import RequestError
from harness.measure.networks import copy_network, inference

_PATCH = 4
_MOST_PREFIX_TOKENS = 16
# Of convolutional networks (ConvMixer); patches of transformers are larger.
_LARGEST_STRIDE = 7


def shrink_stem(network: nn.Module, image_shape: tuple[int, ...], image_size: int) -> bool:
    """Give a built network a small stem, in place.

    Args:
        network: The network.
        image_shape: C×H×W of images that it takes as built.
        image_size: Side of the images that it is to take, in pixels.

    Returns:
        Whether the network now takes images of that size alone.

    Raises:
        RequestError: It looks at every pixel already, or has no such stem.
    """
    convolutions = (part for part in network.modules() if isinstance(part, nn.Conv2d))
    first = next(convolutions, None)
    table = _find_positions(network, first) if first is not None else None
    if first is not None and table is not None:
        _shrink_patches(network, first, table, image_size)
        return True
    stem, pool = _find_stem(network, image_shape)
    convolution: Any = network.get_submodule(stem)
    stride = max(convolution.stride)
    if stride == 1:
        raise RequestError(
            f"setting stem: it looks at every pixel already ({stem} has stride 1): leave stem out"
        )
    if stride > _LARGEST_STRIDE:
        raise RequestError(
            f"setting stem: its patches of {stride} pixels ({stem}) have no table of positions, "
            "which could be given another grid: leave stem out"
        )
    _resize_kernel(convolution, 3, stride=1)
    if pool:
        network.set_submodule(pool, nn.Identity())
    return False


def _find_stem(network: nn.Module, image_shape: tuple[int, ...]) -> tuple[str, str]:
    """Return the names of the first convolution, and of the max-pool of its stem, empty if none.

    Other convolutions may come between them only in the module that holds the first one, if that
    ends before the pool, as in ResNet-D.
    """
    calls: list[str] = []
    copied = copy_network(network)

    def note(name: str, module: Any) -> None:
        if isinstance(module, nn.MaxPool2d) or (calls and max(module.stride) > 1):
            raise _FoundError(name if isinstance(module, nn.MaxPool2d) else "")
        calls.append(name)

    for name, module in copied.named_modules():
        if isinstance(module, (nn.Conv2d, nn.MaxPool2d)):
            module.register_forward_pre_hook(lambda module, _, name=name: note(name, module))
    device = next((parameter.device for parameter in network.parameters()), None)
    pool = ""
    try:
        with inference(copied):
            copied(torch.zeros(1, *image_shape, device=device))
    except _FoundError as found:
        pool = found.pool
    if not calls:
        raise RequestError("setting stem: its first layer is no convolution: leave stem out")
    holder = f"{calls[0].rpartition('.')[0]}."
    apart = not pool.startswith(holder) and all(name.startswith(holder) for name in calls)
    return calls[0], pool if len(calls) == 1 or apart else ""


class _FoundError(Exception):
    """Ends a forward pass where the stem ends: at a max-pool, or the next layer with a stride."""

    def __init__(self, pool: str) -> None:
        self.pool = pool


def _resize_kernel(convolution: nn.Conv2d, side: int, *, stride: int) -> None:
    """Give a convolution a random square kernel, with padding that keeps the size at stride 1."""
    convolution.kernel_size, convolution.stride = (side, side), (stride, stride)
    padding = side // 2 if stride == 1 else 0
    convolution.padding, convolution.dilation = (padding, padding), (1, 1)
    convolution._reversed_padding_repeated_twice = [padding] * 4
    if not is_lazy(convolution.weight):
        shape = (*convolution.weight.shape[:2], side, side)
        convolution.weight = nn.Parameter(convolution.weight.new_empty(shape))
        convolution.reset_parameters()


def _find_positions(network: nn.Module, patches: nn.Conv2d) -> str | None:
    """Return the name of the table of positions, 1×T×D, of a transformer that makes patches."""
    for name, parameter in network.named_parameters():
        if "pos" in name.rpartition(".")[2] and not is_lazy(parameter):
            of_patches = parameter.ndim == 3 and parameter.shape[2] == patches.out_channels
            if of_patches and patches.kernel_size == patches.stride:
                return name
    return None


def _shrink_patches(network: nn.Module, patches: nn.Conv2d, table: str, image_size: int) -> None:
    """Make patches of 4 pixels, and interpolate the positions to their grid."""
    from timm.layers import resample_abs_pos_embed

    if patches.stride[0] <= _PATCH:
        raise RequestError(
            f"setting stem: its patches have {patches.stride[0]} pixels already: leave stem out"
        )
    if image_size % _PATCH:
        raise RequestError(f"setting stem: image_size {image_size}: a multiple of {_PATCH} wanted")
    owner, _, name = table.rpartition(".")
    holder, before = network.get_submodule(owner), network.get_parameter(table)
    grid, prefix = image_size // _PATCH, _count_prefix_tokens(before)
    with torch.no_grad():
        positions: Tensor = resample_abs_pos_embed(
            before, new_size=[grid, grid], num_prefix_tokens=prefix
        )
    setattr(holder, name, nn.Parameter(positions.clone(), requires_grad=before.requires_grad))
    _resize_kernel(patches, _PATCH, stride=_PATCH)
    # The names that torchvision, timm and transformers have for what follows from it.
    facts = {
        **dict.fromkeys(("image_size", "img_size"), image_size),
        "patch_size": _PATCH,
        "grid_size": grid,
        "num_patches": grid**2,
        "seq_length": grid**2 + prefix,
    }
    for module in network.modules():
        if patches in module.modules():
            for fact, value in facts.items():
                known = vars(module).get(fact)
                if isinstance(known, (int, tuple, list)):
                    setattr(module, fact, value if isinstance(known, int) else (value, value))


def _count_prefix_tokens(positions: Tensor) -> int:
    """Return how many tokens come before the patches, which fill a square."""
    for prefix in range(_MOST_PREFIX_TOKENS):
        patches = positions.shape[1] - prefix
        if patches > 0 and round(patches**0.5) ** 2 == patches:
            return prefix
    raise RequestError(
        f"setting stem: its {positions.shape[1]} positions are not those of square images"
    )
