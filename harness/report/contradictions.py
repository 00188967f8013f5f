"""Where the published tables contradict themselves, each beside what we measured or counted.

The list is that of the publication's figures and weight files; see configs/published/README.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.records.cost import CostRecord
from harness.report.columns import published_ratio
from harness.report.material import Material
from harness.report.missing import cost_command, latency_command, run_command
from harness.report.rows import REFERENCE, latency_beside_reference


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """One of them.

    Attributes:
        printed: What the publication prints, and what is wrong with it.
        ours: Our figures on it; None where there are none yet.
        command: What would make them.
    """

    printed: str
    ours: str | None
    command: str


def find_contradictions(material: Material) -> list[Contradiction]:
    """Return them all, with our figures as far as there are any."""
    return [make(material) for make in _ALL]


def explain(dataset: str, model: str, figure: str) -> int | None:
    """Return the number of the contradiction that says why a published figure is what it is."""
    for (name, row, kind), number in _EXPLAINED.items():
        if name in (dataset, "") and (row, kind) == (model, figure):
            return number
    return None


def render_contradictions(material: Material) -> str:
    """Return them as a Markdown table."""
    lines = ["| | what is printed | our figures |", "| ---: | :--- | :--- |"]
    for number, each in enumerate(find_contradictions(material), start=1):
        ours = each.ours or f"not measured yet: `{each.command}`"
        lines.append(f"| {number} | {each.printed} | {ours} |")
    return "\n".join(lines) + "\n"


def _unit_of_latency(m: Material) -> Contradiction:
    cell, ours = m.published("emnist", REFERENCE), None
    for device in ("cuda", "cpu"):
        timed = [each for each in m.latencies if each.dataset in ("emnist", "cifar10", "svhn")]
        found = latency_beside_reference(timed, REFERENCE, device)
        if found and ours is None:
            comparison, row = found
            ours = (
                f"ResNet-50 takes {row.latency_ms_p50:.3g} ms on {comparison.machine.device_name}"
            )
    return Contradiction(
        printed=f"Latency is headed s/image, ResNet-50 has {cell.latency_ms}: these are ms",
        ours=ours,
        command=latency_command("emnist", [REFERENCE]),
    )


def _two_rows_of_dinov2(m: Material) -> Contradiction:
    cell = m.published("cifar10", "deit")
    deit, dino = m.cost("cifar10", "deit"), m.cost("cifar10", "dinov2")
    return Contradiction(
        printed="The DeiT rows of CIFAR-10 and SVHN are labelled DinoV2; CIFAR-10's has "
        f"{cell.file_mb} MB and {cell.gmacs_thop} G",
        ours=f"DeiT-Tiny {_size(deit)}, DINOv2 {_size(dino)}" if deit and dino else None,
        command=cost_command("cifar10", ["deit", "dinov2"]),
    )


def _dinov2_of_another_shape(m: Material) -> Contradiction:
    svhn, cifar = m.published("svhn", "dinov2"), m.published("cifar10", "dinov2")
    ours, grey = m.cost("svhn", "dinov2"), m.cost("emnist", "dinov2")
    return Contradiction(
        printed=f"DINOv2 has {svhn.file_mb} MB and {svhn.gmacs_thop} G for SVHN, {cifar.file_mb} "
        f"and {cifar.gmacs_thop} for CIFAR-10, though the shapes are the same",
        ours=f"SVHN's shape {_size(ours)}; EMNIST's {_size(grey)}, which is what is printed"
        if ours and grey
        else None,
        command=f"{cost_command('svhn', ['dinov2'])}; {cost_command('emnist', ['dinov2'])}",
    )


def _quantised_in_float(m: Material) -> Contradiction:
    cell = m.published("cifar10", "resnet_quantized")
    times = published_ratio(cell, m.published("cifar10", REFERENCE)) or 0
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
        printed=f"ResNet-50 QAT has {cell.gmacs_thop} G and {times:.1f} times fp32's latency: thop "
        "does not know the fake-quantised layers, and no int8 kernel ran",
        ours=ours,
        command=cost_command("cifar10", [REFERENCE]),
    )


def _pruned_at_two_sizes(m: Material) -> Contradiction:
    small, large = m.published("cifar10", "vgg_pruned"), m.published("svhn", "vgg_pruned")
    ours, costs = None, [m.cost("cifar10", "vgg", size) for size in (32, 224)]
    if costs[0] and costs[1]:
        at_32, at_224 = (cost.gmacs_thop or 0 for cost in costs if cost)
        ours = (
            f"VGG-16 has {at_32:.2f} G at 32 px and {at_224:.2f} G at 224 px, {at_224 / at_32:.0f} "
            "times as many"
        )
    times = float(large.gmacs_thop) / float(small.gmacs_thop)
    return Contradiction(
        printed=f"VGG-16 pruned has {small.gmacs_thop} G for CIFAR-10 and {large.gmacs_thop} G, "
        f"{times:.0f} times as many, for SVHN: it was counted at 32 px and at 224",
        ours=ours,
        command=f"{cost_command('cifar10', ['vgg'])} --set image_size=32",
    )


def _attention_left_out(m: Material) -> Contradiction:
    cell = m.published("cifar10", "vit")
    vit, deit = m.cost("cifar10", "vit"), m.cost("cifar10", "deit")
    return Contradiction(
        printed=f"ViT-B/16 has {cell.gmacs_thop} G: thop leaves out attention",
        ours=f"ViT-B/16: {_operations(vit)}; DeiT-Tiny: {_operations(deit)}"
        if vit and deit
        else None,
        command=cost_command("cifar10", ["vit", "deit"]),
    )


def _moments_in_the_files(m: Material) -> Contradiction:
    cell, cost, ours = m.published("cifar10", "trunk"), m.cost("cifar10", "trunk"), None
    if cost is not None and cost.paths:
        low, high = (choose(p.weights_mb for p in cost.paths) for choose in (min, max))
        ours = (
            f"weights on a path {low:.2f}–{high:.2f} MB; with Adam's two moments three times that, "
            f"{3 * low:.2f}–{3 * high:.2f} MB"
        )
    return Contradiction(
        printed=f"TRUNK has {cell.file_mb} MB for CIFAR-10: the files hold Adam's moments too, and "
        "the longest path is left out",
        ours=ours,
        command=cost_command("cifar10", ["trunk"]),
    )


def _work_on_padding(m: Material) -> Contradiction:
    cell, cost, ours = m.published("emnist", "trunk"), m.cost("emnist", "trunk"), None
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
        printed=f"TRUNK has {cell.gmacs_thop} G for EMNIST: its MobileNet nodes pad their 1×1 "
        "convolutions, so that maps grow",
        ours=ours,
        command=cost_command("emnist", ["trunk"]),
    )


def _disk_in_the_latency(m: Material) -> Contradiction:
    parts, printed = [], []
    for dataset in ("emnist", "cifar10", "svhn"):
        printed.append(m.published(dataset, "trunk").latency_ms)
        record = m.record(dataset, "trunk", published=True)
        if record is not None and record.latency.latency_ms_p50 is not None:
            parts.append(f"{record.latency.latency_ms_p50:.2f} ms for {dataset}")
    return Contradiction(
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
        printed="TRUNK's best epoch was chosen on the test set",
        ours=f"the last epoch, no test image looked at: {'; '.join(parts)}" if parts else None,
        command=run_command("emnist", ["trunk"]),
    )


def _deit_counts_exchanged(m: Material) -> Contradiction:
    grey, colour = m.published("emnist", "deit"), m.published("cifar10", "deit")
    first, second = (m.cost(dataset, "deit") for dataset in ("emnist", "cifar10"))
    return Contradiction(
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

# By data set (empty: all), model and kind of figure, which of them says why it is as it is.
_EXPLAINED = {
    ("svhn", "dinov2", "size"): 3,
    ("svhn", "dinov2", "count"): 3,
    ("", "resnet_quantized", "count"): 4,
    ("", "resnet_quantized", "latency"): 4,
    ("", "vgg_pruned", "count"): 5,
    ("", "vgg_pruned", "latency"): 5,
    ("cifar10", "trunk", "size"): 7,
    ("cifar10", "trunk", "count"): 7,
    ("", "trunk", "latency"): 9,
    ("", "trunk", "accuracy"): 10,
    ("emnist", "deit", "count"): 11,
    ("cifar10", "deit", "count"): 11,
}
