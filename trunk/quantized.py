"""The tree in int8: each node is quantized on the images of its path, and maps stay in int8."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from harness.compression.quantization import Int8Network, calibrate
from harness.spec import NetworkPath
from trunk.nodes import NodeModule, starts_with_whitening
from trunk.routing import Branches, Trunk
from trunk.tree import Tree

# A node's layers are laid out for so many images, whose maps stay in a core's cache.
_ROWS = 32


class QuantizedTrunk(Trunk):
    """A tree whose nodes take and return int8 maps, at the scale of the node that made them.

    The root takes float images, and logits are float.
    """

    precision = "int8"

    def __init__(self, tree: Tree, nodes: Mapping[str, Int8Network]) -> None:
        """Take the int8 networks of the nodes of a tree, by `Node.name`."""
        super().__init__(tree)
        self.networks = nn.ModuleDict({name: _Int8Node(node) for name, node in nodes.items()})
        root = nodes[tree.root.name]
        self.backend, self.kernels, self.image_shape = root.backend, root.kernels, root.image_shape

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load all that `state_dict` returned."""
        for name, node in self.networks.items():
            prefix = f"networks.{name}.int8."
            own = {k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)}
            cast("_Int8Node", node).int8.load_state_dict(own, strict, assign)

    def float_network(self) -> nn.Module:
        """Return the tree in float, with batch norm folded, on the meta device."""
        trunk = Trunk(self.tree)
        floats = {
            name: cast("_Int8Node", node).float_network() for name, node in self.networks.items()
        }
        trunk.networks = nn.ModuleDict(floats)
        return trunk

    def find_path(self, name: str) -> NetworkPath | None:
        """Return paths as `Trunk.find_path` does, of int8 networks."""
        path = super().find_path(name)
        if path is None:
            return None
        return replace(path, network=_Int8Branches(cast("Branches", path.network)))

    def prepare_for_inference(self) -> Trunk:
        """Return a copy for evaluation."""
        return copy.deepcopy(self).eval()


class _Int8Node(nn.Module):
    def __init__(self, int8: Int8Network) -> None:
        super().__init__()
        self.int8 = int8

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return int8 maps and float logits of N images or int8 maps, for any N.

        All are run in parts of one size, the last one filled up: torch lays out the weights for a
        size, and routing gives every node another number of images in every batch.
        """
        count = len(inputs)
        if count == 1:
            maps, logits = self.int8(inputs)
            return maps, logits
        parts = [*torch.split(inputs, _ROWS)]
        if len(parts[-1]) < _ROWS:
            parts[-1] = parts[-1][torch.arange(_ROWS).clamp(max=len(parts[-1]) - 1)]
        found = [self.int8(part) for part in parts]
        maps, logits = (torch.cat(each)[:count] for each in zip(*found, strict=True))
        return maps, logits

    def float_network(self) -> nn.Module:
        return self.int8.float_network()


class _Int8Branches(Branches):
    precision = "int8"

    def __init__(self, branches: Branches) -> None:
        super().__init__(dict(zip(branches.paths, branches, strict=True)))

    @property
    def kernels(self) -> str:
        return cast("_Int8Node", self[0]).int8.kernels

    def float_network(self) -> nn.Module:
        floats = (cast("_Int8Node", node).float_network() for node in self)
        return Branches(dict(zip(self.paths, floats, strict=True)))


@torch.no_grad()
def quantize(network: nn.Module, backend: str, images: Tensor) -> nn.Module:
    """Return the int8 tree of a trained one, with the ranges of images N×C×H×W on their paths.

    A node sees the maps that its int8 parent makes of the images of its own classes, as the int8
    tree routes them; where none reach it, those of all images that reach its parent.

    Raises:
        RequestError: As `calibrate`.
    """
    trunk = cast("Trunk", network)
    nodes: dict[str, Int8Network] = {}
    maps: dict[str, tuple[Tensor, Tensor]] = {}
    for node in trunk.tree.nodes:
        inputs = images
        if node.path:
            above, choices = maps[trunk.tree.by_path[node.path[:-1]].name]
            chosen = choices == node.path[-1]
            inputs = above[chosen] if chosen.any() else above
        nodes[node.name] = calibrate(
            _without_dropout(trunk.networks[node.name]),
            backend,
            inputs.dequantize() if node.path else inputs,
            takes_int8=bool(node.path),
            whitening="features.0" if starts_with_whitening(node.network) else None,
        )
        found, logits = _Int8Node(nodes[node.name])(inputs)
        maps[node.name] = found, logits.argmax(1)
    return QuantizedTrunk(trunk.tree, nodes).eval()


def _without_dropout(node: nn.Module) -> NodeModule:
    """Return a copy without dropout layers, which would turn maps into float and back."""
    copied = cast("NodeModule", copy.deepcopy(node))
    kept = [part for part in copied.features if not isinstance(part, nn.Dropout2d)]
    copied.features = nn.Sequential(*kept)
    return copied.eval()
