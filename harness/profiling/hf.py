"""Configurations of image classifiers, without weights: transformers' own, and those on the Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import RequestError
from harness.profiling.catalogue import catalogue
from harness.profiling.request import USUAL_IMAGE_SIZE, ImageSize, Options, show_size, sides

# What these types take or need, so that a pass over images without values is not possible.
_REFUSED = {
    "imagegpt": "it takes the numbers of colour clusters, not pixels",
    "perceiver": "its attention mask depends on values, and counting has none",
    "shieldgemma2": "it takes text besides images",
}


class PatchInput(nn.Module):
    """SigLIP 2 behind its processor: cuts images, N×C×H×W, into the patches that it takes."""

    def __init__(self, network: nn.Module, size: ImageSize, patch: int, images: int) -> None:
        super().__init__()
        self.network, self.patch = network, patch
        # It reads the numbers of patches, so they are on the CPU.
        self.grids = torch.tensor([[side // patch for side in sides(size)]] * images, device="cpu")

    def forward(self, images: Tensor) -> object:
        """Return the network's output."""
        cut = images.unfold(2, self.patch, self.patch).unfold(3, self.patch, self.patch)
        patches = cut.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)
        return self.network(
            pixel_values=patches, pixel_attention_mask=None, spatial_shapes=self.grids
        )


def build_hf(name: str, options: Options) -> tuple[nn.Module, ImageSize]:
    """Build a model type with its default configuration; RequestError if it takes no images."""
    import transformers

    if name in _REFUSED:
        raise RequestError(_REFUSED[name])
    kind = getattr(transformers, catalogue("transformers").classes[name])
    return build_from_config(transformers.CONFIG_MAPPING[name](), kind, options)


def build_from_config(config: Any, kind: Any, options: Options) -> tuple[nn.Module, ImageSize]:
    """Build a class of transformers from a configuration, for the images of the options."""
    # Models of images and text have a configuration of their own for images.
    vision = getattr(config, "vision_config", config)
    config.num_labels = options.classes
    for key in ("num_channels", "in_channels"):
        if isinstance(getattr(vision, key, None), int):
            setattr(vision, key, options.channels)
    native: Any = getattr(vision, "image_size", None)
    if native is None and getattr(vision, "num_patches", None) is not None:
        patch = int(vision.patch_size)
        size = options.image_size or patch * int(vision.num_patches**0.5)
        if any(side % patch for side in sides(size)):
            raise RequestError(f"image size {show_size(size)}: multiples of {patch} wanted")
        return PatchInput(kind(config), size, patch, options.batch_size), size
    square = native is None or isinstance(native, int)
    size = options.image_size or (native if square else int(native[0])) or USUAL_IMAGE_SIZE
    if native is not None:
        vision.image_size = size if square else type(native)(sides(size))
    return kind(config), size


def fetch_config(repository: str) -> tuple[Path, dict[str, Any]]:
    """Return the path and the content of a repository's config.json; RequestError without one.

    It is read from the local cache, or fetched; no code of the repository is run.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        try:
            path = hf_hub_download(repository, "config.json", local_files_only=True)
        except LocalEntryNotFoundError:
            path = hf_hub_download(repository, "config.json", etag_timeout=5)
        tree = json.loads(Path(path).read_text(encoding="utf-8"))
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise RequestError(
            f"{repository}: its config.json is not in the cache of the Hugging Face Hub and cannot "
            f"be fetched: {type(error).__name__}: {reason}"
        ) from error
    if not isinstance(tree, dict):
        raise RequestError(f"{repository}: its config.json holds no configuration")
    return Path(path), tree
