"""A made-up published cell, and what it was measured on."""

from harness.reproduction.published import PublishedCell, PublishedConditions


def cell(**changes):
    fields = {
        "dataset": "cifar10",
        "model": "vgg",
        "label": "VGG16",
        "accuracy_top1": "90.00",
        "latency_ms": "3.00",
        "file_mb": "100.00",
        "gmacs_thop": "15.47",
    }
    return PublishedCell(**(fields | changes))


CONDITIONS = PublishedConditions(
    test_images=10_000,
    evaluated_images=10_000,
    image_size=224,
    start="imagenet",
    device="cuda",
    own_network=False,
)
