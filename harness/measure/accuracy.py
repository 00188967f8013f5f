"""Accuracy on test images, with its confidence interval and the confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import CellError
from harness.measure.networks import inference

_CALIBRATION_BINS = 15


@dataclass(frozen=True, kw_only=True, eq=False)
class Accuracy:
    """The accuracy of a network on a test set, in percent, with its 95% Wilson interval.

    Attributes:
        expected_calibration_error: See `calibration_error`; in percent.
        accuracy_top5_reason: Why `accuracy_top5` is None.
        confusion_matrix: Number of images by true class (row) and predicted class (column). If a
            network with more logits than classes predicted an index that belongs to no class, the
            matrix has one more column, which counts these images.
        predictions: Predicted class of each image, uint16, in the order of the images.
    """

    accuracy_top1: float
    accuracy_top1_low: float
    accuracy_top1_high: float
    accuracy_top5: float | None
    accuracy_top5_reason: str | None
    expected_calibration_error: float
    n_test: int
    confusion_matrix: list[list[int]]
    predictions: NDArray[np.uint16]


def evaluate(
    network: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    num_classes: int,
    classify: Callable[[Tensor], Tensor] | None = None,
) -> Accuracy:
    """Run a network once over every labelled image and return its accuracy.

    Args:
        network: Maps N×C×H×W floats to N×K logits, K ≥ `num_classes`.
        batches: Images on the network's device, and labels: N integers in [0, `num_classes`).
        num_classes: With five or fewer, a top-5 accuracy would be meaningless and is None.
        classify: Maps images to their classes, int64 N, for a network whose prediction is not its
            highest logit. The top-5 accuracy and the confidence in that class still follow the
            logits.

    Raises:
        CellError: No images, labels out of range, logits of a wrong shape or not finite.
    """
    labels, predictions, in_top5, confidence = _run(network, batches, num_classes, classify)
    right = labels == predictions
    n_test, correct = len(labels), int(right.sum())
    low, high = wilson_interval(correct, n_test)
    few = num_classes <= 5
    return Accuracy(
        accuracy_top1=100 * correct / n_test,
        accuracy_top1_low=100 * low,
        accuracy_top1_high=100 * high,
        accuracy_top5=None if few else 100 * int(in_top5.sum()) / n_test,
        accuracy_top5_reason=f"only {num_classes} classes" if few else None,
        expected_calibration_error=100 * calibration_error(confidence, right),
        n_test=n_test,
        confusion_matrix=_confusion(labels, predictions, num_classes).tolist(),
        predictions=predictions.astype(np.uint16),
    )


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95% score interval of a proportion, as fractions of 1.

    Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA
    22(158); in the form of Newcombe (1998), Statistics in Medicine 17(8), method 3:
    (2np + z² ± z √(z² + 4np(1 − p))) / 2(n + z²).
    """
    z = NormalDist().inv_cdf(0.975)
    p = successes / trials
    middle = 2 * successes + z * z
    half_width = z * sqrt(z * z + 4 * successes * (1 - p))
    scale = 2 * (trials + z * z)
    # At 0 and n successes the ends are exactly 0 and 1, up to rounding.
    return max(0.0, (middle - half_width) / scale), min(1.0, (middle + half_width) / scale)


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error of N predictions, as a fraction of 1.

    Guo, Pleiss, Sun and Weinberger (2017), arXiv:1706.04599, equation 3: the predictions are put
    into 15 bins of equal width by their confidence, ((m − 1)/15, m/15]; the error is the mean, over
    the predictions, of the distance between a bin's accuracy and its mean confidence.

    Args:
        confidence: The softmax probability of each predicted class.
        right: Whether each predicted class is the label.
    """
    bins = np.clip(np.ceil(confidence * _CALIBRATION_BINS) - 1, 0, _CALIBRATION_BINS - 1)
    gaps = np.bincount(bins.astype(int), weights=right - confidence)
    return float(np.abs(gaps).sum() / len(right))


def _run(
    network: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    num_classes: int,
    classify: Callable[[Tensor], Tensor] | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.float64]]:
    """Return each image's label, prediction, whether the label is among five, and confidence."""
    parts: list[Tensor] = []
    probabilities: list[Tensor] = []
    with inference(network):
        for images, targets in batches:
            logits = network(images.clone())  # some networks write to their input
            if logits.ndim != 2 or len(logits) != len(targets) or logits.shape[1] < num_classes:
                raise CellError(
                    f"the network gave {tuple(logits.shape)} for {len(targets)} labels, "
                    f"but N×K logits with K ≥ {num_classes} are needed"
                )
            chosen = logits.argmax(1) if classify is None else classify(images)
            labels = targets.to(logits.device)
            in_top5 = (logits.topk(min(5, logits.shape[1])).indices == labels[:, None]).any(1)
            # Kept on the device, so that a GPU does not wait for the CPU between batches.
            found = (labels, chosen, in_top5, logits.isfinite().all(1))
            parts.append(torch.stack([each.long() for each in found]))
            probabilities.append(logits.float().softmax(1).gather(1, chosen[:, None])[:, 0])
    if not parts:
        raise CellError("there are no images to evaluate on")
    labels, predictions, in_top5, finite = torch.cat(parts, dim=1).cpu().numpy()
    if labels.min() < 0 or labels.max() >= num_classes:
        raise CellError(f"labels from {labels.min()} to {labels.max()} for {num_classes} classes")
    if not finite.all():
        raise CellError(
            f"non-finite logits for {int((finite == 0).sum())} of {len(finite)} images, "
            f"the first is image {int(finite.argmin())}"
        )
    confidence = torch.cat(probabilities).cpu().numpy().astype(np.float64)
    return labels, predictions, in_top5.astype(bool), confidence


def _confusion(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], num_classes: int
) -> NDArray[np.int64]:
    """Return `Accuracy.confusion_matrix`."""
    from sklearn.metrics import confusion_matrix

    columns = np.minimum(predictions, num_classes)
    matrix: NDArray[np.int64] = confusion_matrix(labels, columns, labels=np.arange(num_classes + 1))
    used = num_classes + int((predictions >= num_classes).any())
    return matrix[:num_classes, :used]
