"""Accuracy, its interval and the confusion matrix on logits made by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from harness.errors import CellError
from harness.measure.accuracy import calibration_error, evaluate, wilson_interval


def one_hot(predictions, num_logits):
    """Images that `nn.Flatten` turns into logits with these highest entries."""
    return nn.functional.one_hot(torch.tensor(predictions), num_logits).float()[:, :, None, None]


def run(predictions, labels, *, num_logits=3, num_classes=3, batch_size=2):
    images, labels = one_hot(predictions, num_logits), torch.tensor(labels)
    batches = zip(images.split(batch_size), labels.split(batch_size), strict=True)
    return evaluate(nn.Flatten(), batches, num_classes)


def test_counts_rows_true_columns_predicted():
    accuracy = run(predictions=[0, 1, 2, 2, 1], labels=[0, 1, 1, 2, 0])
    assert accuracy.accuracy_top1 == 60
    assert accuracy.n_test == 5
    assert accuracy.confusion_matrix == [[1, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert accuracy.predictions.dtype == np.uint16
    assert accuracy.predictions.tolist() == [0, 1, 2, 2, 1]


def test_the_interval_is_in_percent():
    accuracy = run(predictions=[0, 1, 2, 2, 1], labels=[0, 1, 1, 2, 0])
    low, high = wilson_interval(3, 5)
    assert (accuracy.accuracy_top1_low, accuracy.accuracy_top1_high) == (100 * low, 100 * high)


def test_a_class_without_images_has_an_empty_row():
    accuracy = run(predictions=[0, 2], labels=[0, 0])
    assert accuracy.confusion_matrix == [[1, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_logits_beyond_the_classes_are_wrong_and_counted_apart():
    accuracy = run([0, 700, 1, 767], [0, 1, 1, 2], num_logits=768)
    assert accuracy.accuracy_top1 == 50
    assert accuracy.confusion_matrix == [[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 1]]
    assert accuracy.predictions.tolist() == [0, 700, 1, 767]


def test_top_5_of_6_classes():
    # highest to lowest logit: 5 4 3 2 1 0, so that class 0 alone is never among five
    images = torch.arange(6.0).repeat(6, 1)[:, :, None, None]
    accuracy = evaluate(nn.Flatten(), [(images, torch.arange(6))], 6)
    assert accuracy.accuracy_top5 == pytest.approx(100 * 5 / 6)
    assert accuracy.accuracy_top5_reason is None
    assert accuracy.accuracy_top1 == pytest.approx(100 / 6)


def test_top_5_of_5_classes_is_none_with_a_reason():
    accuracy = run([0, 1], [0, 1], num_logits=5, num_classes=5)
    assert accuracy.accuracy_top5 is None
    assert accuracy.accuracy_top5_reason == "only 5 classes"


def logits_of(probabilities):
    """Images that `nn.Flatten` turns into logits of two classes, the first this probable."""
    first = torch.tensor(probabilities)
    return torch.stack([first.log(), (1 - first).log()], dim=1)[:, :, None, None]


def test_the_calibration_error_by_hand():
    # Confidences 0.9, 0.9, 0.7 and 0.6, of which the second is wrong. Bins are 1/15 wide: 0.9 is in
    # (13/15, 14/15], 0.7 in (10/15, 11/15], 0.6 in (8/15, 9/15]. So the gaps are |1 − 1.8|,
    # |1 − 0.7| and |1 − 0.6|, over four images.
    labels = torch.tensor([0, 1, 0, 1])
    images = logits_of([0.9, 0.9, 0.7, 0.4])
    accuracy = evaluate(nn.Flatten(), [(images[:3], labels[:3]), (images[3:], labels[3:])], 2)
    assert accuracy.expected_calibration_error == pytest.approx(100 * (0.8 + 0.3 + 0.4) / 4)
    # In one bin, an over- and an under-confident prediction make up for each other.
    assert calibration_error(np.array([0.68, 0.72]), np.array([True, False])) == pytest.approx(0.2)
    assert calibration_error(np.array([1.0, 1.0]), np.array([True, True])) == 0


def test_confidence_is_that_of_the_class_that_was_chosen():
    def worst(images):
        return images.flatten(1).argmin(1)

    images = logits_of([0.9, 0.8])
    accuracy = evaluate(nn.Flatten(), [(images, torch.tensor([1, 0]))], 2, worst)
    # 0.1 right and 0.2 wrong, in (1/15, 2/15] and (2/15, 3/15].
    assert accuracy.expected_calibration_error == pytest.approx(100 * (0.9 + 0.2) / 2, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_labels_of_any_integer_type(dtype):
    images = one_hot([0, 250], 256)
    accuracy = evaluate(nn.Flatten(), [(images, torch.tensor([0, 250], dtype=dtype))], 256)
    assert accuracy.accuracy_top1 == 100


def test_the_module_is_in_evaluation_mode_and_put_back():
    network = nn.Sequential(nn.Dropout(1.0), nn.Flatten()).train()
    network[1].eval()
    accuracy = evaluate(network, [(one_hot([2], 3), torch.tensor([2]))], 3)
    assert accuracy.accuracy_top1 == 100
    assert [part.training for part in network.modules()] == [True, True, False]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_logits_fail_the_cell(bad):
    images = one_hot([0, 1, 2, 0], 3)
    images[2, 0] = bad
    with pytest.raises(CellError, match=r"non-finite logits for 1 of 4 images, .* image 2"):
        evaluate(nn.Flatten(), [(images, torch.tensor([0, 1, 2, 0]))], 3)


def test_too_few_logits_fail_the_cell():
    with pytest.raises(CellError, match=r"\(2, 3\) for 2 labels, .* K ≥ 4"):
        run([0, 1], [0, 1], num_classes=4)


def test_another_number_of_labels_fails_the_cell():
    with pytest.raises(CellError, match=r"\(2, 3\) for 1 labels"):
        evaluate(nn.Flatten(), [(one_hot([0, 1], 3), torch.tensor([0]))], 3)


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_out_of_range_fail_the_cell(label):
    with pytest.raises(CellError, match="labels from .* for 3 classes"):
        run([0, 1], [0, label])


def test_no_images_fail_the_cell():
    with pytest.raises(CellError, match="no images"):
        evaluate(nn.Flatten(), [], 3)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe (1998), table I, method 3
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_against_printed_values(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("trials", [1, 10, 263, 18800])
def test_wilson_at_its_ends(trials):
    # with none of n, the upper end is z² / (n + z²)
    upper = 1.959964**2 / (trials + 1.959964**2)
    low, high = wilson_interval(0, trials)
    assert low == 0
    assert high == pytest.approx(upper, rel=1e-6)
    low, high = wilson_interval(trials, trials)
    assert low == pytest.approx(1 - upper, rel=1e-6)
    assert high == pytest.approx(1, abs=1e-15)
    assert high <= 1
