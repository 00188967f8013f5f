"""What is done to images on their way into a network."""

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data.preprocess import Preprocess, draw_shifts, resize_uint8, shift_images
from harness.errors import RequestError

SHAPES_AND_SIZES = [
    ((8, 8), 32),
    ((8, 8), 5),
    ((28, 28), 224),
    ((32, 32), 224),
    ((64, 64), 32),
    ((224, 224), 96),
    ((37, 53), 64),
    ((150, 99), 40),
    ((17, 5), 8),
    ((1, 1), 7),
    ((91, 106), 1),
    ((500, 375), 224),
]


def random_images(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.manual_seed(0))


def pillow_resize(images, size):
    """Resize B×C×H×W images one by one with Pillow."""
    resized = []
    for image in images.permute(0, 2, 3, 1).numpy():
        picture = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
        array = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))
        resized.append(torch.tensor(array).reshape(size, size, -1).permute(2, 0, 1))
    return torch.stack(resized)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("shape", "size"), SHAPES_AND_SIZES)
def test_resize_equals_pillow_bit_for_bit(shape, size, channels):
    images = random_images(4, channels, *shape)
    expected = pillow_resize(images, size)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        resized = resize_uint8(images.contiguous(memory_format=memory_format), size)
        assert resized.dtype == torch.uint8
        assert torch.equal(resized, expected)


def test_resize_of_any_size_equals_pillow_bit_for_bit():
    sizes = torch.randint(1, 130, (50, 3), generator=torch.manual_seed(1)).tolist()
    for height, width, size in sizes:
        images = random_images(2, 3, height, width)
        assert torch.equal(resize_uint8(images, size), pillow_resize(images, size))


def test_resize_leaves_images_of_the_right_size_alone():
    images = random_images(2, 3, 32, 32)
    assert resize_uint8(images, 32) is images


@pytest.mark.gpu
def test_resize_on_a_gpu_is_the_same():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    images = random_images(64, 3, 32, 45)
    assert torch.equal(resize_uint8(images.cuda(), 224).cpu(), resize_uint8(images, 224))


def test_preprocess_equals_the_published_transforms():
    from torchvision.transforms import Compose, Normalize, Resize, ToTensor

    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    published = Compose([Resize((64, 64)), ToTensor(), Normalize(mean, std)])
    images = random_images(3, 3, 32, 32)
    expected = [published(Image.fromarray(i)) for i in images.permute(0, 2, 3, 1).numpy()]
    made = Preprocess(image_size=64, mean=mean, std=std)(images)
    assert made.dtype == torch.float32
    assert torch.equal(made, torch.stack(expected))


def test_preprocess_by_hand():
    images = torch.tensor([0, 51, 102, 255], dtype=torch.uint8).reshape(1, 1, 2, 2)
    plain = Preprocess(image_size=2, mean=None, std=None)(images)
    normalised = Preprocess(image_size=2, mean=(0.2,), std=(0.5,))(images)
    assert torch.allclose(plain.flatten(), torch.tensor([0.0, 0.2, 0.4, 1.0]))
    assert torch.allclose(normalised.flatten(), torch.tensor([-0.4, 0.0, 0.4, 1.6]), atol=1e-6)
    assert images.flatten().tolist() == [0, 51, 102, 255]


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((0.5, 0.5, 0.5), (0.5,), r"mean has 3 value\(s\); wanted 1"),
        ((0.5,), (0.5, 0.5, 0.5), r"std has 3 value\(s\); wanted 1"),
    ],
)
def test_statistics_need_a_value_a_channel(mean, std, message):
    with pytest.raises(RequestError, match=message):
        Preprocess(image_size=4, mean=mean, std=std)(random_images(1, 1, 4, 4))


def test_mean_needs_std():
    with pytest.raises(RequestError, match="wanted both or neither"):
        Preprocess(image_size=4, mean=(0.5,), std=None)


def moved_by_hand(image, down, right):
    """Return C×H×W moved down and right, black where nothing came in."""
    _, height, width = image.shape
    moved = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                moved[:, row, column] = image[:, row - down, column - right]
    return moved


def shifted_by(images, pixels, seed):
    shifts = draw_shifts(len(images), pixels, torch.Generator().manual_seed(seed))
    return shift_images(images, pixels, shifts)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_is_shifted_by_its_own_step(channels):
    images = random_images(80, channels, 4, 5)
    shifted = shifted_by(images, 1, seed=3)
    steps = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    taken = set()
    for before, after in zip(images, shifted, strict=True):
        fits = [step for step in steps if torch.equal(moved_by_hand(before, *step), after)]
        assert len(fits) == 1
        taken.update(fits)
    assert taken == set(steps)
    assert shifted.dtype == torch.uint8


def test_shifts_reach_both_ends_and_no_further():
    dot = torch.zeros(500, 1, 9, 9)
    dot[:, :, 4, 4] = 1.0
    shifted = shifted_by(dot, 3, seed=0)
    rows, columns = shifted.sum(dim=(0, 1, 3)), shifted.sum(dim=(0, 1, 2))
    for counts in (rows, columns):
        assert (counts > 0).tolist() == [False] + [True] * 7 + [False]
        assert counts.sum() == 500


def test_the_generator_decides_the_shifts():
    images = random_images(50, 1, 8, 8)
    first = shifted_by(images, 2, seed=7)
    assert torch.equal(first, shifted_by(images, 2, seed=7))
    assert not torch.equal(first, shifted_by(images, 2, seed=8))
    assert torch.equal(shifted_by(images, 0, seed=7), images)
