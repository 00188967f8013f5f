"""The published accounting: the modules of a torch.fx graph, with the publication's constants.

It leaves out attention, softmax, layer norm and pooling, and averages intensities over modules. It
is kept because published tables were made with it, at 4 bytes a number.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata
from torch.utils._pytree import tree_leaves

from harness.errors import CellError
from harness.measure.networks import inference
from harness.profiling.graph import Graph, Operator
from harness.profiling.recording import Inputs
from harness.util.error_text import describe_error

PER_BATCH_NORM_ELEMENT = 5
BATCH_NORM_TENSORS = 4  # weight, bias, mean, variance: a number a channel each

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.GELU, nn.Hardswish)
# Functions, and methods of tensors by name, that compute what a module would.
_LAYER_CALLS = {F.conv1d, F.conv2d, F.conv3d, F.linear}
_ELEMENTWISE_CALLS = {
    *(operator.add, operator.iadd, operator.mul, operator.imul, torch.add, torch.mul),
    *(F.relu, F.relu6, F.gelu, F.hardswish, torch.relu, torch.relu_, F.relu_),
    *("add", "add_", "mul", "mul_", "relu", "relu_"),
}
_OTHER_CALLS = {
    *(operator.sub, operator.isub, operator.truediv, operator.itruediv, torch.sub, torch.div),
    *("sub", "sub_", "div", "div_"),
}
_CALLS = {*_LAYER_CALLS, F.batch_norm, torch.batch_norm, *_ELEMENTWISE_CALLS, *_OTHER_CALLS}


def trace_published(network: nn.Module, inputs: Inputs, element_bytes: int = 4) -> Graph:
    """Return a unit for each module that a network calls, and for each call of what one computes.

    The network and its inputs, N×C×H×W images as a rule, are on the meta device; each number has
    `element_bytes`. CellError: torch.fx cannot trace it, e.g. as its path depends on sizes.
    """
    if isinstance(inputs, Mapping):
        raise CellError("the published accounting takes no inputs by name")
    try:
        with inference(network), torch.device("meta"):
            traced = fx.symbolic_trace(network)
            ShapeProp(traced).propagate(*(inputs if isinstance(inputs, tuple) else (inputs,)))
    except Exception as error:
        raise CellError(f"torch.fx cannot trace it: {describe_error(error)}") from error
    units: list[Operator] = []
    # Nodes that are no units pass on what they wait for.
    waits: dict[fx.Node, frozenset[int]] = {}
    for node in traced.graph.nodes:
        waits[node] = frozenset[int]().union(*(waits[each] for each in node.all_input_nodes))
        module = traced.get_submodule(str(node.target)) if node.op == "call_module" else None
        # Sizes are added and divided, too, but are no tensors.
        called = node.op in ("call_function", "call_method") and node.target in _CALLS
        if module is not None or (called and _elements([node])):
            units.append(_unit(node, module, element_bytes, tuple(sorted(waits[node]))))
            waits[node] = frozenset([len(units) - 1])
    return Graph(operators=tuple(units), results=waits[node])  # the last node is the output


def _unit(
    node: fx.Node, module: nn.Module | None, element_bytes: int, predecessors: tuple[int, ...]
) -> Operator:
    outputs, inputs = _elements([node]), [n for n in node.args if isinstance(n, fx.Node)]
    channels, macs, weights, other_flops = None, 0, 0, 0
    if isinstance(module, _LAYERS):
        channels = module.out_features if isinstance(module, nn.Linear) else module.out_channels
        # One for each weight that an output depends on.
        macs = outputs * (module.weight.numel() // channels)
        weights = sum(parameter.numel() for parameter in module.parameters())
    elif node.target in _LAYER_CALLS:
        weight, bias = _argument(node, 1, "weight"), _argument(node, 2, "bias")
        channels = int(weight.meta["tensor_meta"].shape[0])
        macs = outputs * (_elements([weight]) // channels)
        weights = _elements(each for each in (weight, bias) if isinstance(each, fx.Node))
        inputs = [_argument(node, 0, "input")]
    elif isinstance(module, _BATCH_NORMS) or node.target in (F.batch_norm, torch.batch_norm):
        inputs = [_argument(node, 0, "input")]
        weights = BATCH_NORM_TENSORS * int(inputs[0].meta["tensor_meta"].shape[1])
        other_flops = PER_BATCH_NORM_ELEMENT * outputs
    elif isinstance(module, _ACTIVATIONS) or node.target in _ELEMENTWISE_CALLS:
        other_flops = outputs
    name = type(module).__name__ if module else getattr(node.target, "__name__", node.target)
    # A function belongs to the module whose forward calls it.
    callers = ["", *(caller for caller, _ in (node.meta.get("nn_module_stack") or {}).values())]
    return Operator(
        name=str(name),
        module=str(node.target) if module else callers[-1],
        macs=macs,
        flops=2 * macs or other_flops,
        input_bytes=element_bytes * _elements(inputs),
        output_bytes=element_bytes * outputs,
        weight_bytes=element_bytes * weights,
        channels=channels,
        predecessors=predecessors,
        output_shapes=tuple(tuple(each.shape) for each in _metadata([node])),
        activations=outputs if macs else 0,
    )


def _argument(node: fx.Node, position: int, name: str) -> Any:
    """Return an argument of a function, given by position or by name; None if it is not given."""
    return node.args[position] if position < len(node.args) else node.kwargs.get(name)


def _elements(nodes: Iterable[fx.Node]) -> int:
    """Return the number of elements of all tensors that nodes give."""
    return sum(math.prod(leaf.shape) for leaf in _metadata(nodes))


def _metadata(nodes: Iterable[fx.Node]) -> list[TensorMetadata]:
    def is_metadata(tree: object) -> bool:
        return isinstance(tree, TensorMetadata)  # a tuple itself, and not to be taken apart

    leaves = tree_leaves([node.meta.get("tensor_meta") for node in nodes], is_leaf=is_metadata)
    return [leaf for leaf in leaves if is_metadata(leaf)]
