"""Write lines and, on a terminal or in a notebook, a bar."""

from __future__ import annotations

import atexit
import io
import sys
import textwrap
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from hookcore_plugins.console.table import GAP, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.console import RenderableType
    from rich.text import Text

_NOTEBOOK_WIDTH: Final = 100
"""The width of the output in a notebook, in characters."""


class Screen:
    """A stream with lines and a bar: on a terminal the bar is beneath the lines, in a notebook above them."""

    def __init__(self, stream: TextIO, verbose: Literal["auto", "bar", "lines"]) -> None:
        from rich.console import Console as RichConsole
        from rich.file_proxy import FileProxy
        from rich.live import Live

        terminal = bool(getattr(stream, "isatty", bool)())
        # Two live displays on one terminal would overwrite each other.
        notebook = RichConsole(file=stream).is_jupyter
        alone = not (notebook or isinstance(stream, FileProxy))
        in_cell = notebook and stream is sys.stdout
        self._cell = _NotebookCell() if in_cell and verbose != "lines" else None
        self.has_bar = self._cell is not None or verbose == "bar" or (verbose == "auto" and terminal and alone)
        self._wraps = terminal or self.has_bar or in_cell
        self._stream = stream
        # A notebook shows colours, but obeys no other control sequence.
        self._rich = RichConsole(file=stream, force_terminal=self.has_bar, force_jupyter=False, highlight=False, markup=False)
        self._table = Table() if self._wraps else None
        self._live: Live | _NotebookCell
        if in_cell:
            self._rich.width = _NOTEBOOK_WIDTH
        if self._cell is not None:
            self._live = self._cell
        elif self.has_bar:
            own = stream is sys.stdout
            # Errors sent elsewhere, as by 2>errors.log, stay there.
            errors = own and sys.stderr is not None and sys.stderr.isatty()
            self._live = Live(console=self._rich, auto_refresh=False, transient=True, redirect_stdout=own, redirect_stderr=errors)
            self._live.start()
            # The cursor comes back even if a loop dies without an event.
            atexit.register(self._live.stop)

    def close(self) -> None:
        """Take the bar away and give the cursor back; lines can be printed after it."""
        if self.has_bar:
            atexit.unregister(self._live.stop)
            self._live.stop()

    def text(self, *parts: str | tuple[str, str]) -> Text:
        """Return a text of `parts`, each with a style or without, in characters that the stream can show."""
        from rich.text import Text

        styled = [(part, "") if isinstance(part, str) else part for part in parts]
        return Text.assemble(*((self.clean(text), style) for text, style in styled))

    def clean(self, text: str) -> str:
        """Return `text` in one line, in characters that the stream can show."""
        encoding = self._rich.encoding
        shown = text.encode(encoding, "backslashreplace").decode(encoding)
        return "".join(character if character.isprintable() else " " for character in shown)

    def observation(
        self, left: Mapping[str, Text], middle: Mapping[str, Text], right: Mapping[str, Text], mark: Text | None
    ) -> None:
        """Print an observation: as a row of a table if the width is limited, else as a line that has the names.

        A file has no such limit, and a search in it finds the names beside the numbers.
        """
        if self._table is not None:
            for line in self._table.row(left, middle, right, mark, (self._rich.width, self._rich.height)):
                self._print(line)
            return
        labels = {name: "" if name == "time" else f"{name} " for name in (*left, *middle, *right)}  # a duration has its unit
        items = [self.text((labels[name], "dim"), cell.plain) for name, cell in {**left, **middle, **right}.items()]
        self.line(items if mark is None else [*items, mark])

    def line(self, items: list[Text], indent: int = 0) -> None:
        """Print `items` with a gap between them; an item that no longer fits goes to a new line, after `indent` spaces."""
        from rich.text import Text

        line, used = Text(), 0
        for item in items:
            if used and self._wraps and used + GAP + item.cell_len > self._rich.width:
                line.append("\n" + " " * indent)
                used = indent
            elif used:
                line.append(" " * GAP)
                used += GAP
            line.append_text(item)
            used += item.cell_len
        self._print(line)

    def note(self, who: str, what: str, style: str) -> None:
        """Print a sentence on its own lines, indented, with `who` in `style`.

        Words stay whole, so that a long path can be copied.
        """
        who = self.clean(who)
        lines = [f"{' ' * GAP}{who}{self.clean(what)}"]
        if self._wraps:
            width = max(self._rich.width, 20)
            lines = textwrap.wrap(
                lines[0], width, subsequent_indent=" " * 2 * GAP, break_long_words=False, break_on_hyphens=False
            )
        text = self.text()
        text.append("\n".join(lines))
        text.stylize(style, GAP, GAP + len(who))
        self._print(text)
        if self._table is not None:
            self._table.count(len(lines))

    def _print(self, text: Text) -> None:
        if self.has_bar:
            self._rich.print(text, soft_wrap=True)
        else:
            self._stream.write(f"{text.plain}\n")
            self._stream.flush()

    def bar(self, head: str, count: str, items: Iterable[Text], tail: str, *, done: int, total: int | None) -> None:
        """Draw the bar, with as many of `items` as fit on the line."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        texts = [self.text((head, "bold")), self.text(count), self.text((tail, "dim"))]
        free = self._rich.width - sum(text.cell_len + GAP for text in texts)
        cells: list[Text | ProgressBar] = [*texts]
        if total is not None:
            width = min(40, self._rich.width // 5)
            cells.insert(1, ProgressBar(total, done, width=width, style="dim", complete_style="green", finished_style="green"))
            free -= width + GAP
        for item in items:
            free -= item.cell_len + GAP
            if free < 0:
                break
            cells.insert(-1, item)
        picture = Table.grid(padding=(0, GAP, 0, 0))
        for _ in cells:
            picture.add_column(no_wrap=True)
        picture.add_row(*cells)
        self._live.update(picture, refresh=True)

    def clear_bar(self) -> None:
        """Take the bar away until it is drawn again."""
        if self.has_bar:
            self._live.update("", refresh=True)


class _NotebookCell:
    """A part of a notebook cell's output that is updated in place, by IPython: rich would need ipywidgets."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown = ""

    def update(self, picture: RenderableType, *, refresh: bool) -> None:
        """Show `picture` in place of the one before."""
        del refresh  # always
        import IPython.display
        from rich.console import Console as RichConsole

        drawn = io.StringIO()
        RichConsole(file=drawn, width=_NOTEBOOK_WIDTH, force_jupyter=False, force_terminal=False).print(picture)
        text = drawn.getvalue().rstrip()
        if self._handle is None:
            display: Any = IPython.display.display
            self._handle = display({"text/plain": text}, raw=True, display_id=True)
        elif text != self._shown:
            self._handle.update({"text/plain": text}, raw=True)
        self._shown = text

    def stop(self) -> None:
        """Take the picture away."""
        if self._handle is not None:
            self._handle.update({"text/plain": ""}, raw=True)
