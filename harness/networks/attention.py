"""Attention maps: the weights that a vision transformer's forward pass used, read from its layers.

They can be read from the layers of torchvision (`nn.MultiheadAttention`), of timm and of DINOv2's
hub files (one projection `qkv`, the weights through a dropout `attn_drop`), and of transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn
from torch.backends import mha

from harness.errors import RequestError
from harness.measure.networks import inference

Keep = Callable[[Tensor], None]


def attention_maps(network: nn.Module, images: Tensor, layer_idx: int = -1) -> Tensor:
    """Return the attention weights of one layer in a forward pass in evaluation mode.

    The weights are those that the pass multiplied its values by: the layer computes them openly
    during this call, where it otherwise leaves them inside a fused kernel. The network comes back
    as it was: its mode, its fused attention, its gradients. The images N×C×H×W are on its device;
    `layer_idx` counts the attention layers in order of registration, or from the last if negative.

    Returns:
        N×heads×T×T with T tokens; row i says how token i's attention is divided, and adds up to 1.

    Raises:
        RequestError: The network has no such layer, its attention is not over whole images, or its
            weights are nowhere to be read.
    """
    layers = attention_layers(network)
    if not layers:
        raise RequestError(
            f"{type(network).__name__} has no attention layer whose weights can be read"
        )
    if not -len(layers) <= layer_idx < len(layers):
        raise RequestError(
            f"layer_idx is {layer_idx}: the network has {len(layers)} attention layers, "
            f"0 to {len(layers) - 1} or -1 to {-len(layers)}"
        )
    kept: list[Tensor] = []
    layer = layers[layer_idx]
    with inference(network), ExitStack() as until_done:
        until_done.callback(mha.set_fastpath_enabled, mha.get_fastpath_enabled())
        mha.set_fastpath_enabled(False)
        if open_layer := _reader(layer):
            open_layer(until_done, layer, kept.append)
        network(images.clone())  # some networks write to their input
    title = f"{type(network).__name__}: attention layer {layer_idx}"
    if not kept:
        raise RequestError(f"{title} leaves its weights inside a fused kernel, or was not called")
    if kept[-1].ndim != 4 or len(kept[-1]) != len(images):
        raise RequestError(f"{title} does not attend over whole images (windows?)")
    return kept[-1].clone()  # which is no tensor of inference mode


def attention_layers(network: nn.Module) -> list[nn.Module]:
    """Return the attention layers of a network whose weights can be read, in their order."""
    return [module for module in network.modules() if _reader(module) is not None]


def class_token_attention(network: nn.Module, maps: Tensor, image_size: int) -> Tensor:
    """Return how the class token's attention is divided over the patches.

    The network's first convolution makes the patches of images with sides of `image_size` pixels.
    In `maps`, N×heads×T×T, the class token is the first and the patches are the last.

    Returns:
        N×heads×rows×columns. The shares of an image add up to less than 1, as those of other
        tokens, the class token itself included, are left out.

    Raises:
        RequestError: The tokens are not patches after a class token.
    """
    patches = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    side = image_size // patches.stride[0] if patches is not None else 0
    others = maps.shape[-1] - side**2
    if side < 1 or others < 1:
        raise RequestError(
            f"{type(network).__name__}: {maps.shape[-1]} tokens are not a class token and "
            f"{side}×{side} patches"
        )
    return maps[:, :, 0, others:].reshape(*maps.shape[:2], side, side)


def _reader(module: nn.Module) -> Callable[[ExitStack, Any, Keep], None] | None:
    """Return the function that opens a layer for reading; None for other layers."""
    if isinstance(module, nn.MultiheadAttention):
        return _open_multihead
    if isinstance(getattr(module, "qkv", None), nn.Linear):
        return _open_qkv if isinstance(getattr(module, "attn_drop", None), nn.Module) else None
    if hasattr(module, "q_proj") and hasattr(
        getattr(module, "config", None), "_attn_implementation"
    ):
        return _open_transformers
    return None


def _open_multihead(until_done: ExitStack, layer: nn.MultiheadAttention, keep: Keep) -> None:
    """Ask for the weights that the layer returns beside its result, for each head."""

    def ask(_: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        return inputs, {**named, "need_weights": True, "average_attn_weights": False}

    until_done.enter_context(layer.register_forward_pre_hook(ask, with_kwargs=True))
    until_done.enter_context(layer.register_forward_hook(lambda _, __, result: keep(result[1])))


def _open_qkv(until_done: ExitStack, layer: Any, keep: Keep) -> None:
    """Take the weights on their way through the dropout, which does nothing in evaluation."""
    if hasattr(layer, "fused_attn"):
        _change(until_done, layer, "fused_attn", new=False)
    hook = layer.attn_drop.register_forward_hook(lambda _, __, result: keep(result))
    until_done.enter_context(hook)


def _open_transformers(until_done: ExitStack, layer: Any, keep: Keep) -> None:
    """Have the library compute attention step by step: it returns the weights then."""
    _change(until_done, layer.config, "_attn_implementation", new="eager")
    until_done.enter_context(layer.register_forward_hook(lambda _, __, result: keep(result[1])))


def _change(until_done: ExitStack, owner: Any, name: str, new: object) -> None:
    until_done.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, new)
