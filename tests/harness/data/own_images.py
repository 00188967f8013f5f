"""Loading of a user's own images, and what is said about it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data.loading import load_data
from harness.errors import RequestError
from harness.settings_spec import DataSettings


def load(
    path=None,
    spec=None,
    *,
    data_dir=Path("nowhere"),
    offline=True,
    image_size=4,
    share=None,
    seed=0,
    memory_limit_gb=1.0,
):
    return load_data(
        "animals",
        spec,
        data_dir=data_dir,
        data_file=path,
        offline=offline,
        image_size=image_size,
        memory_limit_gb=memory_limit_gb,
        settings=DataSettings(test_share=share, test_seed=seed),
    )


def complaint(path=None, spec=None, **options):
    """Return the line that loading ends with."""
    with pytest.raises(RequestError) as caught:
        load(path, spec, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def notes(data):
    return "; ".join(data.source.notes)


def pixels_of(split):
    """Return all images of a split, N×C×H×W."""
    return torch.cat([images for images, _ in split.batches(None, 4)])


def save(array, path, **options):
    """Write an array as an image, and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = array if isinstance(array, Image.Image) else Image.fromarray(np.asarray(array))
    image.save(path, **options)
    return path


def write_folder(root, parts=("train", "test"), classes=("ant", "bee"), images=2):
    """Write grey 4×4 images of different contents; return the folder."""
    for number, path in enumerate(
        root / part / name / f"{index}.png"
        for part in parts
        for name in classes
        for index in range(images)
    ):
        save(np.full((4, 4), number, np.uint8), path)
    return root
