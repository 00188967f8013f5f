"""List and decode the images of a folder `train/<class>/*`, `test/<class>/*`.

An error is one line that names the file. This module imports no torch.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from harness.data.npz import DAMAGED, check_classes, check_counts
from harness.errors import RequestError

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_GREY_MODES = ("1", "L", "LA")


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """Image files not yet opened, sorted by class and then by name; and their labels, int64."""

    paths: tuple[Path, ...]
    labels: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """The classes and images of a folder; `classes` are in the order of the labels."""

    classes: tuple[str, ...]
    train: ImageFiles
    test: ImageFiles


def list_folder(root: Path) -> ImageFolder:
    """Return the classes and image files of a folder `train/<class>/*`, `test/<class>/*`.

    Classes are in the order of their names. Files other than images and hidden ones are
    passed over.

    Raises:
        RequestError: A folder is missing, or classes or images are.
        OSError: A folder cannot be read.
    """
    names = set()
    for part in ("train", "test"):
        if not (root / part).is_dir():
            raise RequestError(
                f"{root}: no folder '{part}' in it; wanted train/<class>/*.png and "
                "test/<class>/*.png"
            )
        folders = (path.name for path in (root / part).iterdir() if path.is_dir())
        names |= {name for name in folders if not name.startswith(".")}
    classes = tuple(sorted(names))
    check_classes(classes, str(root))
    train, test = _list_images(root / "train", classes), _list_images(root / "test", classes)
    check_counts(train.labels, len(test.labels), classes, str(root))
    return ImageFolder(classes=classes, train=train, test=test)


def _list_images(folder: Path, classes: Sequence[str]) -> ImageFiles:
    """Return the image files below `folder`, class by class."""
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        inside = (folder / name).iterdir() if (folder / name).is_dir() else ()
        images = [
            path
            for path in sorted(inside)
            if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
        ]
        paths += images
        labels += [label] * len(images)
    return ImageFiles(paths=tuple(paths), labels=np.array(labels, dtype=np.int64))


def common_size(paths: Iterable[Path]) -> tuple[int, int] | None:
    """Return the height and width, in pixels, that all images share; None where they differ.

    Raises:
        RequestError: A file is not an image.
    """
    first: tuple[int, int] | None = None
    for path in paths:
        with _open_image(path) as image:
            size = (image.height, image.width)
        if first is not None and size != first:
            return None
        first = size
    return first


def image_channels(path: Path) -> int:
    """Return 1 for a grey image and 3 for any other.

    Raises:
        RequestError: The file is not an image.
    """
    with _open_image(path) as image:
        return 1 if image.mode in _GREY_MODES else 3


def decode_image(path: Path, channels: int, size: tuple[int, int]) -> np.ndarray:
    """Return an image as uint8, H×W for 1 channel or H×W×3, resized bilinearly where needed.

    Args:
        path: The file.
        channels: 1 (grey) or 3 (RGB); the image is converted.
        size: Height and width wanted, in pixels.

    Raises:
        RequestError: The file is not an image, is damaged, or has more than 8 bits a channel.
    """
    with _open_image(path) as image:
        pixels: Image.Image = image.convert("L" if channels == 1 else "RGB")
    height, width = size
    if pixels.size != (width, height):
        pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(pixels)


@contextmanager
def _open_image(path: Path) -> Iterator[Image.Image]:
    """Open an image; what goes wrong with it in the block becomes a RequestError."""
    try:
        with Image.open(path) as image:
            # Pillow's conversion to 8 bits would clip bright pixels rather than scale them.
            if image.mode.startswith(("I", "F")):
                raise RequestError(f"{path}: more than 8 bits a channel (mode {image.mode})")
            yield image
    except UnidentifiedImageError as error:
        raise RequestError(f"{path}: not an image") from error
    except (*DAMAGED, struct.error, Image.DecompressionBombError) as error:
        raise RequestError(f"{path}: cannot be read as an image ({error})") from error
