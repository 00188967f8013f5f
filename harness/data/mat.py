"""Read images and labels from MATLAB files, as those of SVHN are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from harness.data.layouts import name_arrays, named_parts
from harness.data.npz import DAMAGED, Arrays
from harness.errors import RequestError


def mat_files(path: Path) -> dict[str, Path]:
    """Return the .mat files of a data set by part; empty where there are none.

    A file whose name says train, as SVHN's `train_32x32.mat`, goes with the one beside it whose
    name says test in its place.
    """
    if path.is_dir():
        found: dict[str, Path] = {}
        for file in sorted(path.glob("*.mat")):
            for part in named_parts(file.stem)[:1]:
                found.setdefault(part, file)
        return found
    if path.suffix.lower() != ".mat":
        return {}
    beside = path.with_name(path.name.replace("train", "test"))
    if named_parts(path.stem)[:1] == ["train"] and beside != path and beside.is_file():
        return {"train": path, "test": beside}
    return {"train": path}


def read_mat(files: Mapping[str, Path]) -> tuple[Arrays, list[str]]:
    """Return the arrays of .mat files by what they mean, and notes.

    Images have their index last in MATLAB, and get it first here.
    """
    arrays: Arrays = {}
    for part, path in files.items():
        variables = _load(path)
        for meaning, name in name_arrays(variables, str(path)).items():
            arrays[meaning.replace("train_", f"{part}_", 1)] = variables[name]
    labels = {name: array for name, array in arrays.items() if name.endswith("_labels")}
    # The labels of SVHN are the digits 1 to 9, and 10 for 0.
    values = np.unique(np.concatenate([*labels.values()], axis=None)) if labels else ()
    digits = "classes" not in arrays and np.array_equal(values, np.arange(1, 11))
    for name in [name for name in arrays if name.endswith("_images")]:
        numbers = labels.get(name.replace("images", "labels"), np.empty(0))
        if arrays[name].ndim in (3, 4) and arrays[name].shape[-1] == numbers.size:
            arrays[name] = np.moveaxis(arrays[name], -1, 0)
        digits = digits and arrays[name].ndim == 4 and numbers.dtype.kind in "iu"
    if digits:
        arrays |= {name: array % 10 for name, array in labels.items()}
    return arrays, ["label 10 is the digit 0, as in SVHN"] if digits else []


def _load(path: Path) -> Arrays:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        return {name: array for name, array in loadmat(path).items() if name[:2] != "__"}
    except NotImplementedError as error:
        raise RequestError(f"{path}: MATLAB's format 7.3; save it with -v7") from error
    except (*DAMAGED, MatReadError, TypeError, KeyError) as error:
        raise RequestError(f"{path}: not a .mat file, or a damaged one ({error})") from error
