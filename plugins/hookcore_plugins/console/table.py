"""Lay out observations as a table: the names in a header, and the numbers beneath them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.text import Text

GAP: Final = 2
"""Spaces between two items of a line."""

_LEAST: Final = 6
"""The least width of a column of numbers, so that a longer number seldom needs a new header."""


@attrs.define(eq=False)
class Table:
    """The columns so far, each with its width.

    A column is as wide as its name or its longest number so far, which is less than both side by side.
    """

    left: dict[str, int] = attrs.field(factory=dict)
    middle: dict[str, int] = attrs.field(factory=dict)
    right: dict[str, int] = attrs.field(factory=dict)
    _shown: object = None
    """The layout of the header that was printed last."""
    _lines: int = 0
    """How many lines were printed since then."""

    def row(
        self,
        left: Mapping[str, Text],
        middle: Mapping[str, Text],
        right: Mapping[str, Text],
        mark: Text | None,
        size: tuple[int, int],
    ) -> list[Text]:
        """Return the lines of one observation, with those of the header before them if it changed or has left the screen.

        `left`, `middle` and `right` map names to cells, no name twice. `mark` stands at the end of the first line. `size` is the
        width and height of the screen.
        """
        from rich.cells import cell_len
        from rich.text import Text

        for columns, cells in ((self.left, left), (self.middle, middle), (self.right, right)):
            for name, cell in cells.items():
                least = 0 if columns is self.left else _LEAST
                columns[name] = max(columns.get(name, 0), cell_len(name), cell.cell_len, least)
        grid = self._grid(size[0])
        header: list[Text] = []
        if grid != self._shown or self._lines + len(grid) >= size[1]:
            self._shown, self._lines = grid, 0
            header = _lines(grid, {name: Text(name, "dim") for line in grid for name, _ in line})
        lines = _lines(grid, {**left, **middle, **right})
        if mark is not None:
            lines[0].append(" " * GAP)
            lines[0].append_text(mark)
        self._lines += len(header) + len(lines)
        return header + lines

    def count(self, lines: int) -> None:
        """Count `lines` other lines that were printed beneath the header."""
        self._lines += lines

    def _grid(self, width: int) -> list[list[tuple[str, int]]]:
        """Return the name and width of each place on each line, for the fewest lines that fit.

        In two lines the metrics of validation stand beneath those of training if there are as many of both. The items of the
        left are one column, and so are those of the right.
        """
        middle, count = list(self.middle), len(self.middle)
        for lines in range(1, max(count, 1) + 1):
            across = -(-count // lines)
            columns = [middle[column::across] for column in range(across)]
            if lines == 1:
                columns = [[name] for name in (*self.left, *middle, *self.right)]
            else:
                columns = [list(self.left), *columns, list(self.right)]
            widths = [max(self._width(name) for name in column) for column in columns]
            if sum(width + GAP for width in widths) + 1 <= width:  # with the mark
                break
        return [
            [(column[line] if line < len(column) else "", wide) for column, wide in zip(columns, widths, strict=True)]
            for line in range(max(map(len, columns)))
        ]

    def _width(self, name: str) -> int:
        return max(columns.get(name, 0) for columns in (self.left, self.middle, self.right))


def _lines(grid: list[list[tuple[str, int]]], cells: Mapping[str, Text]) -> list[Text]:
    from rich.text import Text

    lines = []
    for columns in grid:
        line = Text()
        for place, (name, width) in enumerate(columns):
            cell = cells.get(name, Text())
            line.append(" " * ((GAP if place else 0) + width - cell.cell_len))
            line.append_text(cell)
        line.rstrip()
        lines.append(line)
    return lines
