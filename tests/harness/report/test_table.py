"""Tables: every form shows the same cells, a dash where nothing is known, and the best in bold."""

import csv
import io

import pytest

from harness.report.table import Column, Shown, Table, show_number, write_csv

COLUMNS = (
    Column(name="Model", get="model"),
    Column(name="Top-1 % (95%)", get=lambda item: item["accuracy"], align="r", better="high"),
    Column(name="Params M", get="params", digits=2, scale=1e-6, better="low", group="size"),
    Column(name="Share", get="share", digits=0, form="%", group="rest"),
)
ITEMS = (
    {
        "model": "a | b",
        "accuracy": Shown(text="91.2", spread="(90–92)", value=91.2),
        "params": 2_000_000,
        "share": 0.5,
    },
    {"model": "c", "accuracy": None, "params": 2_000_400, "share": None},
    {"model": "d", "accuracy": Shown(text="80.0", value=80.0), "params": 3_000_000},
)


def test_markdown_has_arrows_bold_and_dashes():
    assert (
        Table.of(ITEMS, COLUMNS).markdown()
        == r"""| Model | Top-1 % ↑ (95%) | Params M ↓ | Share |
| :--- | ---: | ---: | ---: |
| a \| b | **91.2** (90–92) | **2.00** | 50% |
| c | – | **2.00** | – |
| d | 80.0 | 3.00 | – |
"""
    )


def test_text_is_aligned_below_the_title():
    assert (
        Table.of(ITEMS, COLUMNS, "some").text()
        == """some
Model  Top-1 % (95%)  Params M  Share
a | b   91.2 (90–92)      2.00    50%
c                  –      2.00      –
d               80.0      3.00      –"""
    )


def test_text_that_does_not_fit_goes_on_below():
    first, second = Table.of(ITEMS, COLUMNS, "some").text(width=30).split("\n\n")
    assert first.splitlines()[:3] == [
        "some",
        "Model  Top-1 % (95%)  Params M",
        first.splitlines()[2],
    ]
    assert second.splitlines()[:3] == ["some", "Model  Share", "a | b    50%"]
    assert Table.of(ITEMS, COLUMNS).text(width=1).count("\n\n") == 2


def test_a_transposed_table_has_the_groups_as_headings():
    table = Table.of(ITEMS, COLUMNS).transposed()
    assert (
        table.text()
        == """Model          a | b     c     d
Top-1 % (95%)   91.2     –  80.0
size
Params M        2.00  2.00  3.00
rest
Share            50%     –     –"""
    )
    assert "| **size** |  |  |  |\n| Params M | 2.00 |" in table.markdown()


def test_only_figures_of_one_pool_are_compared():
    column = Column(name="ms", get=lambda pair: Shown(text=pair[1], value=1.0, pool=pair[0]))
    better = Column(name="ms", get=column.get, better="low")
    pairs = [("cpu", "1"), ("cpu", "1"), ("gpu", "1")]
    for each, marks in ((better, [True, True, False]), (column, [False] * 3)):
        rows = [cells for _, cells in Table.of(pairs, [each]).rows()]
        assert [cells[0].best for cells in rows] == marks


def test_an_empty_table_is_its_header():
    assert Table.of([], COLUMNS).markdown().count("\n") == 2
    assert Table.of([], COLUMNS).text().count("\n") == 0


def test_the_frame_holds_the_values_as_they_are():
    frame = Table.of(ITEMS, COLUMNS).frame
    assert list(frame["Params M"]) == [2_000_000, 2_000_400, 3_000_000]
    assert list(frame["Share"]) == [0.5, None, None]


@pytest.mark.parametrize(
    ("number", "digits", "form", "text"),
    [
        (1.236, 2, "f", "1.24"),
        (0.00026368, 3, "f", "0.00026"),
        (0.0, 2, "f", "0.00"),
        (-0.001, 1, "f", "-0.001"),
        (25_557_032.0, 4, "g", "2.556e+07"),
        (0.0004, 0, "%", "0%"),
    ],
)
def test_a_small_number_is_not_shown_as_none(number, digits, form, text):
    assert show_number(number, digits, form) == text


def test_texts_keep_their_places():
    table = Table.of_texts(("Way", "Of", "s"), [("a", "b", "1"), ("c", "d", "–")], align="llr")
    assert table.markdown().splitlines()[1:3] == ["| :--- | :--- | ---: |", "| a | b | 1 |"]


def test_csv_keeps_whole_numbers_and_all_digits():
    rows = [{"n": 3, "x": 0.1 + 0.2, "t": 'a, "b"'}, {"n": None, "x": 1e-7, "t": True}]
    text = write_csv(rows)
    assert text == 'n,x,t\n3,0.30000000000000004,"a, ""b"""\n,1e-07,True\n'
    assert [row["n"] for row in csv.DictReader(io.StringIO(text))] == ["3", ""]
    assert write_csv(rows, digits=6) == 'n,x,t\n3,0.3,"a, ""b"""\n,1e-07,True\n'
