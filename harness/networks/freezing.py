"""Layer groups: the parts of a network in their order, the first of which can be frozen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, cast

from torch import nn

from harness.errors import RequestError

# A network with fewer groups, or with nearly all of its parameters in one, is taken apart further.
_FEWEST_GROUPS, _LARGEST_SHARE = 3, 0.8
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)

Part = tuple[str, nn.Module]


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerGroup:
    """Layers that are frozen together, named after the first; none contains another.

    `own_parameters` are those outside these layers, such as a class token.
    """

    name: str
    modules: tuple[nn.Module, ...]
    own_parameters: tuple[nn.Parameter, ...] = ()

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield all parameters of the group."""
        yield from self.own_parameters
        for module in self.modules:
            yield from module.parameters()


def find_head(network: nn.Module) -> nn.Linear | None:
    """Return the last layer that has parameters if it is linear; None: the network has no head."""
    layers = _layers(network)
    return layers[-1] if layers and isinstance(layers[-1], nn.Linear) else None


def layer_groups(network: nn.Module) -> tuple[LayerGroup, ...]:
    """Return the layer groups of a network, in order of registration, without its head.

    Each child of the network that has parameters is a group; a norm belongs to what it follows. A
    network with fewer than three groups keeps its layers in containers. These are replaced by their
    own children, level by level, until there are three groups or nothing is left to open, and so is
    a container with more than four fifths of the parameters. What contains the head is always
    opened. Parameters of the network itself and of opened containers, such as a class token or a
    position table, belong to the first group.
    """
    head = find_head(network)
    opened, parts = [network], _children(network, "", head)
    while chosen := _containers_to_open(parts, head):
        opened += chosen
        opening = [
            _children(module, f"{name}.", head) if module in chosen else [(name, module)]
            for name, module in parts
        ]
        parts = list(chain.from_iterable(opening))
    own = tuple(parameter for module in opened for parameter in module.parameters(recurse=False))
    return tuple(
        LayerGroup(
            name=group[0][0],
            modules=tuple(module for _, module in group),
            own_parameters=own if index == 0 else (),
        )
        for index, group in enumerate(_join_norms(parts))
    )


def layer_depths(network: nn.Module) -> dict[nn.Parameter, int]:
    """Return the depth of the layer that each parameter belongs to, 0 for the first.

    A timm network has layers of its own (its `group_matcher`); those of another one are its layer
    groups, and its head comes after them.
    """
    if hasattr(network, "group_matcher"):
        from timm.models import group_parameters

        named = dict(network.named_parameters())
        matcher = cast("Any", network).group_matcher()
        found = group_parameters(network, matcher, reverse=True)
        return {named[name]: depth for name, depth in found.items()}
    groups = layer_groups(network)
    depths = {p: depth for depth, group in enumerate(groups) for p in group.parameters()}
    return {p: depths.get(p, len(groups)) for p in network.parameters()}


def check_layer_depths(network: nn.Module, title: str) -> None:
    """Raise RequestError where all parameters of a network belong to one layer."""
    if len(set(layer_depths(network).values())) < 2:
        raise RequestError(
            f"layer_decay: {title} has no order of layers: all parameters are in one; leave it out"
        )


def freeze_layers(network: nn.Module, count: int, title: str = "") -> None:
    """Freeze the first `count` layer groups: training changes neither them nor their statistics.

    Their parameters need no gradient, and their batch norms stay in evaluation mode whatever
    `train()` says. Dropout in them stays as it is.

    Raises:
        RequestError: The network, which `title` names, has fewer groups to freeze; the last one
            must stay free where there is no head to train.
    """
    groups = layer_groups(network)
    free = groups if find_head(network) else groups[:-1]
    if not 0 <= count <= len(free):
        names = f" ({free[0].name} to {free[-1].name})" if free else ""
        raise RequestError(
            f"freeze_layers is {count}: {title or type(network).__name__} has {len(free)} layer "
            f"groups to freeze{names}"
        )
    _freeze(groups[:count])


def freeze_backbone(network: nn.Module, title: str = "") -> None:
    """Freeze all layer groups, as `freeze_layers` does; the head alone is trained.

    Raises:
        RequestError: The network has no head.
    """
    if find_head(network) is None:
        raise RequestError(
            f"freeze_backbone: {title or type(network).__name__} has no head: its last layer is "
            "not linear, and nothing would be left to train"
        )
    _freeze(layer_groups(network))


def _children(module: nn.Module, prefix: str, head: nn.Module | None) -> list[Part]:
    """Return the names and modules of a module's children that have parameters, less the head."""
    children = [(prefix + name, child) for name, child in module.named_children()]
    return [(name, child) for name, child in children if child is not head and _layers(child)]


def _containers_to_open(parts: Sequence[Part], head: nn.Module | None) -> list[nn.Module]:
    few = len(_join_norms(parts)) < _FEWEST_GROUPS
    sizes = {name: sum(p.numel() for p in module.parameters()) for name, module in parts}
    most = _LARGEST_SHARE * sum(sizes.values())
    return [
        module
        for name, module in parts
        if ((few or sizes[name] > most) and _children(module, name, head))
        or any(m is head for m in module.modules())
    ]


def _join_norms(parts: Sequence[Part]) -> list[list[Part]]:
    """Return parts in groups: each norm with the part before it, or after it where it is first."""
    groups: list[list[Part]] = []
    for name, module in parts:
        if groups and (_is_norm(module) or all(_is_norm(before) for _, before in groups[-1])):
            groups[-1].append((name, module))
        else:
            groups.append([(name, module)])
    return groups


def _is_norm(module: nn.Module) -> bool:
    return all(isinstance(layer, _NORMS) for layer in _layers(module))


def _layers(network: nn.Module) -> list[nn.Module]:
    """Return the modules that have parameters of their own."""
    return [m for m in network.modules() if any(True for _ in m.parameters(recurse=False))]


def _freeze(groups: Sequence[LayerGroup]) -> None:
    for parameter in chain.from_iterable(group.parameters() for group in groups):
        parameter.requires_grad_(False)
    modules = chain.from_iterable(group.modules for group in groups)
    for part in chain.from_iterable(module.modules() for module in modules):
        if getattr(part, "running_mean", None) is not None:
            # Replaced on the norm itself, so that copies keep it and train() respects it. The
            # class stays, because counters of operations know layers by their exact class.
            part.train = partial(_stay_in_eval, part)  # type: ignore[method-assign]
            part.eval()


def _stay_in_eval(module: nn.Module, _mode: bool = True) -> nn.Module:
    """Replace `train` of a frozen norm."""
    return type(module).train(module, mode=False)
