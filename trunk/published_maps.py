"""The maps beside the published node files, which say where in the tree each file belongs.

The published code numbered the node files in the order in which it made the nodes. The tree
itself is in target_map.json, which gives each class its child index at every depth, and
inputs_to_models.json lists the names of all nodes, leaves included, depth first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import StringConstraints, TypeAdapter, ValidationError

from harness.errors import RequestError
from harness.records.store import explain_validation
from harness.util.files import regular_file
from trunk.nodes import Shape
from trunk.tree import Groups, NodePath, node_name

_Name = Annotated[str, StringConstraints(pattern=r"^\w+$")]
_LABEL_LISTS: TypeAdapter[dict[str, list[int]]] = TypeAdapter(dict[str, list[int]])
_INPUTS: TypeAdapter[dict[str, tuple[list[int], int]]] = TypeAdapter(
    dict[_Name, tuple[list[int], int]]
)


@dataclass(frozen=True, kw_only=True)
class MappedNode:
    """The content of the maps for one node; `file` is the stem of the names of its files."""

    path: NodePath
    file: str
    groups: Groups
    input_shape: Shape
    likelihood: tuple[tuple[float, ...], ...]


def read_maps(folder: Path) -> tuple[MappedNode, ...]:
    """Return the nodes with a network, depth first, from the maps in a published tree's folder.

    Raises:
        RequestError: A map is missing, is no tree, or contradicts another, or a node file is
            missing or foreign.
    """
    if not folder.is_dir():
        raise RequestError(
            f"{folder}: no such folder; a published tree lies in <dataset>/<backbone>/<volatility>"
        )
    leaf_paths = _read_leaf_paths(folder / "target_map.json")
    try:
        groups = _split(leaf_paths, ())
    except RequestError as error:
        raise RequestError(f"{folder / 'target_map.json'}: not a tree: {error}") from error
    named = _match_names(folder / "model_weights" / "inputs_to_models.json", groups)
    _check_files(folder / "model_weights", {name for name, _ in named.values()})
    return tuple(_read_node(folder, path, groups[path], *named[path]) for path in groups)


def _read_leaf_paths(file: Path) -> dict[int, NodePath]:
    """Return the path of each class's leaf; -1 fills the lists of the shallower leaves."""
    lists = _read_json(file, _LABEL_LISTS)
    labels = [str(label) for label in range(len(lists))]
    if sorted(lists) != sorted(labels):
        raise RequestError(f"{file}: its {len(lists)} classes are not 0 to {len(lists) - 1}")
    paths = {}
    for label in labels:
        path = tuple(index for index in lists[label] if index != -1)
        if lists[label][: len(path)] != list(path):
            raise RequestError(f"{file}: class {label}: -1 inside its path {lists[label]}")
        paths[int(label)] = path
    return paths


def _split(leaf_paths: Mapping[int, NodePath], at: NodePath) -> dict[NodePath, Groups]:
    """Return the groups of the node at a path and of all below it, depth first."""
    depth = len(at)
    members: dict[int, list[int]] = {}
    for label, path in leaf_paths.items():
        if len(path) == depth:
            raise RequestError(
                f"the leaf of class {label} is node {node_name(at)}, which has other classes too"
            )
        members.setdefault(path[depth], []).append(label)
    if sorted(members) != list(range(len(members))) or len(members) < 2:
        raise RequestError(
            f"the children of node {node_name(at)} are {sorted(members)}, not 0, 1 and so on"
        )
    groups = tuple(tuple(members[index]) for index in range(len(members)))
    nodes = {at: groups}
    for index, group in enumerate(groups):
        if len(group) > 1:
            nodes |= _split({label: leaf_paths[label] for label in group}, (*at, index))
        elif len(leaf_paths[group[0]]) > depth + 1:
            raise RequestError(f"class {group[0]} goes on below its leaf")
    return nodes


def _match_names(
    file: Path, groups: Mapping[NodePath, Groups]
) -> dict[NodePath, tuple[str, Shape]]:
    """Return the file stem and input shape of each node with a network."""
    entries = _read_json(file, _INPUTS)
    outputs = {(*path, index): 1 for path in groups for index in range(len(groups[path]))}
    outputs |= {path: len(children) for path, children in groups.items()}
    if len(entries) != len(outputs):
        raise RequestError(
            f"{file}: {len(entries)} nodes and leaves, target_map.json has {len(outputs)}"
        )
    named = {}
    for path, (name, (shape, count)) in zip(sorted(outputs), entries.items(), strict=True):
        if count != outputs[path]:
            raise RequestError(
                f"{file}: {name} has {count} outputs, target_map.json gives {node_name(path)} "
                f"{outputs[path]}"
            )
        if path in groups:
            if len(shape) != 3 or min(shape) < 1:
                raise RequestError(f"{file}: {name}: {shape} is no input shape C, H, W")
            named[path] = name, (shape[0], shape[1], shape[2])
    return named


def _check_files(folder: Path, names: set[str]) -> None:
    there = {file.stem for file in folder.glob("*.pt")}
    if missing := names - there:
        raise RequestError(f"{folder / min(missing)}.pt: missing; inputs_to_models.json has it")
    if foreign := there - names:
        reason = "foreign: inputs_to_models.json does not have it"
        raise RequestError(f"{folder / min(foreign)}.pt: {reason}")


def _read_node(
    folder: Path, path: NodePath, groups: Groups, name: str, input_shape: Shape
) -> MappedNode:
    classes = sorted(label for group in groups for label in group)
    file = folder / f"{name}_supergroups.json"
    # The files of a node count its classes anew, from 0.
    here = [[classes.index(label) for label in group] for group in groups]
    if list(_read_json(file, _LABEL_LISTS).values()) != here:
        raise RequestError(f"{file}: its groups are not those of target_map.json, {here}")
    matrix = folder / "model_softmax" / f"{name}_avg_softmax.pt"
    return MappedNode(
        path=path,
        file=name,
        groups=groups,
        input_shape=input_shape,
        likelihood=_read_matrix(matrix, len(classes)),
    )


def _read_matrix(file: Path, size: int) -> tuple[tuple[float, ...], ...]:
    try:
        matrix = torch.load(regular_file(file), map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0][:120]
        raise RequestError(f"{file}: not a readable matrix: {reason}") from error
    if not isinstance(matrix, torch.Tensor) or matrix.shape != (size, size):
        raise RequestError(f"{file}: not a matrix of {size}×{size}")
    return tuple(map(tuple, matrix.double().tolist()))


def _read_json(file: Path, layout: TypeAdapter[Any]) -> Any:
    try:
        return layout.validate_json(regular_file(file).read_bytes(), strict=True)
    except OSError as error:
        raise RequestError(f"{file}: not readable: {error.strerror}") from error
    except ValidationError as error:
        raise RequestError(f"{file}: {explain_validation(error)}") from error
