"""Run a published TRUNK tree in nine ways side by side: images/s, accuracy and latency.

    python studies/trunk_evaluation.py --dataset cifar10 --published-dir ../shared/published \
        --data-file cifar10_jpeg --images 5120

The machine's speed drifts, so the images are cut into rounds, every way runs in every round, in
random order, and speeds are compared within a round only. 5,120 images make rounds of many
whole batches; they take a few minutes.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import torch
import typer
from torch import Tensor
from typer import Option

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.data.loading import ImageData
from harness.data.preprocess import Preprocess
from harness.errors import CellError, RequestError, exit_on_error
from harness.measure.latency import measure_latency
from harness.measure.runtimes import prepare_routed
from harness.networks.published import read_state
from harness.report.table import Table
from studies.common import DataFile, Threads, in_turn, load_study, spread
from trunk.nodes import build_node
from trunk.published import load_published_trunk, published_tree
from trunk.published_maps import read_maps
from trunk.quantized import quantize
from trunk.routing import Trunk
from trunk.tree import NodePath, Tree

PUBLISHED = "published way: weights reread from disk"
RESIDENT = "resident nodes, batch 1"
FOLDED = "folded, channels last, batch 1"
TRACED = "traced, oneDNN Graph, batch 1"
# These batch sizes were fastest on the processor of docs/trunk.md: maps stay in its caches.
BATCHED = "folded, batches of 48"
BATCHED_BF16 = "folded, batches of 128, bf16"
ONNX = "ONNX Runtime, If, batch 1"
TRACED_INT8 = "int8, traced, batch 1"
BATCHED_INT8 = "int8, batches of 512"
NAMES = (
    *(PUBLISHED, RESIDENT, FOLDED, TRACED, ONNX, TRACED_INT8),
    *(BATCHED, BATCHED_BF16, BATCHED_INT8),
)

# The published way takes 4 to 10 seconds for this many images.
_PUBLISHED_LIMIT = 200

_ROUNDS = 5
_SEED = 0
_CHECKED_IMAGES = 8
# Several images, because the time depends on the path that an image takes.
_LATENCY_IMAGES = 5
_SECONDS_AN_IMAGE = 0.5
_LATENCY_WAYS = (RESIDENT, FOLDED, TRACED, ONNX, TRACED_INT8)
_CALIBRATION_IMAGES = 1024
_HEADER = (
    *("Way", "Images/s", "× published", "Accuracy, same images", "Accuracy, all images"),
    *("Latency, ms", "× resident"),
)

Dataset = Annotated[str, Option(help="emnist, cifar10 or svhn.")]
PublishedDir = Annotated[Path, Option(help="Folder whose `trunk` holds the published trees.")]
Images = Annotated[int | None, Option(help="Test images, drawn at random; all by default.")]


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Round:
    """What was measured on one part of the test images, by the name of the way.

    `right` says for each image that the way was given whether its class was correct; `latency_ms`
    is the time of one image alone.
    """

    images_per_s: dict[str, float]
    right: dict[str, Tensor]
    latency_ms: dict[str, float]


def main(
    dataset: Dataset,
    published_dir: PublishedDir,
    data_file: DataFile = None,
    images: Images = None,
    threads: Threads = 1,
) -> None:
    """Measure the ways to run a published tree in the same rounds, and print them as a table."""
    with exit_on_error():
        torch.set_num_threads(threads)
        rounds = _evaluate(dataset, published_dir / "trunk", data_file, images)
    print(render(rounds, threads))


def _evaluate(
    dataset: str, trees_dir: Path, data_file: Path | None, count: int | None
) -> list[Round]:
    """Run a data set's published tree in all ways, on so many test images, or all."""
    published = published_tree(dataset)
    job, _, data = load_study(dataset, "trunk", data_file)
    trunk = load_published_trunk(published, trees_dir, len(data.classes))
    size = trunk.tree.root.network.input_shape[1]
    preprocess = Preprocess(image_size=size, mean=job.settings.mean, std=job.settings.std)
    # Contiguous, as the published program had them from torchvision's ToTensor.
    pieces = [(preprocess(images).contiguous(), labels) for images, labels in _pieces(data, count)]
    rows = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(_SEED))
    seen, _ = next(data.train.batches(rows[:_CALIBRATION_IMAGES], _CALIBRATION_IMAGES))
    folder, checked = trees_dir / published.folder, pieces[0][0][:_CHECKED_IMAGES]
    ways = all_ways(trunk, folder, checked, preprocess(seen))
    return list(_measure(ways, pieces))


def all_ways(trunk: Trunk, folder: Path, images: Tensor, training: Tensor) -> dict[str, Way]:
    """Return the ways to run a tree by name; `folder` is where it was loaded from.

    The ranges of the int8 tree come from training images.

    Raises:
        CellError: A copy in fp32 does not give what `trunk` gives for images N×C×H×W.
    """
    files = {node.path: folder / "model_weights" / f"{node.file}.pt" for node in read_maps(folder)}
    folded = trunk.prepare_for_inference()
    bf16 = trunk.prepare_for_inference().to(torch.bfloat16)
    traced = trunk.prepare_for_single_images()
    check_traced(traced, trunk, images)
    int8 = cast("Trunk", quantize(trunk, "x86", training))
    onnx = prepare_routed(folded.decisions(), images, trunk.route(images), "onnxruntime")
    return {
        PUBLISHED: Way(route=_published_way(trunk.tree, files), limit=_PUBLISHED_LIMIT),
        RESIDENT: Way(route=trunk.route),
        FOLDED: Way(route=folded.route),
        TRACED: Way(route=traced.route),
        ONNX: Way(route=torch.inference_mode()(onnx.call)),
        TRACED_INT8: Way(route=int8.prepare_for_single_images().route),
        BATCHED: Way(route=folded.route, batch_size=48),
        BATCHED_BF16: Way(
            route=lambda images: bf16.route(images.to(torch.bfloat16)), batch_size=128
        ),
        BATCHED_INT8: Way(route=int8.prepare_for_inference().route, batch_size=512),
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


def _pieces(data: ImageData, count: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield random test images and their labels, a piece for each round."""
    there = len(data.test)
    wanted = there if count is None else count
    if not _ROUNDS <= wanted <= there:
        raise RequestError(f"--images is {wanted}; wanted {_ROUNDS} to {there}, all there are")
    order = torch.randperm(there, generator=torch.Generator().manual_seed(_SEED))
    # All rounds have the same size, so up to four images are left out.
    size = wanted // _ROUNDS
    return data.test.batches(order[: size * _ROUNDS], size)


def _measure(ways: Mapping[str, Way], pieces: Sequence[tuple[Tensor, Tensor]]) -> Iterator[Round]:
    """Measure each piece after an untimed call of every way."""
    generator = np.random.default_rng(_SEED)
    for way in ways.values():
        way.route(pieces[0][0][: way.batch_size])
    for images, labels in pieces:
        images_per_s, right = {}, {}
        calls = {name: partial(way.run, images) for name, way in ways.items()}
        for name, classes, seconds in in_turn(calls, generator):
            images_per_s[name] = len(classes) / seconds
            right[name] = classes == labels[: len(classes)]
        latency_ms = _latencies_ms(ways, images[:_LATENCY_IMAGES])
        yield Round(images_per_s=images_per_s, right=right, latency_ms=latency_ms)


def _latencies_ms(ways: Mapping[str, Way], images: Tensor) -> dict[str, float]:
    """Return the time of a single image by way: the mean over images of the median times."""
    routes = {name: ways[name].route for name in _LATENCY_WAYS}
    found = []
    for image in torch.split(images, 1):
        examples = dict.fromkeys(routes, image)
        found.append(
            measure_latency(routes, examples, rounds=100, seconds=_SECONDS_AN_IMAGE, seed=_SEED)
        )
    return {name: statistics.fmean(each[name].latency_ms_p50 for each in found) for name in routes}


def render(rounds: Sequence[Round], threads: int) -> str:
    """Return a Markdown table of all ways, with what its figures mean below it."""
    table = Table.of_texts(_HEADER, (_row(rounds, name) for name in NAMES)).markdown()
    everything, same = (len(rounds) * len(rounds[0].right[n]) for n in (RESIDENT, PUBLISHED))
    return (
        f"{table}\n{everything} images in {len(rounds)} rounds, {threads} CPU thread(s). The "
        f"published way was given the first {same // len(rounds)} of each round: "
        f'"same images" are those {same}.\n'
        "Speeds and times are medians over the rounds; × is the median of the ratio within a "
        "round, and its range. Latency: of the first images of each round, one at a time."
    )


def _row(rounds: Sequence[Round], name: str) -> list[str]:
    rates = [each.images_per_s for each in rounds]
    seen = len(rounds[0].right[PUBLISHED])
    right = [each.right[name] for each in rounds]
    cells = [
        name,
        f"{statistics.median(rate[name] for rate in rates):.0f}",
        spread([rate[name] / rate[PUBLISHED] for rate in rates]),
        _percent([flags[:seen] for flags in right]),
        _percent(right) if name != PUBLISHED else "—",
    ]
    times = [each.latency_ms for each in rounds]
    if name not in times[0]:
        return [*cells, "—", "—"]
    ratios = [time_ms[RESIDENT] / time_ms[name] for time_ms in times]
    return [*cells, f"{statistics.median(each[name] for each in times):.2f}", spread(ratios)]


def _percent(right: Sequence[Tensor]) -> str:
    return f"{100 * torch.cat([*right]).double().mean().item():.2f}"


if __name__ == "__main__":
    typer.run(main)
