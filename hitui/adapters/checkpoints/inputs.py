"""Which input files of a task are absent.

The dataset has one subfolder a table format, `image/` with a PNG and `tables/` with an XLSX of each table.
Each subfolder is listed once and again when its modification time changes, or was so late that the same time
may stand for another change; no task costs a stat.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Hashable
from pathlib import Path

from hitui.adapters.checkpoints import skip_ids
from hitui.adapters.checkpoints.result_listing import is_result_file
from hitui.adapters.files.look import can_be_listed
from hitui.domain.tasks import Question

TABLE_ENDINGS = {"html": ".html", "csv": ".csv", "latex": ".txt", "markdown": ".md", "json": ".json"}
"""Table format → ending of its files, in the subfolder of the format's name."""
IMAGES, IMAGE_ENDING = "image", ".png"
WORKBOOKS, WORKBOOK_ENDING = "tables", ".xlsx"
SUBFOLDERS = {**TABLE_ENDINGS, IMAGES: IMAGE_ENDING, WORKBOOKS: WORKBOOK_ENDING}
_ENTRIES_LOOKED_AT = 200
_SETTLED_NS = 3_000_000_000
"""Some file systems know the time of a change to two seconds only."""
_versions = itertools.count()
"""Of all listings of this process: a dataset that is found anew has never the number of an earlier one."""
WORKBOOK_TYPE = "Visualization"
"""The question type whose answers are programs that read the XLSX."""


class InputFiles:
    """The files of one data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gone = False
        """Whether the folder was listed before and cannot be now; what it held then still counts."""
        self._names: dict[str, frozenset[str]] = {}
        self._times: dict[str, int | None] = {}
        self._unsettled: frozenset[str] = frozenset()
        self._version = next(_versions)
        self.refresh()

    @property
    def version(self) -> Hashable:
        """Another value whenever a listing changed."""
        return self._version

    @property
    def absent_subfolders(self) -> tuple[str, ...]:
        return tuple(name for name, changed_at in self._times.items() if changed_at is None)

    def refresh(self) -> bool:
        """Lists again what changed; True when anything did."""
        names, times = dict(self._names), dict(self._times)
        unsettled = set()
        changed = False
        now = time.time_ns()
        for name in SUBFOLDERS:
            path = self.folder / name
            try:
                changed_at: int | None = path.stat().st_mtime_ns
            except OSError:
                changed_at = None
            if name in times and times[name] == changed_at and name not in self._unsettled:
                continue
            before = names.get(name), times.get(name)
            try:
                names[name] = _names_in(path) if changed_at is not None else frozenset()
            except OSError:
                names[name], changed_at = frozenset(), None
            times[name] = changed_at
            changed |= before != (names[name], times[name])
            if changed_at is not None and abs(now - changed_at) < _SETTLED_NS:
                unsettled.add(name)
        # Looked at last: whatever seemed absent because the whole folder went is then left as it was.
        was_gone, self.gone = self.gone, bool(self._times) and not can_be_listed(self.folder)
        if self.gone:
            return not was_gone
        self._names, self._times, self._unsettled = names, times, frozenset(unsettled)
        if changed or was_gone:
            self._version = next(_versions)
        return changed or was_gone

    def absent(self, modality: str | None, table_format: str | None) -> Callable[[Question], tuple[str, ...]]:
        """Says for a question which of the files that this modality and format need are not there.

        In the order image, table, workbook. An unknown modality, or a question that names no table, needs
        nothing that could be checked.
        """
        images = self._names[IMAGES] if modality in ("image", "mix") else None
        ending = TABLE_ENDINGS.get(table_format or "", "")
        tables = (
            self._names[table_format] if ending and table_format and modality in ("text", "mix") else None
        )
        workbooks = self._names[WORKBOOKS] if modality is not None else None

        def absent(question: Question) -> tuple[str, ...]:
            stem = question.file_name
            names: list[str] = []
            if not stem:
                return ()
            if images is not None and stem + IMAGE_ENDING not in images:
                names.append(stem + IMAGE_ENDING)
            if tables is not None and stem + ending not in tables:
                names.append(stem + ending)
            if (
                workbooks is not None
                and question.question_type == WORKBOOK_TYPE
                and stem + WORKBOOK_ENDING not in workbooks
            ):
                names.append(stem + WORKBOOK_ENDING)
            return tuple(names)

        return absent


def table_bytes(folder: Path, table_format: str, stem: str) -> int | None:
    """Size of a table's file in one format; None: it is not there."""
    try:
        return (folder / table_format / (stem + TABLE_ENDINGS[table_format])).stat().st_size
    except OSError:
        return None


def _names_in(folder: Path) -> frozenset[str]:
    return frozenset(os.listdir(folder))  # noqa: PTH208 - names of thousands of files, no paths


def is_data_folder(folder: Path, subfolders: set[str]) -> bool:
    """Whether at least two of `folder`'s subfolders are those of the dataset and hold its files.

    Results may be sorted into folders of the same names, with a CSV of metrics or a JSON file in each.
    """
    found = 0
    for name in SUBFOLDERS.keys() & subfolders:
        try:
            with os.scandir(folder / name) as entries:
                first = [entry.name for entry in itertools.islice(entries, _ENTRIES_LOOKED_AT)]
        except OSError:
            continue
        found += any(entry.endswith(SUBFOLDERS[name]) for entry in first) and not any(
            entry == skip_ids.NAME or is_result_file(entry) for entry in first
        )
        if found == 2:
            return True
    return False
