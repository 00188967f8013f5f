"""The contradictions in the published tables, each beside what we measured or counted.

They concern the publication's figures and weight files: see configs/published/README.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.records.cost import CostRecord
from harness.records.material import Material
from harness.reproduction.latency import latency_beside_reference
from harness.reproduction.published import REFERENCE, published_cells, published_ratio
from harness.reproduction.verdict import cost_command, latency_command, run_command

_DATASETS = ("emnist", "cifar10", "svhn")


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """One contradiction in the publication.

    Attributes:
        key: A few words that name it.
        printed: What the publication prints, and what is wrong with it.
        ours: Our figures on it; None where there are none yet.
        command: The command that measures our figures.
    """

    key: str
    printed: str
    ours: str | None
    command: str


def find_contradictions(material: Material) -> list[Contradiction]:
    """Return all contradictions in their order, with our figures as far as there are any."""
    cells = published_cells()
    small, large = cells["cifar10", "vgg_pruned"], cells["svhn", "vgg_pruned"]
    quantized, reference = cells["cifar10", "resnet_quantized"], cells["cifar10", REFERENCE]
    deit, grey_deit = cells["cifar10", "deit"], cells["emnist", "deit"]
    dino, odd_dino = cells["cifar10", "dinov2"], cells["svhn", "dinov2"]
    trunk_times = ", ".join(cells[dataset, "trunk"].latency_ms for dataset in _DATASETS)
    return [
        Contradiction(
            key="unit of latency",
            printed="Latency is headed s/image, ResNet-50 has "
            f"{cells['emnist', REFERENCE].latency_ms}: these are ms",
            ours=_time_of_reference(material),
            command=latency_command("emnist", [REFERENCE]),
        ),
        Contradiction(
            key="two rows of DINOv2",
            printed="The DeiT rows of CIFAR-10 and SVHN are labelled DinoV2; CIFAR-10's has "
            f"{deit.file_mb} MB and {deit.gmacs_thop} G",
            ours=_if_counted(
                lambda deit, dino: f"DeiT-Tiny {_size(deit)}, DINOv2 {_size(dino)}",
                *(material.cost("cifar10", model) for model in ("deit", "dinov2")),
            ),
            command=cost_command("cifar10", ["deit", "dinov2"]),
        ),
        Contradiction(
            key="DINOv2 of another shape",
            printed=f"DINOv2 has {odd_dino.file_mb} MB and {odd_dino.gmacs_thop} G for SVHN, "
            f"{dino.file_mb} and {dino.gmacs_thop} for CIFAR-10, though the shapes are the same",
            ours=_if_counted(
                lambda svhn, emnist: (
                    f"SVHN's shape {_size(svhn)}; EMNIST's {_size(emnist)}, "
                    "which is what is printed"
                ),
                *(material.cost(dataset, "dinov2") for dataset in ("svhn", "emnist")),
            ),
            command=f"{cost_command('svhn', ['dinov2'])}; {cost_command('emnist', ['dinov2'])}",
        ),
        Contradiction(
            key="quantized network in float",
            printed=f"ResNet-50 QAT has {quantized.gmacs_thop} G and "
            f"{published_ratio(quantized, reference):.1f} times fp32's latency: thop does not know "
            "the fake-quantised layers, and no int8 kernel ran",
            ours=_quantized_in_float(material),
            command=cost_command("cifar10", [REFERENCE]),
        ),
        Contradiction(
            key="pruned network at two sizes",
            printed=f"VGG-16 pruned has {small.gmacs_thop} G for CIFAR-10 and {large.gmacs_thop} "
            f"G, {float(large.gmacs_thop) / float(small.gmacs_thop):.0f} times as many, for SVHN: "
            "it was counted at 32 px and at 224",
            ours=_if_counted(
                lambda at_32, at_224: (
                    f"VGG-16 has {at_32.gmacs_thop:.2f} G at 32 px and "
                    f"{at_224.gmacs_thop:.2f} G at 224 px, "
                    f"{at_224.gmacs_thop / at_32.gmacs_thop:.0f} times as many"
                ),
                *(material.cost("cifar10", "vgg", size) for size in (32, 224)),
            ),
            command=f"{cost_command('cifar10', ['vgg'])} --set image_size=32",
        ),
        Contradiction(
            key="attention not counted",
            printed=f"ViT-B/16 has {cells['cifar10', 'vit'].gmacs_thop} G: thop leaves out "
            "attention",
            ours=_if_counted(
                lambda vit, deit: f"ViT-B/16: {_operations(vit)}; DeiT-Tiny: {_operations(deit)}",
                *(material.cost("cifar10", model) for model in ("vit", "deit")),
            ),
            command=cost_command("cifar10", ["vit", "deit"]),
        ),
        Contradiction(
            key="optimizer moments in the files",
            printed=f"TRUNK has {cells['cifar10', 'trunk'].file_mb} MB for CIFAR-10: the files "
            "hold Adam's moments too, and the longest path is left out",
            ours=_if_counted(_moments_in_the_files, material.cost("cifar10", "trunk")),
            command=cost_command("cifar10", ["trunk"]),
        ),
        Contradiction(
            key="work on padding",
            printed=f"TRUNK has {cells['emnist', 'trunk'].gmacs_thop} G for EMNIST: its MobileNet "
            "nodes pad their 1×1 convolutions, so that maps grow",
            ours=_if_counted(_work_on_padding, material.cost("emnist", "trunk")),
            command=cost_command("emnist", ["trunk"]),
        ),
        Contradiction(
            key="disk in the latency",
            printed=f"TRUNK takes {trunk_times} ms: nodes are read from disk for every image",
            ours=_times_in_memory(material),
            command=f"{run_command('emnist', ['trunk'])} --weights published",
        ),
        Contradiction(
            key="epoch chosen on the test set",
            printed="TRUNK's best epoch was chosen on the test set",
            ours=_accuracies_of_the_last_epoch(material),
            command=run_command("emnist", ["trunk"]),
        ),
        Contradiction(
            key="DeiT counts exchanged",
            printed=f"DeiT has {grey_deit.gmacs_thop} G for EMNIST's one channel, and "
            f"{deit.gmacs_thop} for CIFAR-10's three: fewer for more",
            ours=_if_counted(
                lambda emnist, cifar: (
                    f"{emnist.gmacs_thop:.2f} and {cifar.gmacs_thop:.2f}: they were exchanged"
                ),
                *(material.cost(dataset, "deit") for dataset in ("emnist", "cifar10")),
            ),
            command=f"{cost_command('emnist', ['deit'])}; {cost_command('cifar10', ['deit'])}",
        ),
    ]


def explanation(dataset: str, model: str, figure: str) -> str:
    """Return the key of the contradiction that explains a published figure; empty: none does."""
    key = _EXPLANATIONS.get((dataset, model, figure))
    return key or _EXPLANATIONS.get(("", model, figure), "")


def _if_counted(write: Callable[..., str | None], *costs: CostRecord | None) -> str | None:
    return write(*costs) if all(costs) else None


def _size(cost: CostRecord) -> str:
    return f"{cost.file_mb:.2f} MB and {cost.gmacs_thop:.2f} G"


def _operations(cost: CostRecord) -> str:
    share = (cost.gmacs_thop or 0) / (cost.gmacs or 1)
    return f"{cost.gmacs:.2f} GMACs, of which thop counts {cost.gmacs_thop:.2f} ({share:.0%})"


def _time_of_reference(material: Material) -> str | None:
    timed = [each for each in material.latencies if each.dataset in _DATASETS]
    for device in ("cuda", "cpu"):
        found = latency_beside_reference(timed, REFERENCE, device)
        if found:
            comparison, row = found
            name = comparison.machine.device_name
            return f"ResNet-50 takes {row.latency_ms_p50:.3g} ms on {name}"
    return None


def _quantized_in_float(material: Material) -> str | None:
    cost = material.cost("cifar10", REFERENCE)
    if cost is None:
        return None
    ours = f"its float graph: {_operations(cost)}"
    for device in ("cuda", "cpu"):
        found = latency_beside_reference(material.latencies, "resnet_quantized", device)
        if found:
            comparison, row = found
            name = comparison.machine.device_name
            ours += f"; in int8 {row.ratio:.2f} × fp32's time on {name}"
    return ours


def _moments_in_the_files(cost: CostRecord) -> str | None:
    sizes = [path.weights_mb for path in cost.paths]
    if not sizes:
        return None
    low, high = min(sizes), max(sizes)
    return (
        f"weights on a path {low:.2f}–{high:.2f} MB; with Adam's two moments three times that, "
        f"{3 * low:.2f}–{3 * high:.2f} MB"
    )


def _work_on_padding(cost: CostRecord) -> str | None:
    pairs = [(p.gmacs, p.gmacs_unpadded) for p in cost.paths if p.gmacs_unpadded is not None]
    if not pairs:
        return None
    (low, low_bare), (high, high_bare) = min(pairs), max(pairs)
    return (
        f"{low:.3g}–{high:.3g} GMACs, without that padding {low_bare:.3g}–{high_bare:.3g}: "
        f"{1 - low_bare / low:.0%} to {1 - high_bare / high:.0%} of the work is padding"
    )


def _times_in_memory(material: Material) -> str | None:
    records = [material.record(dataset, "trunk", published=True) for dataset in _DATASETS]
    times = ", ".join(
        f"{record.latency.latency_ms_p50:.2f} ms for {record.cell.dataset}"
        for record in records
        if record is not None and record.latency.latency_ms_p50 is not None
    )
    return f"the published trees, in memory: {times}" if times else None


def _accuracies_of_the_last_epoch(material: Material) -> str | None:
    parts = []
    for dataset in _DATASETS:
        record = material.record(dataset, "trunk", published=False)
        tree = record.settings.settings.get("tree") if record else None
        if record is not None and record.accuracy.accuracy_top1 is not None and tree:
            parts.append(
                f"{dataset} {record.accuracy.accuracy_top1:.2f}% on {record.data.data_name}, "
                f"{tree['held_out']:.0%} of the training images held out"
            )
    return f"the last epoch, no test image looked at: {'; '.join(parts)}" if parts else None


# The key of the contradiction that explains a figure, by data set (empty: all), model and figure.
_EXPLANATIONS = {
    ("svhn", "dinov2", "size"): "DINOv2 of another shape",
    ("svhn", "dinov2", "count"): "DINOv2 of another shape",
    ("", "resnet_quantized", "count"): "quantized network in float",
    ("", "resnet_quantized", "latency"): "quantized network in float",
    ("", "vgg_pruned", "count"): "pruned network at two sizes",
    ("", "vgg_pruned", "latency"): "pruned network at two sizes",
    ("cifar10", "trunk", "size"): "optimizer moments in the files",
    ("cifar10", "trunk", "count"): "optimizer moments in the files",
    ("", "trunk", "latency"): "disk in the latency",
    ("", "trunk", "accuracy"): "epoch chosen on the test set",
    ("emnist", "deit", "count"): "DeiT counts exchanged",
    ("cifar10", "deit", "count"): "DeiT counts exchanged",
}
