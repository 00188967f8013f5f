"""The contradictions in the published tables, each beside what we measured or counted.

They concern the publication's figures and weight files: see configs/published/README.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.records.material import Material
from harness.reproduction import evidence
from harness.reproduction.evidence import (
    DATASETS,
    describe_operations,
    describe_paths,
    describe_size,
    if_counted,
    of_each,
)
from harness.reproduction.published import REFERENCE, published_cells, published_ratio
from harness.reproduction.verdict import cost_command, latency_command, run_command


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
    odd_tree = cells["svhn", "trunk"]
    trunk_times = ", ".join(cells[dataset, "trunk"].latency_ms for dataset in DATASETS)
    return [
        Contradiction(
            key="unit of latency",
            printed="Latency is headed s/image, ResNet-50 has "
            f"{cells['emnist', REFERENCE].latency_ms}: these are ms",
            ours=evidence.time_of_reference(material),
            command=latency_command("emnist", [REFERENCE]),
        ),
        Contradiction(
            key="two rows of DINOv2",
            printed="The DeiT rows of CIFAR-10 and SVHN are labelled DinoV2; CIFAR-10's has "
            f"{deit.file_mb} MB and {deit.gmacs_thop} G",
            ours=if_counted(
                lambda deit, dino: f"DeiT-Tiny {describe_size(deit)}, DINOv2 {describe_size(dino)}",
                *(material.cost("cifar10", model) for model in ("deit", "dinov2")),
            ),
            command=cost_command("cifar10", ["deit", "dinov2"]),
        ),
        Contradiction(
            key="DINOv2 of another shape",
            printed=f"DINOv2 has {odd_dino.file_mb} MB and {odd_dino.gmacs_thop} G for SVHN, "
            f"{dino.file_mb} and {dino.gmacs_thop} for CIFAR-10, though the shapes are the same",
            ours=if_counted(
                lambda svhn, emnist: (
                    f"SVHN's shape {describe_size(svhn)}; EMNIST's {describe_size(emnist)}, "
                    "which is what is printed"
                ),
                *(material.cost(dataset, "dinov2") for dataset in ("svhn", "emnist")),
            ),
            command=f"{cost_command('svhn', ['dinov2'])}; {cost_command('emnist', ['dinov2'])}",
        ),
        Contradiction(
            key="quantized network in float",
            printed=f"ResNet-50 QAT has {quantized.gmacs_thop} G and {quantized.latency_ms} ms, "
            f"{published_ratio(quantized, reference):.1f} times ResNet-50's: it is the float "
            "network with observers, of layers that thop does not know; nothing was rounded, no "
            "int8 kernel ran, and the time is a CPU's among times of a GPU",
            ours=evidence.quantized_in_float(material),
            command=f"{cost_command('cifar10', ['resnet_quantized'])} --weights published",
        ),
        Contradiction(
            key="pruned network at two sizes",
            printed=f"VGG-16 pruned has {small.gmacs_thop} G for CIFAR-10 and {large.gmacs_thop} "
            f"G, {float(large.gmacs_thop) / float(small.gmacs_thop):.0f} times as many, for SVHN: "
            "it was counted at 32 px and at 224",
            ours=if_counted(
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
            ours=if_counted(
                lambda vit, deit: (
                    f"ViT-B/16: {describe_operations(vit)}; DeiT-Tiny: {describe_operations(deit)}"
                ),
                *(material.cost("cifar10", model) for model in ("vit", "deit")),
            ),
            command=cost_command("cifar10", ["vit", "deit"]),
        ),
        Contradiction(
            key="optimizer moments in the files",
            printed=f"TRUNK has {cells['cifar10', 'trunk'].file_mb} MB for CIFAR-10: the files "
            "hold Adam's moments too, and the longest path is left out",
            ours=if_counted(evidence.moments_in_the_files, material.cost("cifar10", "trunk")),
            command=cost_command("cifar10", ["trunk"]),
        ),
        Contradiction(
            key="work on padding",
            printed=f"TRUNK has {cells['emnist', 'trunk'].gmacs_thop} G for EMNIST: its MobileNet "
            "nodes pad their 1×1 convolutions, so that maps grow",
            ours=if_counted(evidence.work_on_padding, material.cost("emnist", "trunk")),
            command=cost_command("emnist", ["trunk"]),
        ),
        Contradiction(
            key="disk in the latency",
            printed=f"TRUNK takes {trunk_times} ms: nodes are read from disk for every image",
            ours=of_each(
                material,
                "trunk",
                evidence.time_in_memory,
                published=True,
                start="the published trees, in memory: ",
                between=", ",
            ),
            command=f"{run_command('emnist', ['trunk'])} --weights published",
        ),
        Contradiction(
            key="epoch chosen on the test set",
            printed="TRUNK's best epoch was chosen on the test set",
            ours=of_each(
                material,
                "trunk",
                evidence.accuracy_of_tree,
                start="the last epoch, no test image looked at: ",
            ),
            command=run_command("emnist", ["trunk"]),
        ),
        Contradiction(
            key="DeiT counts exchanged",
            printed=f"DeiT has {grey_deit.gmacs_thop} G for EMNIST's one channel, and "
            f"{deit.gmacs_thop} for CIFAR-10's three: fewer for more",
            ours=if_counted(
                lambda emnist, cifar: (
                    f"{emnist.gmacs_thop:.2f} and {cifar.gmacs_thop:.2f}: they were exchanged"
                ),
                *(material.cost(dataset, "deit") for dataset in ("emnist", "cifar10")),
            ),
            command=f"{cost_command('emnist', ['deit'])}; {cost_command('cifar10', ['deit'])}",
        ),
        *_of_accuracies(material),
        Contradiction(
            key="costs of another tree",
            printed=f"TRUNK has {odd_tree.file_mb} MB and {odd_tree.gmacs_thop} G for SVHN, as "
            "many MB as for EMNIST: the longest path of SVHN's published tree has two nodes, "
            "EMNIST's has three",
            ours=if_counted(
                lambda svhn, emnist: (
                    f"SVHN's tree {describe_paths(svhn)}; EMNIST's {describe_paths(emnist)}"
                ),
                *(material.cost(dataset, "trunk") for dataset in ("svhn", "emnist")),
            ),
            command=f"{cost_command('svhn', ['trunk'])}; {cost_command('emnist', ['trunk'])}",
        ),
    ]


def _of_accuracies(material: Material) -> list[Contradiction]:
    """Return the contradictions about how networks were trained and evaluated."""
    trees, pruned = (
        {name: published_cells()[name, model].accuracy_top1 for name in DATASETS}
        for model in ("trunk", "vgg_pruned")
    )
    return [
        Contradiction(
            key="pruned before any training",
            printed="VGG-16 pruned is called a pruned network: its logs restore no weights, and "
            "CIFAR-10's accuracy was 10.00 before pruning and 9.43 after. A random network was "
            "made narrower, then trained",
            ours=of_each(material, "vgg_pruned", evidence.accuracies_around_pruning),
            command=run_command("cifar10", ["vgg_pruned"]),
        ),
        Contradiction(
            key="trainings cut off",
            printed=f"VGG-16 pruned has {pruned['emnist']}% for EMNIST and {pruned['svhn']}% for "
            "SVHN: the logs end there, at epochs 29 and 41 of 100; the best were 89.85 (epoch 21) "
            f"and 94.96 (37). CIFAR-10 ran twice with seed 42: {pruned['cifar10']}, which is "
            "printed, and 92.58",
            ours=of_each(material, "vgg_pruned", evidence.accuracy_after_all_epochs),
            command=f"{run_command('svhn', ['vgg_pruned'])} --recipe published",
        ),
        Contradiction(
            key="matrices of other accuracies",
            printed=evidence.matrices_beside_tables(),
            ours=evidence.accuracies_of_odd_matrices(material),
            command=f"{run_command('cifar10', ['resnet', 'vgg'])} --weights published; "
            f"{run_command('svhn', ['resnet'])} --weights published",
        ),
        Contradiction(
            key="tables that changed",
            printed=f"TRUNK has {trees['cifar10']}% for CIFAR-10; earlier "
            "tables had 81.36 (MobileNet nodes of up to 4.81 G), 67.61, 72.48, 78.18 and 79.15. "
            f"EMNIST went from 80.88 to {trees['emnist']}, SVHN from 86.86 "
            f"to {trees['svhn']}; latencies changed where counts did not",
            ours=of_each(material, "trunk", evidence.accuracy_on_images, published=True),
            command=f"{run_command('cifar10', ['trunk'])} --weights published",
        ),
    ]


def explanation(dataset: str, model: str, figure: str) -> str:
    """Return the key of the contradiction that explains a published figure; empty: none does."""
    of_all = _EXPLANATIONS.get(("", model, figure), "")
    return _EXPLANATIONS.get((dataset, model, figure), of_all)


# The key of the contradiction that explains a figure, by data set (empty: all), model and figure.
_EXPLANATIONS = {
    (dataset, model, figure): key
    for key, datasets, model, figures in (
        ("DINOv2 of another shape", ["svhn"], "dinov2", ["size", "count"]),
        ("quantized network in float", [""], "resnet_quantized", ["count", "latency"]),
        ("pruned before any training", [""], "vgg_pruned", ["accuracy"]),
        ("trainings cut off", ["emnist", "svhn"], "vgg_pruned", ["accuracy"]),
        ("matrices of other accuracies", ["cifar10", "svhn"], "resnet", ["accuracy"]),
        ("matrices of other accuracies", ["cifar10"], "vgg", ["accuracy"]),
        ("pruned network at two sizes", [""], "vgg_pruned", ["count", "latency"]),
        ("optimizer moments in the files", ["cifar10"], "trunk", ["size", "count"]),
        ("costs of another tree", ["svhn"], "trunk", ["size", "count"]),
        ("disk in the latency", [""], "trunk", ["latency"]),
        ("epoch chosen on the test set", [""], "trunk", ["accuracy"]),
        ("DeiT counts exchanged", ["emnist", "cifar10"], "deit", ["count"]),
    )
    for dataset in datasets
    for figure in figures
}
