"""Batches: which images an epoch shows, in which order, with which labels."""

import dataclasses

import torch

from harness.data.batches import ImageBatches, count_steps, seeded_generator, shuffled
from harness.data.preprocess import Preprocess
from harness.data.shares import Share
from harness.data.splits import MemorySplit
from harness.settings_spec import TrainingSettings

RECIPE = TrainingSettings(batch_size=4, drop_last=False)
BALANCED = dataclasses.replace(RECIPE, balance_classes=True)


def order_of(labels, recipe, seed=0):
    return shuffled(labels, recipe, torch.Generator().manual_seed(seed))


def test_each_image_comes_once():
    labels = torch.tensor([0] * 7 + [1] * 3)
    order = order_of(labels, RECIPE)
    assert sorted(order.tolist()) == list(range(10))
    assert order.tolist() != list(range(10))


def test_balanced_classes_come_equally_often_and_no_image_twice_too_much():
    labels = torch.tensor([0] * 70 + [2] * 5 + [5] * 25)
    order = order_of(labels, BALANCED)
    assert len(order) == 100
    counts = labels[order].bincount(minlength=6).tolist()
    assert sorted(counts) == [0, 0, 0, 33, 33, 34]
    # 33 or 34 draws of 5 images: each 6 or 7 times.
    assert set(order.bincount(minlength=100)[70:75].tolist()) <= {6, 7}
    assert order.bincount(minlength=100)[:70].max() == 1


def test_balanced_order_depends_on_the_generator_alone():
    labels = torch.arange(30) % 3
    assert torch.equal(order_of(labels, BALANCED, 1), order_of(labels, BALANCED, 1))
    assert not torch.equal(order_of(labels, BALANCED, 1), order_of(labels, BALANCED, 2))


def test_steps_and_images_of_an_epoch():
    assert count_steps(10, RECIPE) == (3, 10)
    assert count_steps(8, RECIPE) == (2, 8)
    assert count_steps(10, dataclasses.replace(RECIPE, drop_last=True)) == (2, 8)


def batches_of(recipe, labels):
    """Images whose one pixel is their own index."""
    pixels = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1)
    split = MemorySplit(pixels, torch.arange(10) % 2)
    preprocess = Preprocess(image_size=1, mean=None, std=None)
    return ImageBatches(split, preprocess, recipe, 3, "cpu", labels)


def test_other_labels_go_with_their_images_and_minus_one_leaves_out():
    labels = torch.tensor([-1, 5, 6, -1, 7, 8, 9, -1, 3, 4])
    batches = batches_of(RECIPE, labels)
    assert (batches.steps, batches.images) == (2, 7)
    seen = [
        (round(image.item() * 255), label.item())
        for images, targets in batches.epoch(1, 0)
        for image, label in zip(images, targets, strict=True)
    ]
    assert sorted(seen) == [(i, label) for i, label in enumerate(labels.tolist()) if label >= 0]


def test_an_epoch_taken_up_at_a_step_shows_the_rest():
    labels = torch.tensor([-1, 5, 6, -1, 7, 8, 9, -1, 3, 4])
    whole = [targets.tolist() for _, targets in batches_of(RECIPE, labels).epoch(2, 0)]
    rest = [targets.tolist() for _, targets in batches_of(RECIPE, labels).epoch(2, 1)]
    assert rest == whole[1:]
    # A checkpoint may be written after the last step, before the epoch is closed.
    assert list(batches_of(RECIPE, labels).epoch(2, 2)) == []


def test_mixed_batches_are_shared_out_and_taken_up_like_others():
    recipe = dataclasses.replace(RECIPE, mixup_alpha=1.0, cutmix_alpha=1.0)
    labels = torch.tensor([-1, 2, 0, 1, 2, 0, 1, 2, 0, 1])
    whole = list(batches_of(recipe, labels).epoch(2, 0))
    assert [tuple(targets.shape) for _, targets in whole] == [(4, 3), (4, 3), (1, 3)]
    rest = list(batches_of(recipe, labels).epoch(2, 1))
    parts = []
    for rank in range(2):
        batches = batches_of(recipe, labels)
        batches.share = Share(rank=rank, processes=2)
        parts.append(list(batches.epoch(2, 0)))
    for kind in range(2):
        assert all(torch.equal(a[kind], b[kind]) for a, b in zip(rest, whole[1:], strict=True))
        for step in range(2):
            joined = torch.cat([part[step][kind] for part in parts])
            assert torch.equal(joined, whole[step][kind])
        # Both processes take the only image of the last batch.
        assert torch.equal(parts[1][2][kind], whole[2][kind])


def test_the_generator_of_a_step_is_its_own():
    numbers = {
        seeded_generator(seed, epoch, step).initial_seed()
        for seed in (0, 1)
        for epoch in (1, 2)
        for step in (0, 1)
    }
    assert len(numbers) == 8


def test_every_image_is_mirrored_in_every_second_epoch():
    pixels = torch.tensor([[1, 2]], dtype=torch.uint8).expand(10, 1, 1, 2)
    numbered = pixels + 10 * torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1)
    split = MemorySplit(numbered, torch.arange(10))
    recipe = dataclasses.replace(RECIPE, alternate_flip=True)
    batches = ImageBatches(
        split, Preprocess(image_size=2, mean=None, std=None), recipe, 3, "cpu", None
    )

    def mirrored(epoch, first_step=0):
        found = {}
        for images, labels in batches.epoch(epoch, first_step):
            left, right = images[:, 0, 0, 0], images[:, 0, 0, 1]
            found |= dict(zip(labels.tolist(), (left > right).tolist(), strict=True))
        return found

    first, second, third = mirrored(1), mirrored(2), mirrored(3)
    assert set(first.values()) == {True, False}
    assert second == {label: not flipped for label, flipped in first.items()}
    assert third == first
    assert mirrored(2, first_step=1).items() <= second.items()


def test_nothing_is_left_of_an_epoch_after_its_last_step():
    batches = batches_of(RECIPE, torch.arange(10))
    assert len(list(batches.epoch(1, 2))) == 1
    assert list(batches.epoch(1, 3)) == []
