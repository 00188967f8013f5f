"""Run a published tree in several ways: as the published program does, and in ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from harness.errors import CellError
from harness.networks.published import read_state
from trunk.nodes import build_node
from trunk.published_maps import read_maps
from trunk.routing import Trunk
from trunk.tree import NodePath, Tree

PUBLISHED = "published way: weights reread from disk"
RESIDENT = "resident nodes, batch 1"
FOLDED = "folded, channels last, batch 1"
TRACED = "traced, oneDNN Graph, batch 1"
# These batch sizes were fastest on the processor of docs/trunk.md: maps stay in its caches.
BATCHED = "folded, batches of 48"
BATCHED_BF16 = "folded, batches of 128, bf16"
NAMES = (PUBLISHED, RESIDENT, FOLDED, TRACED, BATCHED, BATCHED_BF16)

# The published way takes 4 to 10 seconds for this many images.
_PUBLISHED_LIMIT = 200


@dataclass(frozen=True, kw_only=True)
class Way:
    """A function that returns the classes N of N×C×H×W, and the most images of a round for it."""

    route: Callable[[Tensor], Tensor]
    batch_size: int = 1
    limit: int | None = None

    def run(self, images: Tensor) -> Tensor:
        """Return the classes of the first images, up to the limit."""
        batches = torch.split(images[: self.limit], self.batch_size)
        return torch.cat([self.route(batch) for batch in batches])


def all_ways(trunk: Trunk, folder: Path, images: Tensor) -> dict[str, Way]:
    """Return the ways to run a tree by name; `folder` is where it was loaded from.

    Raises:
        CellError: The traced copy does not give what `trunk` gives.
    """
    files = {node.path: folder / "model_weights" / f"{node.file}.pt" for node in read_maps(folder)}
    folded = trunk.prepare_for_inference()
    bf16 = trunk.prepare_for_inference().to(torch.bfloat16)
    traced = trunk.prepare_for_single_images()
    check_traced(traced, trunk, images)
    return {
        PUBLISHED: Way(route=_published_way(trunk.tree, files), limit=_PUBLISHED_LIMIT),
        RESIDENT: Way(route=trunk.route),
        FOLDED: Way(route=folded.route),
        TRACED: Way(route=traced.route),
        BATCHED: Way(route=folded.route, batch_size=48),
        BATCHED_BF16: Way(
            route=lambda images: bf16.route(images.to(torch.bfloat16)), batch_size=128
        ),
    }


def _published_way(tree: Tree, files: Mapping[NodePath, Path]) -> Callable[[Tensor], Tensor]:
    """Return the published program: it keeps one node in memory, and rereads it for every image."""

    def walk(inputs: Tensor) -> int:
        node = tree.root
        while True:
            network = build_node(node.network)
            network.load_state_dict(read_state(files[node.path]))
            inputs, logits = network.eval()(inputs)
            child = tree.children(node)[int(logits.argmax())]
            if isinstance(child, int):
                return child
            node = child

    @torch.inference_mode()
    def route(images: Tensor) -> Tensor:
        return torch.tensor([walk(image) for image in torch.split(images, 1)])

    return route


def check_traced(traced: Trunk, trunk: Trunk, images: Tensor) -> None:
    """Raise CellError unless a traced copy gives the classes and log-probabilities of a tree."""
    for image in torch.split(images, 1):
        with torch.inference_mode():
            close = torch.allclose(traced(image), trunk(image), rtol=1e-4, atol=1e-4)
        if not close or not torch.equal(traced.route(image), trunk.route(image)):
            raise CellError("the traced nodes do not give what the eager ones give")
