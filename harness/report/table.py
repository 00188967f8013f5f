"""Tables: typed columns on a pandas DataFrame, which every form of a table is written from.

To add a column to a table, add a `Column` to the list that the table is made of:

- the table of a data set: `COLUMNS` in `harness/report/columns.py`
- all cells on the page `results/index.html`: `COLUMNS` in `harness/report/page_data.py`
- models compared without weights: `COLUMNS` in `harness/profiling/columns.py`
- costs, latencies side by side, paths: `COLUMNS` in `harness/report/{costs,latency,paths}.py`

LaTeX is written in `latex.py`, tables of a terminal in `terminal.py`, HTML by
`templates/table.html.jinja`, all other forms here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

NOTHING = "–"
_GAP = "  "


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The content of a cell that is more than a number or a text.

    Attributes:
        text: The figure or the words.
        spread: An interval behind the figure.
        value: The number that is compared to find the best; None: not compared.
        pool: Only figures of the same pool are compared.
        best: Whether it is the best of a pool of several.
        marks: Letters of footnotes, which LaTeX sets as superscripts.
        link: Address of the record behind it on the page.
    """

    text: str
    spread: str = ""
    value: float | None = None
    pool: str = ""
    best: bool = False
    marks: str = ""
    link: str = ""

    def join(self, best: str = "{}") -> str:
        """Return text and spread, the best text put into a pattern."""
        return f"{best.format(self.text) if self.best else self.text} {self.spread}".rstrip()


@dataclass(frozen=True, kw_only=True)
class Column(Generic[T]):
    """One column: what it shows of an item, and how.

    Attributes:
        name: The header, with the unit.
        get: The name of the item's attribute or key, or a function of the item. It gives a number,
            a text, a `Shown`, or None for what is not known, which is shown as a dash.
        digits: Digits of a number; None: as Python writes it.
        form: What digits count: "f" those after the point, "g" all, "%" those of a percentage.
        scale: Factor from the number to the unit in the name.
        align: l (left) or r (right); empty: r if `digits` are given.
        better: Whether high or low figures are better; the header has an arrow, and the best of
            several is bold. Empty: neither.
        group: The heading that the column shares with its neighbours.
        badge: Whether the page sets its words off by colour.
    """

    name: str
    get: str | Callable[[T], Any]
    digits: int | None = None
    form: Literal["f", "g", "%"] = "f"
    scale: float = 1.0
    align: str = ""
    better: Literal["high", "low", ""] = ""
    group: str = ""
    badge: bool = False

    @property
    def header(self) -> str:
        """The name, with an arrow towards better figures."""
        first, bracket, rest = self.name.partition(" (")
        arrow = {"high": " ↑", "low": " ↓", "": ""}[self.better]
        return f"{first}{arrow}{bracket}{rest}"

    @property
    def right(self) -> bool:
        """Whether it is aligned to the right."""
        return self.align == "r" or (not self.align and self.digits is not None)

    def value(self, item: T) -> Any:
        """Return the value of an item in this column."""
        if not isinstance(self.get, str):
            return self.get(item)
        return item.get(self.get) if isinstance(item, Mapping) else getattr(item, self.get, None)

    def show(self, item: T) -> str:
        """Return the text of an item in this column."""
        return self.shown(self.value(item)).text

    def shown(self, value: Any) -> Shown:
        """Return how a value is shown."""
        if isinstance(value, Shown):
            return value
        # pandas turns None among numbers into NaN, which alone differs from itself.
        if value is None or value != value:  # noqa: PLR0124
            return Shown(text=NOTHING)
        if isinstance(value, str) or self.digits is None:
            return Shown(text=str(value))
        number = value * self.scale
        return Shown(text=show_number(number, self.digits, self.form), value=number)


def show_number(number: float, digits: int, form: str = "f") -> str:
    """Return a number with so many digits; more where it would be shown as 0 without being 0."""
    text = f"{number:.{digits}{form}}"
    return f"{number:.2g}" if form == "f" and number and float(text) == 0 else text


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns, and the values of some items in them.

    Attributes:
        frame: The values: a column for each of `columns`, a row for each item. The index holds the
            heading that a row stands under; empty: none.
        title: The line above the table.
    """

    columns: Sequence[Column[Any]]
    frame: pd.DataFrame
    title: str = ""

    @classmethod
    def of(cls, items: Iterable[T], columns: Sequence[Column[T]], title: str = "") -> Table:
        """Return the table of some items, a row each."""
        import pandas as pd

        values = [[column.value(item) for column in columns] for item in items]
        names = [column.name for column in columns]
        frame = pd.DataFrame(values, columns=names, index=[""] * len(values), dtype=object)
        return cls(columns=columns, frame=frame, title=title)

    @classmethod
    def of_texts(
        cls,
        header: Sequence[str],
        rows: Iterable[Sequence[Any]],
        align: str = "lr",
        title: str = "",
    ) -> Table:
        """Return a table of texts.

        `align` is l or r for each column; its last letter goes for all columns that follow.
        """
        columns = [
            Column[Any](name=name, get=itemgetter(at), align=align[min(at, len(align) - 1)])
            for at, name in enumerate(header)
        ]
        return cls.of(rows, columns, title)

    def transposed(self) -> Table:
        """Return a row for each column, under the column's group; the first becomes the header."""
        first, *others = [
            [column.name, *(column.shown(value).text for value in values)]
            for column, (_, values) in zip(self.columns, self.frame.items(), strict=True)
        ]
        table = Table.of_texts(first, others, title=self.title)
        groups = [column.group for column in self.columns[1:]]
        return replace(table, frame=table.frame.set_axis(groups))

    def rows(self) -> Iterator[tuple[str, list[Shown]]]:
        """Yield the cells of each row, with the heading above it where one begins."""
        columns = [
            _mark_best(column, [column.shown(value) for value in values])
            for column, (_, values) in zip(self.columns, self.frame.items(), strict=True)
        ]
        last = ""
        for heading, cells in zip(self.frame.index, zip(*columns, strict=True), strict=True):
            yield ("" if heading == last else heading), list(cells)
            last = heading

    def markdown(self) -> str:
        """Return the table in Markdown, the best figures in bold."""
        lines = [
            [column.header for column in self.columns],
            ["---:" if column.right else ":---" for column in self.columns],
        ]
        for heading, cells in self.rows():
            if heading:
                lines.append([f"**{heading}**", *[""] * (len(cells) - 1)])
            lines.append([each.join("**{}**").replace("|", r"\|") for each in cells])
        return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"

    def text(self, width: int | None = None) -> str:
        """Return aligned text below the title.

        Columns that do not fit into `width` go into another table below, which repeats the first
        column.
        """
        lines = [[column.name for column in self.columns]]
        for heading, cells in self.rows():
            lines += [[heading]] if heading else []
            lines.append([each.join() for each in cells])
        whole = [line for line in lines if len(line) > 1 or len(self.columns) == 1]
        widths = [max(map(len, cells)) for cells in zip(*whole, strict=True)]
        parts: list[list[int]] = [[0]]
        for place in range(1, len(widths)):
            taken = sum(widths[each] + len(_GAP) for each in [*parts[-1], place]) - len(_GAP)
            if width is not None and taken > width and len(parts[-1]) > 1:
                parts.append([0])
            parts[-1].append(place)
        return "\n\n".join(self._align(lines, widths, places) for places in parts)

    def _align(
        self, lines: Sequence[Sequence[str]], widths: Sequence[int], places: Sequence[int]
    ) -> str:
        texts = [self.title] if self.title else []
        for line in lines:
            cells = [
                f"{line[at]:{'>' if self.columns[at].right else '<'}{widths[at]}}"
                for at in places
                if at < len(line)
            ]
            texts.append(_GAP.join(cells).rstrip())
        return "\n".join(texts)


def write_csv(rows: pd.DataFrame | Iterable[Mapping[str, Any]], digits: int | None = None) -> str:
    """Return rows as CSV, with nothing where there is None.

    Numbers that are not whole have `digits` significant digits, or all.
    """
    import pandas as pd

    # As objects, whole numbers stay whole beside None; as numbers, they can be rounded.
    kind = object if digits is None else None
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows), dtype=kind)
    rounded = None if digits is None else f"%.{digits}g"
    return str(frame.to_csv(index=False, lineterminator="\n", float_format=rounded))


def _mark_best(column: Column[Any], cells: list[Shown]) -> list[Shown]:
    """Mark the best of each pool that has several figures."""
    pools: dict[str, list[Shown]] = {}
    for each in cells:
        if column.better and each.value is not None:
            pools.setdefault(each.pool, []).append(each)
    choose = max if column.better == "high" else min
    best = {
        pool: choose(found, key=lambda each: each.value or 0.0).text
        for pool, found in pools.items()
        if len(found) > 1
    }
    # By what can be read: figures that look the same are equally good.
    return [
        replace(each, best=each.value is not None and each.text == best.get(each.pool))
        for each in cells
    ]
