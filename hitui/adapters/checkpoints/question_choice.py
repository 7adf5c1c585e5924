"""Which question list and which dataset belong to the results of a workspace.

Declared ones count; else the list that a `skip_ids.json` there was made from, else the one among several
whose (id, table) pairs the results have most often, else the largest.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from hitui.adapters.checkpoints.discovery import Found
from hitui.adapters.checkpoints.inputs import is_data_folder
from hitui.adapters.checkpoints.questions import QuestionList, looks_like_questions, read_questions
from hitui.adapters.checkpoints.reading import UnreadableFile
from hitui.adapters.checkpoints.result_listing import result_files
from hitui.adapters.checkpoints.results_file import LARGE
from hitui.adapters.checkpoints.skip_ids import read_report
from hitui.adapters.files.look import identity_of, is_dir, is_file
from hitui.decoding import json_decoder
from hitui.domain.configs import Config
from hitui.domain.tasks import TaskId
from hitui.settings import Settings

_ENOUGH_FILES = 6
"""How many result files are compared with the candidates."""


class _Entry(msgspec.Struct, gc=False):
    id: TaskId
    FileName: str = ""


class _Entries(msgspec.Struct, gc=False):
    results: list[_Entry]


_decode_entries = json_decoder(_Entries)


def choose_question_file(
    settings: Settings, found: Found, configs: Sequence[Config]
) -> tuple[Path | None, tuple[str, ...]]:
    """The question list, and the lines to say about the choice."""
    declared = settings.workspace.questions
    if declared is not None:
        path = settings.path(declared)
        if is_file(path):
            return path, ()
        wrong = "is no file" if identity_of(path) else "no such file"
        return None, (f"{path}: {wrong}; correct `[workspace] questions` in {settings.file}",)
    named = _named_by_reports(settings.root, found.reports)
    if named is not None:
        return named, ()
    candidates = list(dict.fromkeys(found.question_files)) or _nearby(settings.root)
    if len(candidates) < 2:
        return (candidates[0], ()) if candidates else (None, ())
    return _best_fit(candidates, configs), ()


def choose_data_folder(
    settings: Settings, found: Found, questions_file: Path | None
) -> tuple[Path | None, tuple[str, ...]]:
    """The dataset's folder, and the lines to say about the choice."""
    declared = settings.workspace.data
    if declared is not None:
        path = settings.path(declared)
        if is_dir(path):
            return path, ()
        wrong = "is no folder" if identity_of(path) else "no such folder"
        return None, (
            f"{path}: {wrong}, so no task counts as blocked; correct `[workspace] data` in {settings.file}",
        )
    if questions_file is not None:
        for folder in (questions_file.parent, questions_file.parent.parent):
            if is_data_folder(folder, _subfolders(folder)):
                return folder, ()
    return (found.data_folders[0], ()) if found.data_folders else (None, ())


def _named_by_reports(root: Path, reports: Iterable[Path]) -> Path | None:
    """The file most often named as `master_task_list`, which is relative to some folder above."""
    counts: Counter[Path] = Counter()
    for report in dict.fromkeys(reports):
        try:
            named = read_report(report).metadata.master_task_list
        except UnreadableFile:
            continue
        if not named:
            continue
        for folder in (root, *report.parents):
            if is_file(folder / named):
                counts[folder / named] += 1
                break
    return counts.most_common(1)[0][0] if counts else None


def _nearby(root: Path) -> list[Path]:
    """Question lists beside or above a workspace that is only the results folder of a project."""
    found = []
    for folder in (*root.parents,)[:2]:
        for place in (folder, folder / "data"):
            try:
                names = sorted(place.glob("*.json"))
            except OSError:
                continue
            found += [path for path in names[:50] if is_file(path) and looks_like_questions(path)]
        if found:
            break
    return found


def _best_fit(candidates: Sequence[Path], configs: Sequence[Config]) -> Path | None:
    lists = []
    for path in candidates:
        try:
            lists.append(read_questions(path))
        except UnreadableFile:
            continue
    if not lists:
        # The caller reads it again and says what is wrong with it.
        return candidates[0]
    pairs = list(_answered_pairs(configs))

    def fit(questions: QuestionList) -> tuple[int, int]:
        known = {(question.id, question.file_name) for question in questions.questions}
        return sum(pair in known for pair in pairs), len(known)

    return max(lists, key=fit).path


def _answered_pairs(configs: Sequence[Config]) -> Iterable[tuple[TaskId, str]]:
    left = _ENOUGH_FILES
    for config in configs:
        for path, (_, size, *_) in reversed(result_files(config.folders)):
            if size > LARGE or path.endswith(".jsonl"):
                continue
            try:
                results = _decode_entries(Path(path).read_bytes()).results
            except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            yield from ((entry.id, entry.FileName) for entry in results)
            left -= 1
            break
        if not left:
            return


def _subfolders(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if is_dir(entry.path)}
    except OSError:
        return set()
