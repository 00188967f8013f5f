"""The tables of docs/architectures.md: made again for one network of each family."""

from pathlib import Path

import pytest

from monolithic_architectures.families import EFFICIENTNETS, RESNETS, VITS
from studies.architecture_tables import (
    GPU_MEMORY_GB,
    Row,
    batch_cells,
    cost_cells,
    largest_batch,
    measure,
    render,
    render_line,
)

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "architectures.md"


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny", "efficientnet_b0"])
def test_the_guide_says_what_is_measured(name):
    row, lines = measure(name), GUIDE.read_text(encoding="utf-8").splitlines()
    assert render_line(cost_cells(row)) in lines
    assert render_line(batch_cells(row)) in lines


def test_the_guide_has_two_lines_for_each_network():
    lines = GUIDE.read_text(encoding="utf-8").splitlines()
    for name in (*RESNETS, *VITS, *EFFICIENTNETS):
        assert sum(line.startswith(f"| {name} |") for line in lines) == 2


def make_row(fixed, each):
    return Row(
        name="net",
        image_size=8,
        params=1_234_567,
        gmacs=0.5,
        weights_mb=4.94,
        peak_mb=1.0,
        training_fixed_mb=fixed,
        training_image_mb=each,
    )


@pytest.mark.parametrize(
    ("fixed", "each", "memory", "images"),
    [
        (200, 100, 8, 64),  # 7200 - 200 MB are 70 images, or 8 · 8
        (200, 220, 8, 31),
        (7000, 150, 8, 1),
        (7100, 150, 8, 0),
        (9000, 100, 8, 0),
        (0, 100, 80, 720),
    ],
)
def test_the_largest_batch(fixed, each, memory, images):
    assert largest_batch(make_row(fixed, each), memory) == images


def test_a_table_says_so_where_no_image_fits():
    cells = batch_cells(make_row(8000, 500))
    assert cells == ["net", "8000", "500.0", "–", "12", "27", "56", "128"]
    assert len(GPU_MEMORY_GB) == 5
    assert cost_cells(make_row(1, 1)) == ["net", "8", "1.23", "0.500", "4.9", "1.0"]
    assert render(["a", "b"], [["x", "1"]]) == "| a | b |\n| :--- | ---: |\n| x | 1 |"
