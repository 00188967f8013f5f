"""Augmentation: what each change does to pixels, and that a generator decides it all."""

import dataclasses

import pytest
import torch

from harness.data import augment as augments
from harness.data.augment import cut_out, draw_changes, draw_corners, move_changes
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


@pytest.mark.parametrize(
    "change", [{"rand_augment": (2, 8)}, {"cutout": (2, 4)}, {"horizontal_flip": True}]
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
    recipe = dataclasses.replace(PLAIN, shift_pixels=2, horizontal_flip=True, cutout=(2, 4))
    drawn = [draw_changes(count, 8, recipe, generator(count)) for count in (5, 5, 3)]
    for before, after in zip(drawn, move_changes(drawn, "cpu"), strict=True):
        assert before.rows.keys() == after.rows.keys() == {"shifts", "flipped", "corners"}
        assert all(torch.equal(before.rows[name], after.rows[name]) for name in before.rows)
    assert move_changes([], "cpu") == []
