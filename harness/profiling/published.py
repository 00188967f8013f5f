"""The published accounting: the modules of a torch.fx graph, by the publication's own constants.

It leaves attention, softmax, layer norm and pooling out and averages intensities over modules; it
is kept because published tables were made with it. Every network counts at 4 bytes a number there.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata
from torch.utils._pytree import tree_leaves

from harness.errors import CellError
from harness.measure.networks import inference
from harness.profiling.graph import Graph, Operator
from harness.util.error_text import describe_error

PER_BATCH_NORM_ELEMENT = 5
BATCH_NORM_TENSORS = 4  # weight, bias, mean, variance: a number a channel each

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.GELU, nn.Hardswish)
_SUMS_AND_PRODUCTS = {
    operator.add,
    operator.iadd,
    operator.mul,
    operator.imul,
    torch.add,
    torch.mul,
}
_OTHER_FUNCTIONS = {operator.sub, operator.isub, operator.truediv, torch.sub, torch.div}


def trace_published(network: nn.Module, example: Tensor, element_bytes: int = 4) -> Graph:
    """Return a unit for each module that a network calls, and for each sum and product.

    Args:
        network: On the meta device.
        example: N×C×H×W, on the meta device.
        element_bytes: Of each number.

    Raises:
        CellError: torch.fx cannot trace the network, e.g. as its path depends on sizes.
    """
    try:
        with inference(network), torch.device("meta"):
            traced = fx.symbolic_trace(network)
            ShapeProp(traced).propagate(example)
    except Exception as error:
        raise CellError(f"torch.fx cannot trace it: {describe_error(error)}") from error
    return _Units(traced, element_bytes).graph()


class _Units:
    """Turns the nodes of a traced network into operators; the others hand on what they wait for."""

    def __init__(self, traced: fx.GraphModule, element_bytes: int) -> None:
        self._traced = traced
        self._element_bytes = element_bytes
        self._operators: list[Operator] = []
        self._waits: dict[fx.Node, frozenset[int]] = {}

    def graph(self) -> Graph:
        results: frozenset[int] = frozenset()
        for node in self._traced.graph.nodes:
            sources = [self._waits[source] for source in node.all_input_nodes]
            self._waits[node] = frozenset[int]().union(*sources)
            if node.op == "output":
                results = self._waits[node]
            elif _is_unit(node):
                self._operators.append(self._unit(node))
                self._waits[node] = frozenset([len(self._operators) - 1])
        return Graph(operators=tuple(self._operators), results=results)

    def _unit(self, node: fx.Node) -> Operator:
        module = self._traced.get_submodule(str(node.target)) if node.op == "call_module" else None
        outputs = _elements([node])
        macs = _macs(module, outputs)
        inputs = _elements(each for each in node.args if isinstance(each, fx.Node))
        return Operator(
            name=type(module).__name__ if module else str(getattr(node.target, "__name__", "")),
            module=str(node.target) if module else _caller(node),
            macs=macs,
            flops=2 * macs or _other_flops(node, module, outputs),
            input_bytes=self._element_bytes * inputs,
            output_bytes=self._element_bytes * outputs,
            weight_bytes=self._element_bytes * _weights(module),
            channels=_channels(module),
            predecessors=tuple(sorted(self._waits[node])),
        )


def _is_unit(node: fx.Node) -> bool:
    if node.op == "call_module":
        return True
    arithmetic = node.target in _SUMS_AND_PRODUCTS or node.target in _OTHER_FUNCTIONS
    # Sizes are added and divided, too.
    return node.op == "call_function" and arithmetic and bool(_elements([node]))


def _macs(module: nn.Module | None, outputs: int) -> int:
    """Return the multiply-accumulates: one for each weight that an output depends on."""
    if not isinstance(module, _LAYERS):
        return 0
    width = module.out_features if isinstance(module, nn.Linear) else module.out_channels
    return outputs * (module.weight.numel() // width)


def _other_flops(node: fx.Node, module: nn.Module | None, outputs: int) -> int:
    if isinstance(module, _BATCH_NORMS):
        return PER_BATCH_NORM_ELEMENT * outputs
    return outputs if isinstance(module, _ACTIVATIONS) or node.target in _SUMS_AND_PRODUCTS else 0


def _weights(module: nn.Module | None) -> int:
    if isinstance(module, _BATCH_NORMS):
        return BATCH_NORM_TENSORS * module.num_features
    return sum(p.numel() for p in module.parameters()) if isinstance(module, _LAYERS) else 0


def _channels(module: nn.Module | None) -> int | None:
    if not isinstance(module, _LAYERS):
        return None
    return module.out_features if isinstance(module, nn.Linear) else module.out_channels


def _caller(node: fx.Node) -> str:
    """Return the name of the module whose forward calls a function."""
    stack: dict[str, tuple[str, Any]] = node.meta.get("nn_module_stack") or {}
    return next((name for name, _ in reversed(stack.values())), "")


def _elements(nodes: Iterable[fx.Node]) -> int:
    """Return the elements of all tensors that nodes give."""
    found = (node.meta.get("tensor_meta") for node in nodes)
    leaves = (leaf for each in found for leaf in tree_leaves(each, is_leaf=_is_metadata))
    return sum(math.prod(leaf.shape) for leaf in leaves if _is_metadata(leaf))


def _is_metadata(tree: object) -> bool:
    # It is a tuple itself, so it would be taken apart.
    return isinstance(tree, TensorMetadata)
