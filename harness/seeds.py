"""Runs of one cell that differ in their seed alone: `--seeds`."""

from __future__ import annotations

import dataclasses
from collections.abc import Container

from harness.errors import RequestError
from harness.settings_spec import Settings


def name_seeds(text: str) -> list[int] | list[None]:
    """Return the seeds that a comma list means, each once; one None where it is empty.

    Raises:
        RequestError: It holds something else than whole numbers from 0 on.
    """
    seeds = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if not (part.isascii() and part.isdigit()):
            raise RequestError(f"--seeds {text}: whole numbers wanted, found '{part}'")
        seeds.append(int(part))
    if text and not seeds:
        raise RequestError(f"--seeds '{text}': name one or more, as in --seeds 1,2,3")
    return list(dict.fromkeys(seeds)) or [None]


def with_seed(
    settings: Settings, seed: int | None, overridden: Container[str]
) -> tuple[Settings, bool]:
    """Return settings with one of `--seeds`, and whether it is another than their own.

    Args:
        settings: What they are without it.
        seed: The seed; None: their own.
        overridden: The settings that the command line has named.

    Raises:
        RequestError: The seed is named otherwise as well, or changes nothing.
    """
    if seed is None:
        return settings, False
    if "seed" in overridden:
        raise RequestError("--seed and --seeds do not go together: put all into --seeds")
    if settings.weights == "published":
        raise RequestError("--seeds: published weights are the same for every seed")
    return dataclasses.replace(settings, seed=seed), seed != settings.seed
