"""The tree as data: the classes that each node tells apart, the leaf of each class, and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Annotated, Any

from annotated_types import Ge, Gt

from harness.errors import RequestError
from harness.records.store import explain_validation

NodePath = tuple[int, ...]
"""Child indices from the root down; the root's is empty."""

Groups = tuple[tuple[int, ...], ...]
"""The classes of each child of a node."""

_STRICT = {"extra": "forbid", "strict": True, "allow_inf_nan": False}


@dataclass(frozen=True, kw_only=True)
class NodeNetwork:
    """The description that a node's network is built from.

    Attributes:
        backbone: A key of `trunk.backbones.BACKBONES`.
        layers: The name of one of the backbone's layer lists.
        input_shape: C, H, W: of the image at the root, else of the parent's feature map.
    """

    __pydantic_config__ = _STRICT

    backbone: str
    layers: str
    input_shape: tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)], Annotated[int, Ge(1)]]
    outputs: Annotated[int, Ge(2)]


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node with a network, which chooses among its children.

    Attributes:
        groups: The classes of each child, ascending; a child of one class is a leaf.
        likelihood: Averaged softmax likelihood between the node's classes, n×n in ascending order
            of the classes; None where unknown.
        volatility: The grouping volatility that made `groups` of `likelihood`; None where unknown.
    """

    __pydantic_config__ = _STRICT

    path: NodePath
    groups: Groups
    network: NodeNetwork
    likelihood: tuple[tuple[float, ...], ...] | None = None
    volatility: Annotated[float, Gt(0)] | None = None

    @cached_property
    def classes(self) -> tuple[int, ...]:
        """The classes below this node, ascending."""
        return tuple(sorted(label for group in self.groups for label in group))

    @property
    def name(self) -> str:
        """The path as text: `node_name`."""
        return node_name(self.path)


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A complete tree: every class from 0 up to the last has exactly one leaf.

    Attributes:
        nodes: The nodes with a network, in ascending order of their paths, which is depth first.

    Raises:
        RequestError: The nodes make no tree.
    """

    __pydantic_config__ = _STRICT

    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        if mistake := _find_mistake(self):
            raise RequestError(f"not a tree: {mistake}")

    @property
    def root(self) -> Node:
        """The node whose network takes the image."""
        return self.nodes[0]

    @property
    def num_classes(self) -> int:
        """The number of classes that the whole tree tells apart."""
        return len(self.root.classes)

    @cached_property
    def by_path(self) -> dict[NodePath, Node]:
        """The nodes by path."""
        return {node.path: node for node in self.nodes}

    def children(self, node: Node) -> tuple[Node | int, ...]:
        """Return the children of a node: nodes, and class indices where they are leaves."""
        return tuple(
            group[0] if len(group) == 1 else self.by_path[(*node.path, index)]
            for index, group in enumerate(node.groups)
        )


def node_name(path: NodePath) -> str:
    """Return a path in a form fit for file names, state dicts and messages: root, 0-3."""
    return "-".join(map(str, path)) or "root"


def tree_to_json(tree: Tree) -> dict[str, Any]:
    """Return a tree as JSON holds it."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(tree)))
    return plain


def tree_from_json(plain: object) -> Tree:
    """Return the tree that `tree_to_json` turned into `plain`; RequestError where it is none."""
    from pydantic import TypeAdapter, ValidationError

    try:
        # As text, because lists stand for tuples in JSON only.
        return TypeAdapter(Tree).validate_json(json.dumps(plain))
    except ValidationError as error:
        raise RequestError(f"not a tree: {explain_validation(error)}") from error


def _find_mistake(tree: Tree) -> str | None:
    """Return the first reason why nodes make no tree, if there is one."""
    paths = [node.path for node in tree.nodes]
    if not paths or paths[0] != () or paths != sorted(set(paths)):
        return "the nodes are not the root and others, in order"
    count = tree.num_classes
    if tree.root.classes != tuple(range(count)):
        return f"the root's {count} classes are not 0 to {count - 1}, each once"
    mistakes = (_find_node_mistake(node) or _find_misfit(tree, node) for node in tree.nodes)
    return next(filter(None, mistakes), None)


def _find_node_mistake(node: Node) -> str | None:
    """Return what is wrong with a node, whatever the others are."""
    name, count, children = f"node {node.name}", len(node.classes), len(node.groups)
    ascending = [tuple(sorted(set(group))) for group in node.groups]
    if list(node.groups) != ascending or len(set(node.classes)) != count:
        return f"{name}: its groups are not ascending lists that share no class"
    if not all(node.groups) or children < 2:
        return f"{name}: it needs two or more groups, and none empty"
    outputs = node.network.outputs
    if outputs != children:
        return f"{name}: its network has {outputs} outputs for {children} children"
    matrix = node.likelihood
    if matrix is not None and {len(matrix), *map(len, matrix)} != {count}:
        return f"{name}: its likelihood is not a matrix of {count}×{count}"
    return None


def _find_misfit(tree: Tree, node: Node) -> str | None:
    """Return where a node contradicts its parent's groups, or lacks a child node for its own."""
    if node.path:
        parent = tree.by_path.get(node.path[:-1])
        index = node.path[-1]
        if parent is None or not 0 <= index < len(parent.groups):
            return f"node {node.name}: it has no parent"
        if parent.groups[index] != node.classes:
            given = list(parent.groups[index])
            return (
                f"node {node.name}: its classes {list(node.classes)} are not the {given} that its "
                "parent gives it"
            )
    for index, group in enumerate(node.groups):
        path = (*node.path, index)
        if len(group) > 1 and path not in tree.by_path:
            return f"there is no node {node_name(path)} for classes {list(group)}"
    return None
