"""Search along several paths of a tree, for the most likely of the leaves that they end in.

An image first walks to a leaf by best choices. As long as it may follow another path, it returns to
the most likely choice that it has not followed, and walks on from there by best choices. It stops
where that choice is less likely than the best leaf so far, because so are all leaves below it. No
node runs twice on an image. With as many paths as the tree has nodes, the leaf is the most likely
one of the whole tree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from heapq import heappop, heappush

import torch
from torch import Tensor

Networks = Sequence[Callable[[Tensor], tuple[Tensor, Tensor]]]
"""What maps inputs to the inputs of child nodes and to logits N×choices, by node."""

Steps = Sequence[Sequence[int]]
"""By node and choice: the index of the next node, or -1 - class at a leaf."""


@dataclass(frozen=True, kw_only=True)
class Beam:
    """How many paths of a tree an image may follow, and when.

    Attributes:
        paths: The largest number of paths.
        threshold: The least probability, from the root on, of a choice with which a path after the
            first one begins.
    """

    paths: int = 1
    threshold: float = 0.0

    def __str__(self) -> str:
        least = f", the others from probability {self.threshold:g} on" if self.threshold else ""
        return f"up to {self.paths} paths{least}"

    @cached_property
    def lowest(self) -> float:
        """The logarithm of the threshold, which fp32 can represent."""
        return torch.tensor(self.threshold).log().item()


def search(networks: Networks, steps: Steps, beam: Beam, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the class, int64 N, of images N×C×H×W, and which nodes each ran, bool N×nodes.

    The networks are those of the nodes, in evaluation mode.
    """
    if len(images) == 1:
        label, nodes = _search_one(networks, steps, beam, images)
        ran = torch.zeros(1, len(networks), dtype=torch.bool, device=images.device)
        ran[0, nodes] = True
        return torch.tensor([label], device=images.device), ran
    found = Search(networks, steps, beam, images)
    return found.labels, found.ran


def _search_one(
    networks: Networks, steps: Steps, beam: Beam, image: Tensor
) -> tuple[int, list[int]]:
    """Return the class of one image 1×C×H×W, and the indices of the nodes that it ran."""
    best, label, ran = -math.inf, -1, list[int]()
    # Ordered by likelihood, then as the columns of `Search`.
    waiting = [(0.0, 0, image)]
    for _ in range(beam.paths):
        if not waiting:
            break
        cost, column, inputs = heappop(waiting)
        score = -cost
        if ran and not (score > best and score >= beam.lowest):
            break
        while column < len(networks):
            ran.append(column)
            columns = _columns(steps, column)
            inputs, logits = networks[column](inputs)
            scores = (logits.float().log_softmax(1)[0] + score).tolist()
            choice = int(logits.argmax())
            for other, (likelihood, place) in enumerate(zip(scores, columns, strict=True)):
                if other != choice:
                    heappush(waiting, (-likelihood, place, inputs))
            column, score = columns[choice], scores[choice]
        if label < 0 or score > best:
            best, label = score, column - len(networks)
    return label, ran


class Search:
    """The search of a batch of N images, which is done when it is made.

    A choice has a column: the index of the next node, or at a leaf the number of nodes plus its
    class. Log-probabilities are summed from the root on.

    Attributes:
        at: Column N that each image is at.
        scores: Log-probability N of that column.
        waiting: Log-probability N×columns of the choices that can still be followed, else -inf.
        best: Log-probability N of the best leaf so far, whose class is in `labels`.
        ended: Number N of paths that ended.
        ran: Which nodes ran, N×nodes.
        logits: By node, the images that it ran on, and their logits, in the same order.
    """

    def __init__(self, networks: Networks, steps: Steps, beam: Beam, images: Tensor) -> None:
        count, device, nodes = len(images), images.device, len(networks)
        self.networks, self.steps, self.beam = networks, steps, beam
        self.columns = [torch.tensor(_columns(steps, k), device=device) for k in range(nodes)]
        self.parents = {step: k for k, row in enumerate(steps) for step in row if step >= 0}
        width = 1 + max(int(columns.max()) for columns in self.columns)
        self.waiting = torch.full((count, width), -math.inf, device=device)
        self.best = torch.full((count,), -math.inf, device=device)
        self.scores = torch.zeros(count, device=device)
        self.at, self.labels, self.ended = torch.zeros(
            3, count, dtype=torch.int64, device=device
        ).unbind()
        self.ran = torch.zeros(count, nodes, dtype=torch.bool, device=device)
        self.images = images
        # By node with child nodes: its maps, and the place of each image's map among them.
        self.maps: dict[int, Tensor] = {}
        self.places: dict[int, Tensor] = {}
        self.logits: dict[int, list[tuple[Tensor, Tensor]]] = {}
        rows = torch.arange(count, device=device)
        while len(rows):
            self._run_nodes(rows)
            rows = self._end_paths(rows)

    def narrowed(self, beam: Beam) -> Search:
        """Return a search of the same images with fewer paths or a higher threshold.

        It takes the logits from this one, and runs no node.
        """
        known = [partial(self._known, node) for node in range(len(self.steps))]
        indices = torch.arange(len(self.at), device=self.at.device)
        return Search(known, self.steps, beam, indices)

    def _known(self, node: int, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the indices of images on which a node ran, and its logits."""
        rows, logits = map(torch.cat, zip(*self.logits[node], strict=True))
        places = torch.empty_like(self.at)
        places[rows] = torch.arange(len(rows), device=rows.device)
        return indices, logits[places[indices]]

    def _run_nodes(self, rows: Tensor) -> None:
        """Run the nodes that some images are at, and let each image go on to the best choice."""
        at = self.at[rows]
        counts = at.bincount(minlength=len(self.networks)).tolist()
        for node, group in enumerate(torch.split(rows[at.argsort(stable=True)], counts)):
            if len(group):
                maps, logits = self.networks[node](self._inputs(node, group))
                self._keep(node, group, maps)
                self.ran[group, node] = True
                self.logits.setdefault(node, []).append((group, logits))
                scores = logits.float().log_softmax(1) + self.scores[group, None]
                columns, choices = self.columns[node], logits.argmax(1)
                self.waiting[group[:, None], columns] = scores
                self._follow(group, columns[choices], scores.gather(1, choices[:, None])[:, 0])

    def _end_paths(self, rows: Tensor) -> Tensor:
        """Note the leaves that some images are at, begin further paths; return who is at a node."""
        at_leaf = self.at[rows] >= len(self.networks)
        going, rows = [rows[~at_leaf]], rows[at_leaf]
        while len(rows):
            scores = self.scores[rows]
            better = rows[(self.ended[rows] == 0) | (scores > self.best[rows])]
            self.best[better] = self.scores[better]
            self.labels[better] = self.at[better] - len(self.networks)
            self.ended[rows] += 1
            scores, columns = self.waiting[rows].max(1)
            more = (self.ended[rows] < self.beam.paths) & (scores > self.best[rows])
            more &= scores >= self.beam.lowest
            rows = rows[more]
            self._follow(rows, columns[more], scores[more])
            at_leaf = self.at[rows] >= len(self.networks)
            going.append(rows[~at_leaf])
            rows = rows[at_leaf]
        return torch.cat(going)

    def _follow(self, rows: Tensor, columns: Tensor, scores: Tensor) -> None:
        self.at[rows], self.scores[rows] = columns, scores
        self.waiting[rows, columns] = -math.inf

    def _inputs(self, node: int, rows: Tensor) -> Tensor:
        # All images are at the root at first, in their order, and never again.
        if node == 0:
            return self.images
        parent = self.parents[node]
        return self.maps[parent][self.places[parent][rows]]

    def _keep(self, node: int, rows: Tensor, maps: Tensor) -> None:
        """Keep the maps of a node for its child nodes, behind those of other images."""
        if node not in self.parents.values():
            return
        before = self.maps.get(node)
        places = torch.arange(len(rows), device=rows.device)
        if before is None:
            self.maps[node], self.places[node] = maps, torch.zeros_like(self.at)
        else:
            self.maps[node] = torch.cat([before, maps])
            places += len(before)
        self.places[node][rows] = places


def _columns(steps: Steps, node: int) -> list[int]:
    """Return the columns of a node's choices, see `Search`."""
    return [step if step >= 0 else len(steps) - 1 - step for step in steps[node]]
