"""The tree: which classes each node tells apart, and where each class has its leaf."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt

from harness.errors import RequestError

if TYPE_CHECKING:
    from pydantic import ValidationError

NodePath = tuple[int, ...]
"""Child indices from the root down; the root's is empty."""

Groups = tuple[tuple[int, ...], ...]
"""The classes of each child of a node."""

_STRICT = {"extra": "forbid", "strict": True, "allow_inf_nan": False}


@dataclass(frozen=True, kw_only=True)
class NodeNetwork:
    """What it takes to build a node's network.

    Attributes:
        backbone: A key of `trunk.nodes.BACKBONES`.
        layers: Which of the backbone's layer lists.
        input_shape: C, H, W: of an image at the root, else of the parent's feature map.
        outputs: How many children, or classes, the network tells apart.
    """

    __pydantic_config__ = _STRICT

    backbone: str
    layers: str
    input_shape: tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)], Annotated[int, Ge(1)]]
    outputs: Annotated[int, Ge(2)]


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node with a network.

    Attributes:
        path: Where it is in the tree.
        groups: The classes of each child, ascending; a child of one class is a leaf.
        network: What chooses among the children.
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
        """The path in a form fit for file names, state dicts and messages: root, 0-3."""
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
        paths = [node.path for node in self.nodes]
        if not paths or paths[0] != () or paths != sorted(set(paths)):
            raise RequestError("not a tree: the nodes are not the root and others, in order")
        if self.root.classes != tuple(range(self.num_classes)):
            raise RequestError(
                f"not a tree: the root's {self.num_classes} classes are not 0 to "
                f"{self.num_classes - 1}, each once"
            )
        for node in self.nodes:
            _check_node(node)
            _check_place(self, node)

    @property
    def root(self) -> Node:
        """The node that sees the image."""
        return self.nodes[0]

    @property
    def num_classes(self) -> int:
        """How many classes the whole tree tells apart."""
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


def check_classes(tree: Tree, num_classes: int, where: str) -> None:
    """Make sure that a tree is for data of this many classes.

    Args:
        tree: The tree.
        num_classes: Classes of the data.
        where: The file that the tree is from.

    Raises:
        RequestError: It is for another number.
    """
    if tree.num_classes != num_classes:
        raise RequestError(
            f"{where}: a tree of {tree.num_classes} classes, the data has {num_classes}"
        )


def tree_to_json(tree: Tree) -> dict[str, Any]:
    """Return a tree as JSON holds it."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(tree)))
    return plain


def tree_from_json(plain: object) -> Tree:
    """Return the tree that `tree_to_json` turned into `plain`.

    Raises:
        RequestError: It is no tree.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        # As text, because lists stand for tuples in JSON only.
        return TypeAdapter(Tree).validate_json(json.dumps(plain))
    except ValidationError as error:
        raise RequestError(f"not a tree: {describe_mistake(error)}") from error


def describe_mistake(error: ValidationError) -> str:
    """Return one line on the first thing that is wrong with a file's layout, and where it is."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]


def _check_node(node: Node) -> None:
    """Check what a node says of itself."""
    ascending = [tuple(sorted(set(group))) for group in node.groups]
    if list(node.groups) != ascending or len(set(node.classes)) != len(node.classes):
        raise RequestError(
            f"not a tree: node {node.name}: its groups are not ascending lists that share no class"
        )
    if not all(node.groups) or len(node.groups) < 2:
        raise RequestError(
            f"not a tree: node {node.name}: it needs two or more groups, and none empty"
        )
    if node.network.outputs != len(node.groups):
        raise RequestError(
            f"not a tree: node {node.name}: its network has {node.network.outputs} outputs for "
            f"{len(node.groups)} children"
        )
    sides = {len(node.classes)}
    if node.likelihood is not None and {len(node.likelihood), *map(len, node.likelihood)} != sides:
        raise RequestError(
            f"not a tree: node {node.name}: its likelihood is not a matrix of "
            f"{len(node.classes)}×{len(node.classes)}"
        )


def _check_place(tree: Tree, node: Node) -> None:
    """Check a node against its parent's groups, and its own groups against its child nodes."""
    if node.path:
        parent = tree.by_path.get(node.path[:-1])
        index = node.path[-1]
        if parent is None or not 0 <= index < len(parent.groups):
            raise RequestError(f"not a tree: node {node.name}: it has no parent")
        if parent.groups[index] != node.classes:
            raise RequestError(
                f"not a tree: node {node.name}: its classes {list(node.classes)} are not the "
                f"{list(parent.groups[index])} that its parent gives it"
            )
    for index, group in enumerate(node.groups):
        path = (*node.path, index)
        if len(group) > 1 and path not in tree.by_path:
            raise RequestError(
                f"not a tree: there is no node {node_name(path)} for classes {list(group)}"
            )
