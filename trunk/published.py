"""The published trees: a list of them, fetching and verifying their files, loading weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import RequestError
from harness.jobs import Job
from harness.networks.published import (
    FOLDER,
    PublishedFile,
    fetch_published,
    not_published,
    read_state,
)
from harness.networks.weights import load_state
from harness.util.files import file_sha256, read_csv
from trunk.published_maps import MappedNode, read_maps
from trunk.routing import Trunk
from trunk.tree import Node, NodeNetwork, Tree


@dataclass(frozen=True, kw_only=True)
class PublishedTree:
    """One published tree, with what its files do not say.

    Attributes:
        backbone: A key of `trunk.nodes.BACKBONES`.
        volatility: The grouping volatility, written as in the name of its folder.
        root_volatility: The volatility of the root, where it differs.
        layers: Layer lists by node file, where they are not "root" and "other".
    """

    dataset: str
    backbone: str
    volatility: str
    root_volatility: float | None = None
    layers: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of its files, relative to the folder of all trees."""
        return Path(self.dataset, self.backbone, self.volatility)


PUBLISHED_TREES: Mapping[str, PublishedTree] = {
    tree.dataset: tree
    for tree in (
        PublishedTree(dataset="emnist", backbone="mobilenet", volatility="1.2"),
        PublishedTree(
            dataset="cifar10",
            backbone="vgg",
            volatility="1.02",
            root_volatility=0.88,
            layers={"sg1": "pair", "sg3": "pair", "sg5": "triple"},
        ),
        PublishedTree(dataset="svhn", backbone="mobilenet", volatility="0.7"),
    )
}


def published_tree(dataset: str) -> PublishedTree:
    """Return the published tree of a data set; NotPublishedError where there is none."""
    if dataset not in PUBLISHED_TREES:
        raise not_published(dataset, "trunk")
    return PUBLISHED_TREES[dataset]


def fetch_published_tree(published: PublishedTree, weights_dir: Path, *, offline: bool) -> Path:
    """Return the local folder of all published trees, with this one's files in it and verified.

    Files go below `published` in the weights folder; nothing is downloaded `offline`.

    Raises:
        RequestError: A file is missing and cannot be fetched, or its digest is wrong.
    """
    for row in read_csv(FOLDER / "trunk_weights.csv"):
        folder = Path(row["dataset"], row.pop("backbone"), row.pop("volatility"))
        if folder == published.folder:
            fetch_published(PublishedFile(model="trunk", **row), weights_dir, offline=offline)
    return weights_dir / "published" / "TRUNK" / "Datasets"


def load_published_trunk(published: PublishedTree, root: Path, num_classes: int) -> Trunk:
    """Return a published tree with its weights, in evaluation mode.

    The root is the folder of all trees; the files lie in <dataset>/<backbone>/<volatility>.

    Raises:
        RequestError: The folder holds no such tree, a node file is missing, foreign or corrupt,
            or the tree is for another number of classes.
    """
    folder = root / published.folder
    nodes = read_maps(folder)
    try:
        trunk = Trunk(Tree(nodes=tuple(_node(published, node) for node in nodes)))
    except RequestError as error:
        raise RequestError(f"{folder}: {error}") from error
    found = trunk.tree.num_classes
    if found != num_classes:
        where = folder / "target_map.json"
        raise RequestError(f"{where}: a tree of {found} classes, the data has {num_classes}")
    for mapped, network in zip(nodes, trunk.networks.values(), strict=True):
        file = folder / "model_weights" / f"{mapped.file}.pt"
        load_state(network, read_state(file), str(file))
    return trunk.eval()


def load_published(job: Job, num_classes: int) -> tuple[Trunk, str]:
    """Return the published tree of a job's data set, and one digest of all its node files.

    The files are taken from `job.published_dir` where that is given, else fetched.

    Raises:
        RequestError: As `published_tree`, `fetch_published_tree` and `load_published_trunk`, or
            the tree takes images of another size.
    """
    published = published_tree(job.cell.dataset)
    if job.published_dir is None:
        root = fetch_published_tree(published, job.weights_dir, offline=job.offline)
    else:
        root = job.published_dir / "trunk"
    trunk = load_published_trunk(published, root, num_classes)
    size, wanted = job.settings.image_size, trunk.tree.root.network.input_shape[1]
    if size != wanted:
        raise RequestError(f"image_size is {size}, the published tree takes {wanted} pixels")
    files = sorted((root / published.folder / "model_weights").glob("*.pt"))
    digests = "".join(f"{file.name} {file_sha256(file)}\n" for file in files)
    return trunk, hashlib.sha256(digests.encode()).hexdigest()


def _node(published: PublishedTree, mapped: MappedNode) -> Node:
    usual, volatility = "other", float(published.volatility)
    if not mapped.path:
        usual, volatility = "root", published.root_volatility or volatility
    network = NodeNetwork(
        backbone=published.backbone,
        layers=published.layers.get(mapped.file, usual),
        input_shape=mapped.input_shape,
        outputs=len(mapped.groups),
    )
    return Node(
        path=mapped.path,
        groups=mapped.groups,
        network=network,
        likelihood=mapped.likelihood,
        volatility=volatility,
    )
