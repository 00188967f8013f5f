"""What the page is put together from, beside its table and its figures: texts, tables, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.table import Table


@dataclass(frozen=True, kw_only=True)
class PageTable:
    """A table with what stands around it.

    Attributes:
        table: The table.
        title: Above it; may be empty.
        note: Below the title.
        source: The record behind it, as the page's address has it (`latency/digits-cpu-1t`).
        folded: Whether it is shown only when asked for.
    """

    table: Table
    title: str = ""
    note: str = ""
    source: str = ""
    folded: bool = False


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page that is made of texts and tables.

    Attributes:
        anchor: Its name in the page's address.
        title: Its heading.
        texts: Paragraphs.
        tables: Its tables.
    """

    anchor: str
    title: str
    texts: Sequence[str] = ()
    tables: Sequence[PageTable] = ()


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture to show: its file as seen from the page, and what it shows."""

    source: str
    words: str


def address_of(path: str) -> str:
    """Return a record's address on the page, by its file below the results folder.

    Those of cells are the shortest: `records/digits/resnet-cpu.json` is at `digits/resnet-cpu`.
    """
    return path.removesuffix(".json").removeprefix("records/")
