"""Export to ONNX: of one network, and of networks that route an image among them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import Any

import torch
from torch import Tensor, nn

Decisions = Sequence[tuple[nn.Module, Sequence[int]]]
"""Networks that map N×C×H×W to maps and logits, the first one first, and what follows each choice.

That is the index of the network that takes the maps, or -1 - class.
"""


def export_onnx(network: nn.Module, example: Tensor) -> Any:
    """Return a network as an ONNX model, weights included, for the example's shape."""
    # When tracing fails, torch prints the graph so far and offers no switch for that.
    with redirect_stderr(io.StringIO()):
        program: Any = torch.onnx.export(network, (example,), dynamo=True, verbose=False)
    return program.model_proto


def export_routed(decisions: Decisions, example: Tensor) -> bytes:
    """Return an ONNX model that takes an image 1×C×H×W and returns its class, int64 1.

    Each network but the first is a branch of an `If`, so that only those on the image's path run.
    """
    from onnx import compose, helper

    inputs, graphs, versions = {0: example}, list[Any](), dict[str, Any]()
    for index, (network, steps) in enumerate(decisions):
        maps, _ = network(inputs[index])
        inputs |= dict.fromkeys((step for step in steps if step >= 0), maps)
        model = export_onnx(network, inputs[index])
        graphs.append(compose.add_prefix_graph(model.graph, f"{index}/"))
        versions = {"opset_imports": model.opset_import, "ir_version": model.ir_version}
    graph = _decide(0, decisions, graphs)
    graph.input.append(graphs[0].input[0])
    whole: bytes = helper.make_model(graph, **versions).SerializeToString()
    return whole


def _decide(index: int, decisions: Decisions, graphs: Sequence[Any]) -> Any:
    """Return the graph of a network and of all that its choices lead to; it takes no input."""
    from onnx import TensorProto, helper

    graph, steps = graphs[index], decisions[index][1]
    logits, choice = graph.output[1].name, f"{index}/choice"

    def constant(name: str, values: Sequence[int]) -> Any:
        return helper.make_tensor(f"{index}/{name}", TensorProto.INT64, [len(values)], values)

    def named(name: str, nodes: Sequence[Any], initializers: Sequence[Any], result: str) -> Any:
        output = helper.make_tensor_value_info(result, TensorProto.INT64, [1])
        return helper.make_graph(nodes, f"{index}/{name}", [], [output], initializers)

    classes = constant("classes", [-1 - step for step in steps])
    leaf = helper.make_node("Gather", [classes.name, choice], [f"{index}/leaf"])
    rest = named("leaves", [leaf], [classes], f"{index}/leaf")
    for number, step in enumerate(steps):
        if step >= 0:
            below = _decide(step, decisions, graphs)
            source, maps = graphs[step].input[0].name, graph.output[0].name
            below.node.insert(0, helper.make_node("Identity", [maps], [source]))
            wanted, flag = constant(f"{number}", [number]), f"{index}/{number}/chosen"
            equal = helper.make_node("Equal", [choice, wanted.name], [flag])
            branch = helper.make_node(
                "If", [flag], [f"{index}/{number}/class"], then_branch=below, else_branch=rest
            )
            rest = named(f"{number}/if", [equal, branch], [wanted], f"{index}/{number}/class")
    argmax = helper.make_node("ArgMax", [logits], [choice], axis=1, keepdims=0)
    return named(
        "node",
        [*graph.node, argmax, *rest.node],
        [*graph.initializer, *rest.initializer],
        rest.output[0].name,
    )
