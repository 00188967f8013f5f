"""Configurations of classifiers on the Hugging Face Hub: of transformers or of timm, no weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.errors import RequestError


def fetch_config(repository: str) -> tuple[Path, dict[str, Any]]:
    """Return the path and the content of a repository's config.json.

    It is read from the local cache, or fetched; no code of the repository is run.

    Raises:
        RequestError: It is in neither, or is no such file.
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
