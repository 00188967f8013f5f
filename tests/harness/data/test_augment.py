"""Augmentation: what each change does to pixels, and that a generator decides it all."""

import dataclasses

import pytest
import torch
from torchvision.transforms.v2.functional import resized_crop

from harness.data import augment as augments
from harness.data.augment import (
    cut_out,
    draw_changes,
    draw_corners,
    draw_crops,
    enlarge_crops,
    mix,
    move_changes,
)
from harness.settings_spec import TrainingSettings

PLAIN = TrainingSettings()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(count=64, channels=3, side=8):
    return torch.randint(1, 256, (count, channels, side, side), generator=generator(9)).byte()


def augment(images, recipe, generator):
    changes = draw_changes(len(images), images.shape[-1], recipe, generator)
    return augments.augment(images, recipe, changes)


def cut_holes(images, holes, side):
    return cut_out(
        images, side, draw_corners(len(images), images.shape[-1], holes, side, generator())
    )


def test_nothing_is_changed_unless_asked():
    before = images()
    assert torch.equal(augment(before, PLAIN, generator()), before)


def test_about_half_the_images_are_flipped_and_the_others_are_not():
    before = images(400)
    after = augment(before, dataclasses.replace(PLAIN, horizontal_flip=True), generator())
    kept = (after == before).flatten(1).all(1)
    flipped = (after == before.flip(3)).flatten(1).all(1)
    assert (kept ^ flipped).all()
    assert 150 < flipped.sum() < 250


def test_a_hole_is_black_in_all_channels_and_of_its_size():
    holes = (cut_holes(torch.ones(500, 3, 9, 9), 1, 3) == 0).all(1)
    areas = holes.flatten(1).sum(1)
    # Centres are anywhere: in a corner 4 pixels of the 9 are left, inside all are.
    assert set(areas.tolist()) == {4, 6, 9}
    # 49 of the 81 centres are inside.
    assert 0.5 < (areas == 9).float().mean() < 0.7
    assert holes.any(0).all()


def test_several_holes_can_overlap():
    areas = (cut_holes(torch.ones(300, 1, 16, 16), 2, 4) == 0).flatten(1).sum(1)
    assert areas.max() == 32
    assert areas.min() < 32


def test_rand_augment_changes_each_image_in_its_own_way():
    same = images(1).expand(40, -1, -1, -1)
    after = augment(same, dataclasses.replace(PLAIN, rand_augment=(2, 8)), generator())
    assert after.dtype == torch.uint8
    assert len({image.numpy().tobytes() for image in after}) > 10


@pytest.mark.parametrize("side", [8, 33])
def test_crops_are_enlarged_as_torchvision_does_it(side):
    before = images(40, 3, side)
    crops = draw_crops(40, side, (0.05, 1.0), generator())
    after = enlarge_crops(before, crops)
    assert after.dtype == torch.uint8
    for image, crop, enlarged in zip(before, crops.tolist(), after, strict=True):
        wanted = resized_crop(image, *crop, [side, side])
        torch.testing.assert_close(enlarged, wanted, atol=1, rtol=0)
    assert (after != before).flatten(1).any(1).sum() > 30


def test_crops_have_the_areas_and_shapes_that_are_asked_for_and_lie_anywhere():
    top, left, height, width = draw_crops(2000, 100, (0.2, 0.5), generator()).T.double()
    shares = height * width / 100**2
    assert 0.19 < shares.min() < 0.22
    assert 0.48 < shares.max() < 0.51
    assert shares.mean() == pytest.approx(0.35, abs=0.01)
    assert (height / width).min() == pytest.approx(3 / 4, abs=0.03)
    assert (height / width).max() == pytest.approx(4 / 3, abs=0.03)
    for start, side in ((top, height), (left, width)):
        assert start.min() == 0
        assert (start + side).max() == 100
        assert (start / (100 - side)).mean() == pytest.approx(0.5, abs=0.03)


def test_a_crop_of_the_whole_area_is_the_image():
    # Nothing but a square fits; where none is drawn in ten tries, the whole image is taken.
    before = images(50)
    recipe = dataclasses.replace(PLAIN, random_resized_crop=(1.0, 1.0))
    assert torch.equal(augment(before, recipe, generator()), before)


def mixed(seed, before=None, count=6, **alphas):
    """Return images, one color each, before and after they were mixed, and their targets."""
    if before is None:
        before = (1.0 + torch.arange(count))[:, None, None, None].expand(-1, 3, 9, 7).clone()
    recipe = dataclasses.replace(PLAIN, **alphas)
    labels = torch.arange(len(before)) % 4
    return before, labels, *mix(before, labels, 4, recipe, seed)


def shares_of(before, labels, targets):
    """Return the share of each image in its own target, from targets of two classes."""
    assert (labels != labels.roll(1)).all()
    rows = torch.arange(len(before))
    own = targets[rows, labels]
    torch.testing.assert_close(targets[rows, labels.roll(1)], 1 - own)
    torch.testing.assert_close(targets.sum(1), torch.ones(len(before)))
    assert (own == own[0]).all()
    return own[0].item()


def test_mixup_adds_the_image_before_it_in_the_share_of_its_target():
    own = []
    for seed in range(200):
        before, labels, after, targets = mixed(seed, mixup_alpha=0.4)
        own.append(shares_of(before, labels, targets))
        torch.testing.assert_close(after, own[-1] * before + (1 - own[-1]) * before.roll(1, 0))
    # Beta(0.4, 0.4) has variance 1 / (4 * 1.8), most of it near 0 and 1.
    assert torch.tensor(own).mean() == pytest.approx(0.5, abs=0.08)
    assert torch.tensor(own).var() == pytest.approx(1 / 7.2, abs=0.03)


def test_cutmix_pastes_a_box_of_the_image_before_it_as_large_as_the_share_of_its_target():
    own = []
    for seed in range(50):
        before, labels, after, targets = mixed(seed, cutmix_alpha=1.0)
        own.append(shares_of(before, labels, targets))
        kept = after == before
        assert torch.equal(after[~kept], before.roll(1, 0).expand_as(after)[~kept])
        assert kept.float().mean().item() == pytest.approx(own[-1])
        assert (kept == kept[:1, :1]).all()
        box = ~kept[0, 0]
        assert torch.equal(box, box.any(1)[:, None] & box.any(0))
    # Boxes end at the border, so that few take most of an image.
    assert min(own) < 0.4
    assert max(own) > 0.8


def test_with_both_each_batch_is_mixed_by_one_of_them():
    ways = []
    for seed in range(100):
        before, _, after, targets = mixed(seed, mixup_alpha=1.0, cutmix_alpha=1.0)
        if (targets.max(1).values < 1).all():
            ways.append(
                "cutmix" if ((after == before) | (after == before.roll(1, 0))).all() else "mixup"
            )
    assert 30 < ways.count("mixup") < 70
    assert 30 < ways.count("cutmix") < 70


def test_a_batch_of_one_image_is_mixed_with_itself():
    before, _, after, targets = mixed(0, count=1, mixup_alpha=1.0, cutmix_alpha=1.0)
    torch.testing.assert_close(after, before)
    torch.testing.assert_close(targets, torch.tensor([[1.0, 0, 0, 0]]))


def test_a_seed_decides_how_a_batch_is_mixed_and_no_other_draw_depends_on_it():
    alphas = {"mixup_alpha": 1.0, "cutmix_alpha": 1.0}
    state = torch.get_rng_state()
    one, two, other = (mixed(seed, **alphas)[2] for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)
    recipe = dataclasses.replace(PLAIN, shift_pixels=2, horizontal_flip=True, cutout=(1, 3))
    both = dataclasses.replace(recipe, random_resized_crop=(0.5, 1.0), **alphas)
    before = draw_changes(20, 8, recipe, generator()).rows
    after = draw_changes(20, 8, both, generator()).rows
    assert all(torch.equal(after[name], rows) for name, rows in before.items())


@pytest.mark.parametrize(
    "change",
    [
        {"rand_augment": (2, 8)},
        {"cutout": (2, 4)},
        {"horizontal_flip": True},
        {"random_resized_crop": (0.2, 1.0)},
    ],
)
def test_the_generator_decides_alone(change):
    recipe = dataclasses.replace(PLAIN, **change)
    before = torch.get_rng_state()
    first = augment(images(), recipe, generator(1))
    torch.rand(7)
    assert torch.equal(augment(images(), recipe, generator(1)), first)
    assert not torch.equal(augment(images(), recipe, generator(2)), first)
    torch.set_rng_state(before)


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    augment(images(4), dataclasses.replace(PLAIN, rand_augment=(2, 8)), generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_changes_of_many_batches_are_moved_together_and_stay_the_same():
    changes = {"horizontal_flip": True, "cutout": (2, 4), "random_resized_crop": (0.5, 1.0)}
    recipe = dataclasses.replace(PLAIN, shift_pixels=2, **changes)
    drawn = [draw_changes(count, 8, recipe, generator(count)) for count in (5, 5, 3)]
    for before, after in zip(drawn, move_changes(drawn, "cpu"), strict=True):
        assert (
            before.rows.keys() == after.rows.keys() == {*("shifts", "flipped", "corners", "crops")}
        )
        assert all(torch.equal(before.rows[name], after.rows[name]) for name in before.rows)
    assert move_changes([], "cpu") == []
