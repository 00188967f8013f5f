"""Growing a tree: train each node, group the classes it confuses, train it anew, and descend.

The method is that of A. Goel et al., IEEE Design & Test 40(3), 2023, doi
10.1109/MDAT.2022.3217016, and the published code. What `TreeSettings` adds to it is ours;
docs/trunk.md gives the gain of each part.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Literal

import torch
from annotated_types import Len
from torch import Tensor, nn

from harness.data.batches import count_steps, too_few_images
from harness.data.splits import join_splits
from harness.errors import RequestError
from harness.records.parts import Share
from harness.settings_spec import TrainingSettings, TreeSettings
from harness.training.stages import Fitting
from trunk.features import NodeInputs, softmax_of
from trunk.grouping import averaged_softmax, child_groups
from trunk.joint import check_joint, start_from_teacher, train_jointly, train_teacher
from trunk.nodes import Logits, NodeModule, build_node, feature_shape
from trunk.routing import Trunk
from trunk.tree import Groups, Node, NodeNetwork, NodePath, Tree, node_name
from trunk.true_path import Branches, along_true_paths, child_of_class

logger = logging.getLogger(__name__)

_Stage = Literal["classes", "groups"]


@dataclass(frozen=True, kw_only=True)
class _Grown:
    """A trained node; `leaves` tells its classes apart, from before they were grouped."""

    node: Node
    network: NodeModule
    leaves: NodeModule


def grow(fitting: Fitting) -> Trunk:
    """Return a tree grown on training images, in evaluation mode on the CPU.

    An interrupted run continues at the node and epoch that it had reached.

    Raises:
        RequestError: The settings do not fit the images.
        CellError: Training broke.
    """
    return _Grower(fitting, fitting.settings.tree or TreeSettings()).grow()


class _Grower:
    def __init__(self, fitting: Fitting, settings: TreeSettings) -> None:
        if settings.fold and not settings.held_out:
            raise RequestError(
                "tree.fold compares on held-out images: tree.held_out must be above 0"
            )
        check_joint(fitting, settings)
        train, val = fitting.split, fitting.val if settings.held_out else None
        if val is not None:
            seen = val.labels.bincount(minlength=fitting.num_classes)
            if not seen.all():
                raise RequestError(
                    f"no validation image of class {int(seen.argmin())}; --set tree.held_out=0 "
                    "groups by the training images"
                )
            fitting = replace(fitting, split=join_splits(train, val))
        self.fitting, self.settings = fitting, settings
        self.labels = fitting.split.labels
        self.held_out = choose_held_out(train.labels, settings.held_out, fitting.settings.seed)
        self.trained = torch.ones_like(self.labels, dtype=torch.bool)
        if val is not None:
            self.trained[len(train) :] = False
            self.held_out = ~self.trained
        self.grown: dict[NodePath, _Grown] = {}
        self.teacher: NodeModule | None = None
        self._check_images()

    def _check_images(self) -> None:
        """Refuse images of which a node that can come about has too few to learn or to group."""
        classes, share = self.fitting.num_classes, self.settings.held_out
        images = self.labels.bincount(minlength=classes)
        held_out = self.labels[self.held_out].bincount(minlength=classes)
        for label, (total, kept_back) in enumerate(zip(images, held_out, strict=True)):
            if total <= kept_back or (share and not kept_back):
                raise RequestError(
                    f"setting tree.held_out: class {label} has {int(total)} training images, of "
                    f"which {share:g} is {int(kept_back)}: a tree needs images of every class to "
                    f"train on{' and to hold out; 0 holds out none' if share else ''}"
                )
        fewest = int((images - held_out).sort().values[:2].sum())
        everything = int((images - held_out).sum())
        nodes: list[tuple[str, NodePath, int]] = [("the root", (), everything)]
        if classes > 2:
            nodes.append(("a node of the two smallest classes", (0,), fewest))
        stages: tuple[_Stage, ...] = ("classes", "groups")
        for stage, (name, path, count) in itertools.product(stages, nodes):
            recipe = self._recipe(stage, path)
            if count_steps(count, recipe)[0] < 1:
                raise RequestError(f"{name}: {too_few_images(count, recipe)}")

    def grow(self) -> Trunk:
        """Grow all nodes, fold those that do not pay, and train the tree jointly."""
        labels = self.labels.where(self.trained, -1)
        self.teacher = train_teacher(self.fitting, self.settings, labels)
        waiting: deque[tuple[NodePath, tuple[int, ...]]] = deque()
        waiting.append(((), tuple(range(self.fitting.num_classes))))
        while waiting:
            path, classes = waiting.popleft()
            self.grown[path] = grown = self._grow_node(path, classes)
            groups = enumerate(grown.node.groups)
            waiting += [((*path, index), group) for index, group in groups if len(group) > 1]
        if self.settings.fold:
            self._fold()
        trunk = self._assemble()
        if (joint := self.settings.joint) is not None:
            train_jointly(self.fitting, self.settings, joint, trunk, labels, self.teacher)
        return trunk.eval()

    def _grow_node(self, path: NodePath, classes: tuple[int, ...]) -> _Grown:
        name, recipe = node_name(path), self._recipe("classes", path)
        inputs = self._inputs(path, self._rows(classes, held_out=False), recipe)
        single = _single(classes)
        leaves = self._train_node(f"{name}.classes", path, single, inputs, recipe)
        volatility = self.settings.volatility
        if not path and self.settings.root_volatility is not None:
            volatility = self.settings.root_volatility
        likelihood = self.fitting.stages.compute(
            f"{name}.likelihood",
            lambda: self._likelihood(leaves, inputs, classes).tolist(),
            _square(len(classes)),
        )
        numbered = child_groups(torch.tensor(likelihood, dtype=torch.float64), volatility)
        groups = tuple(tuple(classes[index] for index in group) for group in numbered)
        network = leaves
        if groups != single:
            recipe = self._recipe("groups", path)
            start = leaves if self.settings.warm_start else None
            network = self._train_node(f"{name}.groups", path, groups, inputs, recipe, start)
        logger.info("%s: %d classes, groups %s", name, len(classes), groups)
        node = Node(
            path=path,
            groups=groups,
            network=self._describe_network(path, len(groups)),
            likelihood=tuple(map(tuple, likelihood)),
            volatility=volatility,
        )
        return _Grown(node=node, network=network, leaves=leaves)

    def _train_node(
        self,
        stage: str,
        path: NodePath,
        groups: Groups,
        inputs: NodeInputs,
        recipe: TrainingSettings,
        start: NodeModule | None = None,
    ) -> NodeModule:
        """Return the network of a node, trained in a stage to tell groups of classes apart.

        Its weights start at random or from the teacher; features with the same shapes start as
        those of `start`.
        """
        self.fitting.seed_all(stage)
        network = build_node(self._describe_network(path, len(groups)))
        set_dropout(network, self.settings.dropout)
        if self.settings.start_from_teacher and self.teacher is not None:
            start_from_teacher(self.teacher, network, path, groups)
        if start is not None and _shapes(start.features) == _shapes(network.features):
            network.features.load_state_dict(start.features.state_dict())
        targets = child_of_class(groups)[self.labels[inputs.rows]]
        batches = inputs.batches(recipe, targets)
        self.fitting.stages.train(stage, Logits(network), batches, recipe)
        return network

    def _likelihood(
        self, network: NodeModule, inputs: NodeInputs, classes: tuple[int, ...]
    ) -> Tensor:
        rows = self._rows(classes, held_out=True) if self.settings.held_out else inputs.rows
        within = child_of_class(_single(classes))[self.labels[rows]]
        return averaged_softmax(softmax_of(Logits(network), inputs, rows), within)

    def _fold(self) -> None:
        """Replace the nodes that are no better than leaves by leaves, the deepest first."""
        for path in sorted(self.grown, key=len, reverse=True):
            grown = self.grown.get(path)
            if not path or grown is None or grown.network is grown.leaves:
                continue
            routed, flat = self.fitting.stages.compute(
                f"{grown.node.name}.fold",
                partial(self._compare_with_leaves, grown),
                tuple[Share, Share],
            )
            logger.info("%s: held out, routed %.4f, as leaves %.4f", grown.node.name, routed, flat)
            if flat >= routed:
                for below in [at for at in self.grown if at[: len(path)] == path]:
                    del self.grown[below]
                groups = _single(grown.node.classes)
                network = self._describe_network(path, len(groups))
                node = replace(grown.node, groups=groups, network=network, volatility=None)
                self.grown[path] = replace(grown, node=node, network=grown.leaves)

    def _compare_with_leaves(self, grown: _Grown) -> tuple[float, float]:
        """Return the held-out accuracy of a node with all below it, and of leaves instead."""
        path = grown.node.path
        rows = self._rows(grown.node.classes, held_out=True)
        inputs = self._inputs(path, rows, self._recipe("classes", path))
        branches = {at: (found.node.groups, found.network) for at, found in self.grown.items()}
        leaves = {path: (_single(grown.node.classes), grown.leaves)}
        maps = torch.cat(list(inputs.plain(rows))).float()
        labels = self.labels[rows].to(maps.device)
        return _accuracy(branches, path, maps, labels), _accuracy(leaves, path, maps, labels)

    def _assemble(self) -> Trunk:
        """Return the tree with copies of the networks."""
        paths = sorted(self.grown)
        trunk = Trunk(Tree(nodes=tuple(self.grown[path].node for path in paths)))
        set_dropout(trunk, self.settings.dropout)
        for path, network in zip(paths, trunk.networks.values(), strict=True):
            network.load_state_dict(self.grown[path].network.state_dict())
        return trunk

    def _inputs(self, path: NodePath, rows: Tensor, recipe: TrainingSettings) -> NodeInputs:
        above = [self.grown[path[:depth]].network for depth in range(len(path))]
        return NodeInputs(self.fitting, above, rows, recipe, self.settings.feature_views)

    def _rows(self, classes: tuple[int, ...], *, held_out: bool) -> Tensor:
        """Return the rows of some classes among the held-out images, or among the others."""
        wanted = torch.isin(self.labels, torch.tensor(classes)) & (self.held_out == held_out)
        return wanted.nonzero()[:, 0]

    def _recipe(self, stage: _Stage, path: NodePath) -> TrainingSettings:
        settings, at_root = self.settings, self.fitting.settings.training
        if stage == "classes":
            return at_root if not path else settings.class_below or at_root
        return settings.grouping if not path else settings.grouping_below or settings.grouping

    def _describe_network(self, path: NodePath, outputs: int) -> NodeNetwork:
        if path:
            shape = feature_shape(self.grown[path[:-1]].node.network)
            layers = self.settings.layers_by_outputs.get(outputs, "other")
        else:
            size = self.fitting.preprocess.image_size
            shape, layers = (self.fitting.channels, size, size), self.settings.root_layers
        return NodeNetwork(
            backbone=self.settings.backbone, layers=layers, input_shape=shape, outputs=outputs
        )


def set_dropout(network: nn.Module, probability: float | None) -> None:
    """Set the probability of every channel dropout; None leaves it as the backbone says."""
    for module in network.modules():
        if isinstance(module, nn.Dropout2d) and probability is not None:
            module.p = probability


def choose_held_out(labels: Tensor, share: float, seed: int) -> Tensor:
    """Return which of N training images to hold out, drawn at random, as booleans.

    The share of the images of each class is rounded down.
    """
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for label in labels.bincount().nonzero()[:, 0]:
        members = (labels == label).nonzero()[:, 0]
        order = torch.randperm(len(members), generator=generator)
        held_out[members[order[: int(share * len(members))]]] = True
    return held_out


def _accuracy(branches: Branches, start: NodePath, maps: Tensor, labels: Tensor) -> float:
    """Return the share of images that get from a node to their own leaf."""
    for _, network in branches.values():
        network.to(maps.device).eval()
    right = torch.ones_like(labels, dtype=torch.bool)
    with torch.no_grad():
        for rows, logits, targets, _ in along_true_paths(branches, start, maps, labels):
            right[rows] &= logits.argmax(1) == targets
    return right.double().mean().item()


def _square(size: int) -> object:
    """Return the type of a matrix of shares, as JSON holds it."""
    return Annotated[list[Annotated[list[Share], Len(size, size)]], Len(size, size)]


def _single(classes: tuple[int, ...]) -> Groups:
    return tuple((label,) for label in classes)


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in network.state_dict().items()}
