"""The contradictions in the published tables, each beside what we measured or counted.

They concern the publication's figures and weight files: see configs/published/README.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.records.cost import CostRecord
from harness.records.material import Material
from harness.reproduction.commands import cost_command, latency_command, run_command
from harness.reproduction.latency import latency_beside_reference
from harness.reproduction.published import (
    REFERENCE,
    PublishedCell,
    published_cells,
    published_ratio,
)


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
    return [make(material) for make in _ALL]


def explanation(dataset: str, model: str, figure: str) -> str:
    """Return the key of the contradiction that explains a published figure; empty: none does."""
    key = _EXPLANATIONS.get((dataset, model, figure))
    return key or _EXPLANATIONS.get(("", model, figure), "")


def _published(dataset: str, model: str) -> PublishedCell:
    return published_cells()[dataset, model]


def _unit_of_latency(m: Material) -> Contradiction:
    cell, ours = _published("emnist", REFERENCE), None
    for device in ("cuda", "cpu"):
        timed = [each for each in m.latencies if each.dataset in ("emnist", "cifar10", "svhn")]
        found = latency_beside_reference(timed, REFERENCE, device)
        if found and ours is None:
            comparison, row = found
            ours = (
                f"ResNet-50 takes {row.latency_ms_p50:.3g} ms on {comparison.machine.device_name}"
            )
    return Contradiction(
        key="unit of latency",
        printed=f"Latency is headed s/image, ResNet-50 has {cell.latency_ms}: these are ms",
        ours=ours,
        command=latency_command("emnist", [REFERENCE]),
    )


def _two_rows_of_dinov2(m: Material) -> Contradiction:
    cell = _published("cifar10", "deit")
    deit, dino = m.cost("cifar10", "deit"), m.cost("cifar10", "dinov2")
    return Contradiction(
        key="two rows of DINOv2",
        printed="The DeiT rows of CIFAR-10 and SVHN are labelled DinoV2; CIFAR-10's has "
        f"{cell.file_mb} MB and {cell.gmacs_thop} G",
        ours=f"DeiT-Tiny {_size(deit)}, DINOv2 {_size(dino)}" if deit and dino else None,
        command=cost_command("cifar10", ["deit", "dinov2"]),
    )


def _dinov2_of_another_shape(m: Material) -> Contradiction:
    svhn, cifar = _published("svhn", "dinov2"), _published("cifar10", "dinov2")
    ours, grey = m.cost("svhn", "dinov2"), m.cost("emnist", "dinov2")
    return Contradiction(
        key="DINOv2 of another shape",
        printed=f"DINOv2 has {svhn.file_mb} MB and {svhn.gmacs_thop} G for SVHN, {cifar.file_mb} "
        f"and {cifar.gmacs_thop} for CIFAR-10, though the shapes are the same",
        ours=f"SVHN's shape {_size(ours)}; EMNIST's {_size(grey)}, which is what is printed"
        if ours and grey
        else None,
        command=f"{cost_command('svhn', ['dinov2'])}; {cost_command('emnist', ['dinov2'])}",
    )


def _quantised_in_float(m: Material) -> Contradiction:
    cell = _published("cifar10", "resnet_quantized")
    times = published_ratio(cell, _published("cifar10", REFERENCE)) or 0
    cost, ours = m.cost("cifar10", REFERENCE), None
    if cost is not None:
        ours = f"its float graph: {_operations(cost)}"
    for device in ("cuda", "cpu"):
        found = latency_beside_reference(m.latencies, "resnet_quantized", device)
        if ours and found:
            ours += (
                f"; in int8 {found[1].ratio:.2f} × fp32's time on {found[0].machine.device_name}"
            )
    return Contradiction(
        key="quantized network in float",
        printed=f"ResNet-50 QAT has {cell.gmacs_thop} G and {times:.1f} times fp32's latency: thop "
        "does not know the fake-quantised layers, and no int8 kernel ran",
        ours=ours,
        command=cost_command("cifar10", [REFERENCE]),
    )


def _pruned_at_two_sizes(m: Material) -> Contradiction:
    small, large = _published("cifar10", "vgg_pruned"), _published("svhn", "vgg_pruned")
    ours, costs = None, [m.cost("cifar10", "vgg", size) for size in (32, 224)]
    if costs[0] and costs[1]:
        at_32, at_224 = (cost.gmacs_thop or 0 for cost in costs if cost)
        ours = (
            f"VGG-16 has {at_32:.2f} G at 32 px and {at_224:.2f} G at 224 px, {at_224 / at_32:.0f} "
            "times as many"
        )
    times = float(large.gmacs_thop) / float(small.gmacs_thop)
    return Contradiction(
        key="pruned network at two sizes",
        printed=f"VGG-16 pruned has {small.gmacs_thop} G for CIFAR-10 and {large.gmacs_thop} G, "
        f"{times:.0f} times as many, for SVHN: it was counted at 32 px and at 224",
        ours=ours,
        command=f"{cost_command('cifar10', ['vgg'])} --set image_size=32",
    )


def _attention_left_out(m: Material) -> Contradiction:
    cell = _published("cifar10", "vit")
    vit, deit = m.cost("cifar10", "vit"), m.cost("cifar10", "deit")
    return Contradiction(
        key="attention not counted",
        printed=f"ViT-B/16 has {cell.gmacs_thop} G: thop leaves out attention",
        ours=f"ViT-B/16: {_operations(vit)}; DeiT-Tiny: {_operations(deit)}"
        if vit and deit
        else None,
        command=cost_command("cifar10", ["vit", "deit"]),
    )


def _moments_in_the_files(m: Material) -> Contradiction:
    cell, cost, ours = _published("cifar10", "trunk"), m.cost("cifar10", "trunk"), None
    if cost is not None and cost.paths:
        low, high = (choose(p.weights_mb for p in cost.paths) for choose in (min, max))
        ours = (
            f"weights on a path {low:.2f}–{high:.2f} MB; with Adam's two moments three times that, "
            f"{3 * low:.2f}–{3 * high:.2f} MB"
        )
    return Contradiction(
        key="optimizer moments in the files",
        printed=f"TRUNK has {cell.file_mb} MB for CIFAR-10: the files hold Adam's moments too, and "
        "the longest path is left out",
        ours=ours,
        command=cost_command("cifar10", ["trunk"]),
    )


def _work_on_padding(m: Material) -> Contradiction:
    cell, cost, ours = _published("emnist", "trunk"), m.cost("emnist", "trunk"), None
    pairs = [
        (path.gmacs, path.gmacs_unpadded)
        for path in (cost.paths if cost else ())
        if path.gmacs_unpadded is not None
    ]
    if pairs:
        (low, low_bare), (high, high_bare) = min(pairs), max(pairs)
        ours = (
            f"{low:.3g}–{high:.3g} GMACs, without that padding {low_bare:.3g}–{high_bare:.3g}: "
            f"{1 - low_bare / low:.0%} to {1 - high_bare / high:.0%} of the work is padding"
        )
    return Contradiction(
        key="work on padding",
        printed=f"TRUNK has {cell.gmacs_thop} G for EMNIST: its MobileNet nodes pad their 1×1 "
        "convolutions, so that maps grow",
        ours=ours,
        command=cost_command("emnist", ["trunk"]),
    )


def _disk_in_the_latency(m: Material) -> Contradiction:
    parts, printed = [], []
    for dataset in ("emnist", "cifar10", "svhn"):
        printed.append(_published(dataset, "trunk").latency_ms)
        record = m.record(dataset, "trunk", published=True)
        if record is not None and record.latency.latency_ms_p50 is not None:
            parts.append(f"{record.latency.latency_ms_p50:.2f} ms for {dataset}")
    return Contradiction(
        key="disk in the latency",
        printed=f"TRUNK takes {', '.join(printed)} ms: nodes are read from disk for every image",
        ours=f"the published trees, in memory: {', '.join(parts)}" if parts else None,
        command=f"{run_command('emnist', ['trunk'])} --weights published",
    )


def _chosen_on_the_test_set(m: Material) -> Contradiction:
    parts = []
    for dataset in ("emnist", "cifar10", "svhn"):
        record = m.record(dataset, "trunk", published=False)
        tree = record.settings.settings.get("tree") if record else None
        if record is not None and record.accuracy.accuracy_top1 is not None and tree:
            parts.append(
                f"{dataset} {record.accuracy.accuracy_top1:.2f}% on {record.data.data_name}, "
                f"{tree['held_out']:.0%} of the training images held out"
            )
    return Contradiction(
        key="epoch chosen on the test set",
        printed="TRUNK's best epoch was chosen on the test set",
        ours=f"the last epoch, no test image looked at: {'; '.join(parts)}" if parts else None,
        command=run_command("emnist", ["trunk"]),
    )


def _deit_counts_exchanged(m: Material) -> Contradiction:
    grey, colour = _published("emnist", "deit"), _published("cifar10", "deit")
    first, second = (m.cost(dataset, "deit") for dataset in ("emnist", "cifar10"))
    return Contradiction(
        key="DeiT counts exchanged",
        printed=f"DeiT has {grey.gmacs_thop} G for EMNIST's one channel, and {colour.gmacs_thop} "
        "for CIFAR-10's three: fewer for more",
        ours=f"{first.gmacs_thop:.2f} and {second.gmacs_thop:.2f}: they were exchanged"
        if first and second
        else None,
        command=f"{cost_command('emnist', ['deit'])}; {cost_command('cifar10', ['deit'])}",
    )


def _size(cost: CostRecord) -> str:
    return f"{cost.file_mb:.2f} MB and {cost.gmacs_thop:.2f} G"


def _operations(cost: CostRecord) -> str:
    share = (cost.gmacs_thop or 0) / (cost.gmacs or 1)
    return f"{cost.gmacs:.2f} GMACs, of which thop counts {cost.gmacs_thop:.2f} ({share:.0%})"


_ALL: tuple[Callable[[Material], Contradiction], ...] = (
    _unit_of_latency,
    _two_rows_of_dinov2,
    _dinov2_of_another_shape,
    _quantised_in_float,
    _pruned_at_two_sizes,
    _attention_left_out,
    _moments_in_the_files,
    _work_on_padding,
    _disk_in_the_latency,
    _chosen_on_the_test_set,
    _deit_counts_exchanged,
)

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
