"""What was measured or counted on the contradictions in the publication, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from harness.records.cell import Record
from harness.records.cost import CostRecord
from harness.records.material import Material
from harness.reproduction.latency import on_every_device
from harness.reproduction.published import (
    REFERENCE,
    published_cells,
    published_conditions,
    published_matrices,
)

DATASETS = ("emnist", "cifar10", "svhn")
"""The data sets of the published tables."""
# Percentage points by which an accuracy may be off in a matrix that agrees with the table.
_MATRIX_MARGIN = 0.05


def if_counted(write: Callable[..., str | None], *costs: CostRecord | None) -> str | None:
    """Return what `write` makes of costs; None where any of them was not counted."""
    return write(*costs) if all(costs) else None


def describe_size(cost: CostRecord) -> str:
    """Return the size of the file and what thop counts."""
    return f"{cost.file_mb:.2f} MB and {cost.gmacs_thop:.2f} G"


def describe_paths(cost: CostRecord) -> str:
    """Return the sizes of the files on a tree's paths and what thop counts, from least to most."""
    sizes = _range(path.file_mb for path in cost.paths)
    return f"{sizes} MB and {_range(path.gmacs_thop or 0.0 for path in cost.paths)} G"


def describe_operations(cost: CostRecord) -> str:
    """Return the true multiply-accumulates and the share that thop counts."""
    share = (cost.gmacs_thop or 0) / (cost.gmacs or 1)
    return f"{cost.gmacs:.2f} GMACs, of which thop counts {cost.gmacs_thop:.2f} ({share:.0%})"


def time_of_reference(material: Material) -> str | None:
    """Return the time that ResNet-50 takes; None where it was not compared."""
    timed = [each for each in material.latencies if each.dataset in DATASETS]
    texts = (
        f"ResNet-50 takes {row.latency_ms_p50:.3g} ms on {comparison.machine.device_name}"
        for comparison, row in on_every_device(timed, REFERENCE)
    )
    return next(texts, None)


def quantized_in_float(material: Material) -> str | None:
    """Return the costs of the published network, and the time of ours in int8."""
    cost = material.cost("cifar10", "resnet_quantized", variant="published")
    if cost is None:
        return None
    built = (
        f"built that way: a file of {cost.file_mb:.2f} MB, {cost.gmacs:.2f} GMACs, of which thop "
        f"counts {cost.gmacs_thop:.4f}"
    )
    times = (
        f"ours, in int8, takes {row.ratio:.2f} × fp32's time on {comparison.machine.device_name}"
        for comparison, row in on_every_device(material.latencies, "resnet_quantized")
    )
    return "; ".join([built, *times])


def moments_in_the_files(cost: CostRecord) -> str | None:
    """Return the sizes of a tree's paths, without and with Adam's moments."""
    sizes = [path.weights_mb for path in cost.paths]
    if not sizes:
        return None
    return (
        f"weights on a path {_range(sizes)} MB; with Adam's two moments three times that, "
        f"{_range(3 * size for size in sizes)} MB"
    )


def work_on_padding(cost: CostRecord) -> str | None:
    """Return the operations of a tree with and without the padding of 1×1 convolutions."""
    pairs = [(p.gmacs, p.gmacs_unpadded) for p in cost.paths if p.gmacs_unpadded is not None]
    if not pairs:
        return None
    (low, low_bare), (high, high_bare) = min(pairs), max(pairs)
    return (
        f"{low:.3g}–{high:.3g} GMACs, without that padding {low_bare:.3g}–{high_bare:.3g}: "
        f"{1 - low_bare / low:.0%} to {1 - high_bare / high:.0%} of the work is padding"
    )


def of_each(
    material: Material,
    model: str,
    write: Callable[[Record], str | None],
    *,
    published: bool = False,
    start: str = "",
    between: str = "; ",
) -> str | None:
    """Return what is to be said of a model's records, one for each data set, behind `start`."""
    records = [material.record(dataset, model, published=published) for dataset in DATASETS]
    texts = [write(record) for record in records if record is not None]
    said = between.join(text for text in texts if text)
    return start + said if said else None


def time_in_memory(record: Record) -> str | None:
    """Return the latency of a record and its data set."""
    time = record.latency.latency_ms_p50
    return None if time is None else f"{time:.2f} ms for {record.cell.dataset}"


def accuracy_on_images(record: Record) -> str | None:
    """Return the accuracy of a record and the images that it is on."""
    if record.accuracy.accuracy_top1 is None:
        return None
    return f"{record.cell.dataset} {record.accuracy.accuracy_top1:.2f}% on {record.data.data_name}"


def accuracy_of_tree(record: Record) -> str | None:
    """Return the accuracy of our tree, with the share of held-out images."""
    tree, accuracy = record.settings.settings.get("tree"), accuracy_on_images(record)
    if not (tree and accuracy):
        return None
    return f"{accuracy}, {tree['held_out']:.0%} of the training images held out"


def accuracies_around_pruning(record: Record) -> str | None:
    """Return the accuracies of a pruned network before, between and after."""
    made, accuracy = record.compression, accuracy_on_images(record)
    if not (accuracy and made and made.accuracy_base and made.accuracy_pruned):
        return None
    return (
        f"{accuracy}, of a trained network: {made.accuracy_base:.2f}% before pruning, "
        f"{made.accuracy_pruned:.2f}% after"
    )


def accuracy_after_all_epochs(record: Record) -> str | None:
    """Return the accuracy of a record and its number of epochs."""
    accuracy = accuracy_on_images(record)
    return accuracy and f"{accuracy} after all {record.weights.epochs} epochs"


def matrices_beside_tables() -> str:
    """Return which confusion matrices have another accuracy than the tables."""
    cells, matrices, odd = published_cells(), published_matrices(), _odd_matrices()
    found = "; ".join(
        f"{matrices[key]:.1f}% for {cells[key].label} on {key[0]} ({cells[key].accuracy_top1})"
        for key in odd
    )
    images = published_conditions()["cifar10", REFERENCE]
    return (
        "The authors' confusion matrices have other accuracies than the tables (in brackets): "
        f"{found}; the other {len(matrices) - len(odd)} agree to {_MATRIX_MARGIN} points. Five "
        f"models were evaluated on {images.evaluated_images:,} of CIFAR-10's "
        f"{images.test_images:,} images, other ones each time"
    )


def accuracies_of_odd_matrices(material: Material) -> str | None:
    """Return our accuracies of the published weights of these matrices."""
    records = [material.record(*key, published=True) for key in _odd_matrices()]
    texts = [f"{r.title} on {accuracy_on_images(r)}" for r in records if r is not None]
    return "; ".join(texts) or None


def _odd_matrices() -> list[tuple[str, str]]:
    """Return the cells whose confusion matrix has clearly another accuracy than the table."""
    cells, matrices = published_cells(), published_matrices()
    printed = {key: float(cells[key].accuracy_top1) for key in matrices}
    return [key for key in matrices if abs(matrices[key] - printed[key]) > _MATRIX_MARGIN]


def _range(figures: Iterable[float]) -> str:
    ends = sorted(figures)
    return f"{ends[0]:.2f}–{ends[-1]:.2f}"
