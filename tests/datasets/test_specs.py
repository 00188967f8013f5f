"""What every data set's file promises, and that reading a promise costs nothing."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("digits", "emnist", "cifar10", "svhn", "fashion_mnist")


def spec_of(name):
    return importlib.import_module(f"datasets.{name}").SPEC


@pytest.mark.parametrize("name", NAMES)
def test_names_and_statistics_fit_each_other(name):
    spec = spec_of(name)
    assert len(set(spec.classes)) == len(spec.classes) >= 2
    assert (spec.mean is None) == (spec.std is None)
    assert spec.mean is None or len(spec.mean) == len(spec.std) == spec.channels
    assert "\n" not in spec.advice
    assert spec.files or spec.splits_sha256
    assert importlib.import_module(f"datasets.{name}").__doc__.splitlines()[0].endswith(").")


def test_importing_them_imports_no_library():
    code = (
        "import importlib, sys\n"
        f"for name in {NAMES}: importlib.import_module('datasets.' + name)\n"
        "print(sorted({'torch', 'torchvision', 'sklearn', 'numpy'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_published_statistics():
    assert spec_of("cifar10").mean == spec_of("svhn").mean == (0.4914, 0.4822, 0.4465)
    assert spec_of("cifar10").std == spec_of("svhn").std == (0.2023, 0.1994, 0.2010)
    assert spec_of("emnist").mean is None
    assert spec_of("digits").mean is None


def test_class_names_are_those_of_torchvision():
    from torchvision.datasets import EMNIST, FashionMNIST

    assert list(spec_of("emnist").classes) == EMNIST.classes_split_dict["balanced"]
    assert len(spec_of("emnist").classes) == 47
    assert list(spec_of("fashion_mnist").classes) == FashionMNIST.classes


@pytest.mark.parametrize(("name", "file"), [("emnist", "emnist47"), ("cifar10", "cifar10_sample")])
def test_class_names_are_those_of_the_shared_images(name, file):
    path = ROOT.parent / "shared" / "data" / f"{file}.npz"
    if not path.exists():
        pytest.skip(f"no {path.name} beside the checkout")
    with np.load(path, allow_pickle=False) as archive:
        assert tuple(archive["classes"]) == spec_of(name).classes
