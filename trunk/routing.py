"""The tree as one network: all of it for training, one path an image for inference."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn

from harness.errors import RequestError
from harness.measure.torchscript import trace
from harness.spec import NetworkPath
from trunk.beam import Beam, Search, search
from trunk.nodes import NodeModule, build_node, feature_shape, fold_batch_norm
from trunk.tree import Groups, Node, NodePath, Tree, node_name


class Trunk(nn.Module):
    """The networks of a tree by `Node.name`, in the order of `tree.nodes`.

    `forward` runs every node on every image; `route` runs, for each image, the nodes on its path
    alone, or on the few best paths that `beam` allows. They are different classifiers: a walk of
    best choices need not end in the leaf that is the most likely of all.
    """

    leaves: Tensor
    beam = Beam()

    def __init__(self, tree: Tree) -> None:
        """Build the networks of a tree with random weights.

        Raises:
            RequestError: A node's input is not its parent's feature map, or as `build_node`.
        """
        super().__init__()
        for node in tree.nodes[1:]:
            wanted = feature_shape(tree.by_path[node.path[:-1]].network)
            if node.network.input_shape != wanted:
                raise RequestError(
                    f"node {node.name}: its network takes maps of {node.network.input_shape}, its "
                    f"parent's are {wanted}"
                )
        self.tree = tree
        self.networks = nn.ModuleDict({node.name: build_node(node.network) for node in tree.nodes})
        position = {node.path: index for index, node in enumerate(tree.nodes)}
        # By node and choice: the index of the next node, or -1 - class at a leaf.
        self._steps = [
            [position[c.path] if isinstance(c, Node) else -1 - c for c in tree.children(node)]
            for node in tree.nodes
        ]
        width = max(map(len, self._steps))
        classes = [
            [-1 - step for step in steps + [0] * (width - len(steps))] for steps in self._steps
        ]
        # By node and choice: the class at a leaf, a negative number at a node.
        self.register_buffer("leaves", torch.tensor(classes), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the log-probabilities N×classes of images N×C×H×W.

        That of a class is the sum of the log-probabilities of the choices along its path.
        """
        inputs, base = {0: images}, {0: images.new_zeros(len(images), dtype=torch.float32)}
        columns = [base[0]] * self.tree.num_classes
        for index, network in enumerate(self.networks.values()):
            maps, logits = network(inputs.pop(index))
            scores = base.pop(index)[:, None] + logits.float().log_softmax(1)
            for step, score in zip(self._steps[index], scores.unbind(1), strict=True):
                if step < 0:
                    columns[-1 - step] = score
                else:
                    inputs[step], base[step] = maps, score
        return torch.stack(columns, dim=1)

    @torch.inference_mode()
    def route(self, images: Tensor) -> Tensor:
        """Return the class N that each of N×C×H×W images reaches by a walk of best choices.

        Every node sees only the images that reach it. The network must be in evaluation mode. Where
        the beam is of several paths, the class is that of the most likely leaf of those reached.
        """
        if self.beam.paths > 1:
            return self.follow(images)[0]
        if len(images) == 1:
            return torch.tensor([self._walk(images)], device=images.device)
        networks = tuple(self.networks.values())
        classes = torch.empty(len(images), dtype=torch.int64, device=images.device)
        waiting = [(0, images, torch.arange(len(images), device=images.device))]
        while waiting:
            index, inputs, rows = waiting.pop()
            maps, logits = networks[index](inputs)
            choices, steps = logits.argmax(1), self._steps[index]
            # Rows that continue to a child node get their class there.
            classes[rows] = self.leaves[index, choices]
            counts = choices.bincount(minlength=len(steps)).tolist()
            for step, chosen in zip(steps, choices.argsort(stable=True).split(counts), strict=True):
                if step >= 0 and len(chosen):
                    waiting.append((step, maps[chosen], rows[chosen]))
        return classes

    @torch.inference_mode()
    def follow(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the classes of `route`, and which nodes each image ran, bool N×nodes."""
        return search(tuple(self.networks.values()), self._steps, self.beam, images)

    @property
    def beam_words(self) -> str:
        """How many paths an image follows, and when; empty where it follows one."""
        return str(self.beam) if self.beam.paths > 1 else ""

    @torch.inference_mode()
    def search(self, images: Tensor) -> Search:
        """Return the search that `follow` is done by, which has its narrower ones as well."""
        return Search(tuple(self.networks.values()), self._steps, self.beam, images)

    def with_beam(self, paths: int, threshold: float) -> Trunk:
        """Return a network of the same nodes that follows up to so many paths; see `Beam`."""
        other = copy.copy(self)
        other.beam = Beam(paths=paths, threshold=threshold)
        return other

    def branches(self) -> dict[NodePath, tuple[Groups, NodeModule]]:
        """Return the classes of each child and the network of every node, by path."""
        pairs = zip(self.tree.nodes, self.networks.values(), strict=True)
        return {node.path: (node.groups, cast("NodeModule", network)) for node, network in pairs}

    def paths(self) -> tuple[NetworkPath, ...]:
        """Return the path to each node that has leaves, named after the node, with those leaves."""
        found = (self.find_path(node.name) for node in self.tree.nodes)
        return tuple(path for path in found if path is not None)

    def find_path(self, name: str) -> NetworkPath | None:
        """Return the paths to nodes with leaves, 0-3 or 0-3+1, as one; None where there are none.

        The nodes that they share are in it once, and the classes are the leaves of the nodes at
        their ends.
        """
        by_name = {node.name: node for node in self.tree.nodes}
        ends = [by_name[end] for end in name.split("+") if end in by_name]
        leaves = [self._leaves(end) for end in ends]
        if len(ends) < name.count("+") + 1 or not all(leaves):
            return None
        on_path = {end.path[:depth] for end in ends for depth in range(len(end.path) + 1)}
        nodes = [node for node in self.tree.nodes if node.path in on_path]
        network = Branches({node.path: self.networks[node.name] for node in nodes})
        return NetworkPath(name=name, classes=tuple(chain(*leaves)), network=network)

    def name_paths(self, images: Tensor) -> list[str]:
        """Return the name of the paths, as of `find_path`, that each image takes."""
        _, ran = self.follow(images)
        kinds, which = torch.unique(ran, dim=0, return_inverse=True)
        names = [self._name_ends(kind.nonzero()[:, 0].tolist()) for kind in kinds]
        return [names[index] for index in which.tolist()]

    def decisions(self) -> tuple[tuple[nn.Module, tuple[int, ...]], ...]:
        """Return every node's network, the root first, and what follows each choice.

        That is the index of the next node, or -1 - class at a leaf.
        """
        steps = map(tuple, self._steps)
        return tuple(zip(self.networks.values(), steps, strict=True))

    def prepare_for_inference(self) -> Trunk:
        """Return a copy for evaluation: batch norm folded into convolutions, channels last."""
        prepared = copy.deepcopy(self).eval().requires_grad_(False)
        fold_batch_norm(prepared)
        return prepared.to(memory_format=torch.channels_last)

    def prepare_for_single_images(self) -> Trunk:
        """Return a copy, compiled within seconds, for one fp32 image at a time on this CPU.

        Batches give the same classes, but are slow: each new shape is compiled anew.
        """
        prepared = self.prepare_for_inference()
        maps: dict[NodePath, Tensor] = {}
        for node in prepared.tree.nodes:
            example = (
                maps[node.path[:-1]] if node.path else torch.zeros(1, *node.network.input_shape)
            )
            network = prepared.networks[node.name]
            maps[node.path], _ = network(example)
            prepared.networks[node.name] = trace(network, example)
        return prepared

    def _leaves(self, node: Node) -> tuple[int, ...]:
        return tuple(child for child in self.tree.children(node) if isinstance(child, int))

    def _name_ends(self, indices: Sequence[int]) -> str:
        """Return the names of the lowest of some nodes, which include all nodes above them."""
        paths = [self.tree.nodes[index].path for index in indices]
        above = {path[:-1] for path in paths if path}
        return "+".join(node_name(path) for path in paths if path not in above)

    def _walk(self, inputs: Tensor) -> int:
        """Return the class of a single image 1×C×H×W."""
        networks, index = tuple(self.networks.values()), 0
        while index >= 0:
            inputs, logits = networks[index](inputs)
            index = self._steps[index][int(logits.argmax())]
        return -1 - index


class Branches(nn.Sequential):
    """The networks of the root and of other nodes, each below another one of them."""

    def __init__(self, networks: Mapping[NodePath, nn.Module]) -> None:
        super().__init__(*networks.values())
        self.paths = tuple(networks)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of the last network; the others compute theirs too, as in routing."""
        logits, waiting = inputs, dict[NodePath, Tensor]({(): inputs})
        for path, network in zip(self.paths, self, strict=True):
            maps, logits = network(waiting.pop(path))
            waiting |= {below: maps for below in self.paths if below and below[:-1] == path}
        return logits
