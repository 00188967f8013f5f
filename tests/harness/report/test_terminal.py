"""Tables on wide and narrow terminals, and in files."""

import re

import pytest

from harness.report.table import Table
from harness.report.terminal import print_table

LONG = "trained for two epochs from random weights on a machine that was busy " * 3
TABLE = Table.of_texts(
    ("Model", "Top-1 %", "Notes"),
    [("ResNet-50", "98.61", LONG), ("TRUNK", "97.22", "[a] note: of its own")],
    align="lrl",
    title="digits: measured",
)


@pytest.fixture
def shown(monkeypatch, capsys):
    def show(columns=None):
        if columns is not None:
            monkeypatch.setenv("FORCE_COLOR", "1")
            monkeypatch.setenv("COLUMNS", str(columns))
            monkeypatch.setenv("NO_COLOR", "1")
        print_table(TABLE)
        return capsys.readouterr().out.splitlines()

    return show


def test_a_file_gets_each_row_on_one_line_without_lines_around(shown):
    lines = shown()
    assert [" ".join(line.split()) for line in lines] == [
        "digits: measured",
        "Model Top-1 % Notes",
        f"ResNet-50 98.61 {LONG.strip()}",
        "TRUNK 97.22 [a] note: of its own",
    ]
    # Columns are aligned, and nothing follows the last word.
    assert len({line.index(text) for line, text in zip(lines[2:], ("98", "97"), strict=True)}) == 1
    assert all(line == line.rstrip() for line in lines)


def test_a_terminal_gets_lines_around_cells_and_none_is_wider(shown):
    lines = [re.sub("\x1b[^m]*m", "", line) for line in shown(60)]
    assert any("│ ResNet-50" in line for line in lines)
    assert len(lines) > 7
    assert all(len(line) <= 60 for line in lines)


def test_a_narrow_terminal_gets_one_cell_below_the_other(shown):
    text = "\n".join(shown(24))
    assert not set(text) & set("│┃━┏└─")
    assert "TRUNK\n  Top-1 %: 97.22\n  Notes: [a] note: of" in text
