"""The tables of docs/architectures.md: made again for one network of each family."""

from pathlib import Path

import pytest

from harness.report.table import Table
from monolithic_architectures.families import EFFICIENTNETS, RESNETS, VITS
from studies.architecture_tables import (
    BATCH_COLUMNS,
    COST_COLUMNS,
    largest_batch,
    measure_costs,
    measure_training,
)

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "architectures.md"


def check_line(row, columns):
    lines = GUIDE.read_text(encoding="utf-8").splitlines()
    assert Table.of([row], columns).markdown().splitlines()[2] in lines


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny", "efficientnet_b0"])
def test_the_guide_says_what_is_measured(name):
    check_line(measure_costs(name), COST_COLUMNS)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("vit_tiny", "efficientnet_b0")),
    ],
)
def test_the_guide_says_which_batches_fit(name):
    check_line(measure_training(name), BATCH_COLUMNS)


def test_the_guide_has_two_lines_for_each_network():
    lines = GUIDE.read_text(encoding="utf-8").splitlines()
    for name in (*RESNETS, *VITS, *EFFICIENTNETS):
        assert sum(line.startswith(f"| {name} |") for line in lines) == 2


@pytest.mark.parametrize(
    ("fixed", "each", "memory", "images"),
    [
        (200, 100, 8, 64),  # 7200 - 200 MB are 70 images, or 8 · 8
        (200, 220, 8, 31),
        (7000, 150, 8, 1),
        (7100, 150, 8, None),
        (9000, 100, 8, None),
        (0, 100, 80, 720),
    ],
)
def test_the_largest_batch(fixed, each, memory, images):
    assert largest_batch({"fixed_mb": fixed, "image_mb": each}, memory) == images


def test_a_table_says_so_where_no_image_fits():
    step = {"name": "net", "fixed_mb": 8000, "image_mb": 500}
    cells = [column.show(step) for column in BATCH_COLUMNS]
    assert cells == ["net", "8000", "500.0", "–", "12", "27", "56", "128"]


def test_costs_are_shown_in_the_units_of_their_columns():
    costs = {"name": "net", "image_size": 8, "params": 1_234_567, "gmacs": 0.5}
    costs |= {"weights_mb": 4.94, "peak_mb": 1.0}
    cells = [column.show(costs) for column in COST_COLUMNS]
    assert cells == ["net", "8", "1.23", "0.500", "4.9", "1.0"]
