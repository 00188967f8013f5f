"""Choose the trackers that a request names, and check that they are installed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution

from harness.errors import RequestError, unknown_name
from harness.registry import split_names

USUAL = "tensorboard"
NONE = "none"

# Trackers with an adapter here, and the packages that they need; all but the first are extras.
_ADAPTED = {
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow-skinny", "sqlalchemy", "alembic"),
    "wandb": ("wandb",),
    "ml-dash": ("ml-dash",),
}


def choose_trackers(asked: Sequence[str], *, offline: bool) -> tuple[str, ...]:
    """Return the trackers that repeated options and comma lists mean, each once.

    Args:
        asked: The options as given; none means the usual tracker.
        offline: Whether the network must not be used.

    Raises:
        RequestError: One is unknown, not installed, or needs the network that is not to be used;
            an option names none, or there is another beside none.
    """
    names = split_names("tracker", asked) or [USUAL]
    if names == [NONE]:
        return ()
    known = known_trackers()
    for name in names:
        if name == NONE:
            raise RequestError("--tracker none: nothing can be tracked beside it")
        if name not in known:
            raise unknown_name("tracker", name, [*known, NONE])
        _require_packages(name)
        if offline and name not in _ADAPTED:
            raise RequestError(
                f"--offline: tracker {name} may use the network; use {', '.join(_ADAPTED)} or none"
            )
    return tuple(names)


def known_trackers() -> list[str]:
    """Return the names of those that accelerate knows, and of ours."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    return sorted({*LOGGER_TYPE_TO_CLASS, *_ADAPTED})


def _require_packages(name: str) -> None:
    packages = _ADAPTED.get(name, (name.replace("_", "-"),))
    # Package metadata is asked, not the import path: wandb leaves a folder of its own name.
    missing = [package for package in packages if not _is_installed(package)]
    if missing:
        way = f"pip install {' '.join(missing)}"
        if name in _ADAPTED:
            way = f"uv sync --extra {name}, or {way} (versions in pyproject.toml)"
        raise RequestError(f"tracker {name} needs {', '.join(missing)}: {way}")


def _is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True
