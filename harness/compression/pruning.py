"""Structural pruning: whole channels are taken out, with everything that depends on them.

The dependencies come from torch-pruning's graph (Fang et al., 2023, arXiv:2301.12900). The result
is an ordinary network with narrower layers.
"""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any

import torch
import torch_pruning
from torch import Tensor, nn

from harness.errors import CellError, RequestError
from harness.measure.operations import count_macs
from harness.settings_spec import PruningSettings
from harness.util.error_text import describe_error

TOLERANCE = 0.03
# A step may cut this many times as much as any step before, because channels are whole.
_SAFETY = 2.0
_NORMS = {"l1": 1, "group_norm": 2}
_LAYERS = (nn.Conv2d, nn.Linear)


def prune(network: nn.Module, example: Tensor, settings: PruningSettings) -> None:
    """Take channels out of a network, in place, until its work is divided by the speed-up.

    Each step takes the same share of the original channels out of every layer (local pruning),
    those of least importance, until the multiply-accumulates are at most those wanted; the last
    step is cut short where all of it would be too much. Layers whose output no other layer takes
    in keep their channels, which are the classes.

    The network is in evaluation mode on the CPU; the size of the example, 1×C×H×W, determines the
    work of each layer.

    Raises:
        RequestError: The speed-up is not reached, or overshot, or the network cannot be pruned.
    """
    before = macs = count_macs(network, example)
    wanted, pruner = before / settings.speed_up, _make_pruner(network, example, settings)
    cuts: list[int] = []
    while macs > wanted:
        if pruner.current_step == settings.steps:
            raise RequestError(
                f"setting pruning.speed_up: {settings.speed_up:g} is out of reach: after all "
                f"{settings.steps} steps (pruning.steps) it is {before / macs:.3g}"
            )
        # Counting is as slow as pruning: layer by layer only where a whole step may be too much.
        near = macs - _SAFETY * max(cuts, default=before) < wanted
        try:
            if near:
                left = _step_layer_by_layer(pruner, network, example, macs, wanted)
            else:
                pruner.step()
                left = count_macs(network, example)
        except (CellError, RuntimeError, ValueError, IndexError, KeyError) as error:
            raise _cannot(error) from error
        cuts.append(macs - left)
        macs = left
    if macs < wanted * (1 - TOLERANCE):
        raise RequestError(
            f"setting pruning.speed_up: {settings.steps} steps (pruning.steps) go past "
            f"{settings.speed_up:g} to {before / macs:.3g}: take more, or another speed-up"
        )


def _step_layer_by_layer(
    pruner: Any, network: nn.Module, example: Tensor, macs: int, wanted: float
) -> int:
    """Take a step, or the part that stays near `wanted`; return the remaining multiply-adds."""
    counts = [macs]
    for group in pruner.step(interactive=True):
        group.prune()
        counts.append(count_macs(network, example))
        largest_cut = max(before - after for before, after in pairwise(counts))
        if counts[-1] <= wanted and counts[-1] - largest_cut < wanted * (1 - TOLERANCE):
            break
    return counts[-1]


def describe_shapes(network: nn.Module, original: nn.Module) -> dict[str, Any]:
    """Return how the layers of a pruned network differ from the original, as JSON holds it.

    `tensors` are the shapes of parameters and buffers, `attributes` the numbers of channels and the
    like by module and name.
    """
    before = _tensors(original)
    shapes = {key: list(tensor.shape) for key, tensor in _tensors(network).items()}
    tensors = {key: shape for key, shape in shapes.items() if shape != list(before[key].shape)}
    attributes: dict[str, dict[str, Any]] = {}
    for name, part in original.named_modules():
        now = vars(network.get_submodule(name))
        sizes = {key: value for key, value in vars(part).items() if type(value) in (int, tuple)}
        if changed := {key: now[key] for key, value in sizes.items() if now[key] != value}:
            attributes[name] = changed
    return {"tensors": tensors, "attributes": attributes}


def reshape(network: nn.Module, shapes: dict[str, Any]) -> None:
    """Give an unpruned network, in place, the shapes that `describe_shapes` returned.

    Weights are zero where their shape changes.

    Raises:
        RequestError: They are not shapes of this network.
    """
    try:
        for name, values in shapes["attributes"].items():
            part = network.get_submodule(name)
            for key, value in values.items():
                setattr(part, key, type(getattr(part, key))(value))
        for key, shape in shapes["tensors"].items():
            name, _, own = key.rpartition(".")
            part = network.get_submodule(name)
            old = getattr(part, own)
            new = torch.zeros(shape, dtype=old.dtype)
            setattr(part, own, nn.Parameter(new) if isinstance(old, nn.Parameter) else new)
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        reason = describe_error(error)
        raise RequestError(f"structure: not the shapes of this network ({reason})") from error


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return dict([*network.named_parameters(), *network.named_buffers()])


def _make_pruner(network: nn.Module, example: Tensor, settings: PruningSettings) -> Any:
    importance = torch_pruning.importance.GroupMagnitudeImportance(p=_NORMS[settings.importance])
    try:
        with warnings.catch_warnings():
            # Parameters of unknown layers, as ConvNeXt's layer scales (C×1×1), are pruned rightly.
            warnings.filterwarnings("ignore", "Unwrapped parameters detected", UserWarning)
            return torch_pruning.pruner.BasePruner(
                network,
                example,
                importance,
                pruning_ratio=1.0,
                iterative_steps=settings.steps,
                ignored_layers=_outputs(network, example),
                # The defaults are dicts that all pruners would share and fill.
                in_channel_groups={},
                out_channel_groups={},
                num_heads={},
            )
    except Exception as error:
        raise _cannot(error) from error


def _outputs(network: nn.Module, example: Tensor) -> list[nn.Module]:
    """Return the layers whose output channels no other layer takes in."""
    graph = torch_pruning.DependencyGraph().build_dependency(network, example)
    layers = [part for part in network.modules() if isinstance(part, _LAYERS)]
    return [layer for layer in layers if not _is_taken_in(graph, layer)]


def _is_taken_in(graph: Any, layer: nn.Module) -> bool:
    prune_out = graph.get_pruner_of_module(layer).prune_out_channels
    group = graph.get_pruning_group(layer, prune_out, [0])
    return any(
        graph.is_in_channel_pruning_fn(dependency.handler)
        for dependency, _ in group
        if isinstance(dependency.target.module, _LAYERS) and dependency.target.module is not layer
    )


def _cannot(error: Exception) -> RequestError:
    return RequestError(f"the network cannot be pruned: {describe_error(error)}")
