"""The table of configs: rows kept by name, so that cursor and scroll stay while they change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from hitui.ui import text
from hitui.ui.columns import COLUMNS, ColumnPlace, place_columns
from hitui.ui.config_rows import ConfigRow, match_rank, matches
from hitui.ui.line import Line, Span, fit_line, width_of
from hitui.ui.widgets.cursor_view import CursorView

SORT_KEYS = (None, *(column.key for column in COLUMNS if column.key != "progress"))
"""What `o` goes through; None is the order of the workspace."""
STARTS_DESCENDING = ("done", "errors", "missing", "blocked", "rate")


class ConfigTable(CursorView):
    fixed_lines = 1
    BINDINGS: ClassVar[list[BindingType]] = [
        *CursorView.BINDINGS,
        Binding("enter", "open", "open", show=False, id="table.open"),
    ]

    class Selected(Message):
        """The cursor stands on another config, or on none."""

        def __init__(self, row: ConfigRow | None) -> None:
            super().__init__()
            self.row = row

    class Opened(Message):
        def __init__(self, row: ConfigRow) -> None:
            super().__init__()
            self.row = row

    class Sorted(Message):
        """The order or the filter changed."""

    def __init__(self) -> None:
        super().__init__(id="configs")
        self.all_rows: list[ConfigRow] = []
        self.rows: list[ConfigRow] = []
        """Those that are shown, in their order."""
        self.empty_text: tuple[str, ...] = ()
        self.wanted = ""
        self.sorted_by: str | None = None
        self.descending = False
        self._selected: str | None = None
        self._chosen: str | None = None
        """Where the cursor was put last, before a filter moved it."""
        self._places: tuple[ColumnPlace, ...] = ()
        self._cells: dict[str, tuple[ConfigRow, tuple[ColumnPlace, ...], Line]] = {}

    @property
    def row_count(self) -> int:
        return len(self.rows)

    @property
    def cursor(self) -> int | None:
        return next((index for index, row in enumerate(self.rows) if row.name == self._selected), None)

    @property
    def selected(self) -> ConfigRow | None:
        cursor = self.cursor
        return None if cursor is None else self.rows[cursor]

    def show(self, rows: Sequence[ConfigRow], empty_text: tuple[str, ...]) -> None:
        self.all_rows = list(rows)
        self.empty_text = empty_text
        self._arrange()

    def show_matching(self, wanted: str) -> None:
        """Only rows that match; empty: all. The cursor goes to the best match, the order stays."""
        if wanted != self.wanted:
            if not self.wanted:
                self._chosen = self._selected
            self.wanted = wanted
            self._rearrange(self._best_match() if wanted else self._selected or self._chosen)

    def _best_match(self) -> str | None:
        """Where the cursor stood before the filter if nothing matches better, else the first of the best."""
        ranks = {row.name: match_rank(row, self.wanted) for row in self._arranged()}
        least = min(ranks.values(), default=None)
        best = [name for name, rank in ranks.items() if rank == least]
        return self._chosen if self._chosen in best else next(iter(best), None)

    def select(self, name: str) -> None:
        index = next((index for index, row in enumerate(self.rows) if row.name == name), None)
        if index is not None:
            self.put_cursor(index)

    def action_sort(self) -> None:
        position = SORT_KEYS.index(self.sorted_by)
        self.sort(SORT_KEYS[(position + 1) % len(SORT_KEYS)])

    def action_reverse(self) -> None:
        self.descending = not self.descending
        self._rearrange()

    def sort(self, key: str | None) -> None:
        self.sorted_by = key
        self.descending = key in STARTS_DESCENDING
        self._rearrange()

    def _rearrange(self, to: str | None = None) -> None:
        """Order or filter changed because someone wished it: the cursor must be in sight."""
        self._arrange(to)
        self.post_message(self.Sorted())
        # The height may change with the number of rows.
        self.call_after_refresh(self.show_cursor)

    def _arranged(self) -> list[ConfigRow]:
        """Rows that match, in their order."""
        rows = [row for row in self.all_rows if matches(row, self.wanted)]
        column = next((column for column in COLUMNS if column.key == self.sorted_by), None)
        if column is not None:
            rows.sort(key=column.order)
        if self.descending:
            rows.reverse()
        return rows

    def _arrange(self, to: str | None = None) -> None:
        """Puts the rows in order, and the cursor on `to` where a name is given."""
        before = self.selected
        index_before = self.cursor
        self.rows = self._arranged()
        if to is not None:
            self._selected = to
        if self.cursor is None:
            # What the cursor stood on is gone: it stays at the same height.
            near = min(index_before or 0, len(self.rows) - 1)
            self._selected = self.rows[near].name if self.rows else None
        self.rebuild()
        if self.selected != before:
            self.post_message(self.Selected(self.selected))

    def build(self, width: int) -> Sequence[Line]:
        places = place_columns(self.all_rows, width)
        if places != self._places:
            self._places = places
            self._cells.clear()
        if not self.rows:
            told = (
                self.empty_text
                if not self.wanted
                else (f"no config matches {self.wanted!r}: Escape shows all",)
            )
            return [(("", ""),), *(((f"   {line}", "dim"),) for line in told)]
        return [self._header(), *map(self._row_line, self.rows)]

    def _header(self) -> Line:
        spans: list[Span] = []
        for place in self._places:
            title = place.column.title
            if place.column.key == self.sorted_by or (
                self.sorted_by is None and self.descending and not spans
            ):
                title = ("▼" if self.descending else "▲") + title
            title = title[: place.width]
            _add(spans, place, ((title, "dim"),))
        return tuple(spans)

    def _row_line(self, row: ConfigRow) -> Line:
        known = self._cells.get(row.name)
        if known is None or known[0] != row or known[1] is not self._places:
            spans: list[Span] = [(" ", ""), ("! " if row.words.attention else "  ", "bad")]
            for place in self._places:
                if place.column.key == "name":
                    _add(spans, place, ((text.fit_tail(row.name, place.width), ""),))
                else:
                    _add(spans, place, place.column.cell(row, place.width))
            known = (row, self._places, tuple(spans))
            self._cells[row.name] = known
        line = known[2]
        if row.name == self._selected:
            return (("▸", "key"), *line[1:])
        return line

    def action_open(self) -> None:
        row = self.selected
        if row is not None:
            self.post_message(self.Opened(row))

    def put_cursor(self, index: int) -> None:
        before = self.cursor
        self._selected = self._chosen = self.rows[index].name
        self.bring_into_sight(index, index)
        if before != index:
            for changed in (before, index):
                if changed is not None and changed + 1 < len(self.lines):
                    self.lines[changed + 1] = self._row_line(self.rows[changed])
                    self.repaint(changed + 1)
            self.post_message(self.Selected(self.selected))

    def on_click(self, event: events.Click) -> None:
        """Sorts by the column whose head was clicked; Textual hands all other clicks to the class above too."""
        if event.y < self.fixed_lines:
            for place in self._places:
                if place.start <= event.x < place.start + place.width and place.column.key != "progress":
                    if place.column.key == self.sorted_by:
                        self.action_reverse()
                    else:
                        self.sort(place.column.key)


def _add(spans: list[Span], place: ColumnPlace, cell: Line) -> None:
    """Puts a cell at its place: fills up to its start, aligns and cuts it."""
    reached = width_of(tuple(spans)) if spans else 0
    spans.append((" " * max(0, place.start - reached), ""))
    cells = sum(cell_len(part) for part, _ in cell)
    if cells < place.width and place.column.right:
        spans.append((" " * (place.width - cells), ""))
        spans.extend(cell)
    else:
        spans.extend(fit_line(cell, place.width))
