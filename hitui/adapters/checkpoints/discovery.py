"""Finds what lies below a folder: results, trainer folders, question lists, the dataset.

One walk, listings only; the head of a JSON file is read where its name does not say what it is. Hidden
folders, virtual environments and the dataset's own subfolders are not entered.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hitui.adapters.checkpoints import skip_ids
from hitui.adapters.checkpoints.inputs import SUBFOLDERS, is_data_folder
from hitui.adapters.checkpoints.naming import bare_location, modality_and_format, short_names
from hitui.adapters.checkpoints.questions import looks_like_questions
from hitui.adapters.checkpoints.reading import Signature, signature_in, signature_of
from hitui.adapters.checkpoints.result_listing import is_result_file
from hitui.adapters.files.look import can_be_listed, is_file
from hitui.domain.configs import MODALITIES, TABLE_FORMATS, Config

TRAINER_STATE = "trainer_state.json"
CHECKPOINT_FOLDER = re.compile(r"checkpoint-\d+")
_NEVER_ENTERED = {"node_modules", "__pycache__", "site-packages", "wandb", "mlruns"}
_CONFIG_FIRST = re.compile(rb'\s*\{\s*"config"\s*:\s*\{')
_HEAD = 8192
_MOST_JSON_FILES = 50
"""A folder with more JSON files than this is data, not a place where a question list is looked for."""


@dataclass
class Found:
    """What a walk came across."""

    result_folders: list[Path] = field(default_factory=list)
    trainer_folders: list[Path] = field(default_factory=list)
    question_files: list[Path] = field(default_factory=list)
    data_folders: list[Path] = field(default_factory=list)
    reports: list[Path] = field(default_factory=list)
    """Every `skip_ids.json`."""
    visited: list[Path] = field(default_factory=list)
    """Every folder that was listed: what has to be watched."""
    problems: list[str] = field(default_factory=list)
    lost: list[Path] = field(default_factory=list)
    """Folders that were listed before and cannot be now; what was found below them is listed above still."""


class Walker:
    """Walks again and again; remembers what the heads of files said while those do not change."""

    def __init__(self) -> None:
        self._roots: set[Path] = set()
        self._result_folders: list[Path] = []
        self._trainer_folders: list[Path] = []
        self._texts: dict[str, tuple[str, ...]] = {}
        self._heads: dict[Path, tuple[Signature, bool]] = {}
        self._metadata: dict[str, tuple[Signature, tuple[str, ...]]] = {}

    def walk(self, roots: Iterable[Path], excluded: Iterable[Path] = (), depth: int | None = None) -> Found:
        """Everything below `roots`, at most `depth` folders down. A folder counts once, by its own name before
        that of a link to it."""
        found = Found()
        seen: set[tuple[int, int]] = set()
        skip = {str(path) for path in excluded}
        roots = list(roots)
        todo = [(root, 0) for root in reversed(roots)]
        linked: list[tuple[Path, int]] = []
        while todo or linked:
            folder, level = todo.pop() if todo else linked.pop(0)
            try:
                status = folder.stat()
                if (status.st_dev, status.st_ino) in seen or str(folder) in skip:
                    continue
                seen.add((status.st_dev, status.st_ino))
                with os.scandir(folder) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except FileNotFoundError:
                if level == 0:
                    # In a new workspace nothing is wrong with that.
                    mend = "correct `[workspace] results`, unless the first run is to make it"
                    self._miss(folder, "no such folder", mend, found)
                continue
            except NotADirectoryError:
                self._miss(folder, "is no folder", "correct `[workspace] results`", found)
                continue
            except OSError as error:
                self._miss(folder, f"cannot be listed: {error.strerror}", "make it readable", found)
                continue
            if level == 0:
                self._roots.add(folder)
            found.visited.append(folder)
            below = self._look(folder, listed, found)
            if depth is None or level < depth:
                entered = set(below)
                links = {entry.name for entry in listed if entry.name in entered and entry.is_symlink()}
                linked += [(folder / name, level + 1) for name in below if name in links]
                todo += [(folder / name, level + 1) for name in reversed(below) if name not in links]
        for root in roots:
            # It went while it was walked: what was not found below it may be there.
            if root in found.visited and not can_be_listed(root):
                self._miss(root, "no such folder", "correct `[workspace] results`", found)
        found.result_folders = list(dict.fromkeys(found.result_folders))
        found.trainer_folders = list(dict.fromkeys(found.trainer_folders))
        if depth is None:
            self._result_folders, self._trainer_folders = found.result_folders, found.trainer_folders
        return found

    def _miss(self, folder: Path, wrong: str, mend: str, found: Found) -> None:
        """A folder that cannot be listed. Rows below it stay: what was read of them before still counts."""
        results, trainers = (
            sorted(known for known in all_known if known.is_relative_to(folder))
            for all_known in (self._result_folders, self._trainer_folders)
        )
        found.result_folders += results
        found.trainer_folders += trainers
        if folder in self._roots or results or trainers:
            found.lost.append(folder)
            wrong += " any more" if wrong.startswith("no ") else ""
            wrong += " (what was read below it before still counts)"
            mend = "bring it back (is its disk mounted?) or " + mend
        found.problems.append(f"{folder}: {wrong}; {mend}")

    def _look(self, folder: Path, listed: list[os.DirEntry[str]], found: Found) -> list[str]:
        """Notes what lies in one folder; returns the names of the subfolders to enter."""
        subfolders: list[str] = []
        files: list[str] = []
        for entry in listed:
            try:
                (subfolders if entry.is_dir() else files).append(entry.name)
            except OSError:
                files.append(entry.name)
        if "pyvenv.cfg" in files:
            return []
        # A folder that has taken a results file's name is said where the config is read.
        if any(is_result_file(entry.name) for entry in listed) or skip_ids.NAME in files:
            found.result_folders.append(folder)
        if skip_ids.NAME in files and is_file(folder / skip_ids.NAME):
            found.reports.append(folder / skip_ids.NAME)
        checkpoints = [name for name in subfolders if CHECKPOINT_FOLDER.fullmatch(name)]
        is_checkpoint = CHECKPOINT_FOLDER.fullmatch(folder.name) is not None
        if (TRAINER_STATE in files and not is_checkpoint) or any(
            is_file(folder / name / TRAINER_STATE) for name in checkpoints
        ):
            found.trainer_folders.append(folder)
        self._look_for_questions(folder, files, found)
        entered = [name for name in subfolders if not name.startswith(".") and name not in _NEVER_ENTERED]
        if SUBFOLDERS.keys() & set(subfolders) and is_data_folder(folder, set(subfolders)):
            found.data_folders.append(folder)
            entered = [name for name in entered if name not in SUBFOLDERS]
        return entered

    def _look_for_questions(self, folder: Path, files: list[str], found: Found) -> None:
        candidates = [
            name
            for name in files
            if name.endswith(".json")
            and not is_result_file(name)
            and name not in (skip_ids.NAME, TRAINER_STATE)
        ]
        if len(candidates) > _MOST_JSON_FILES:
            return
        for name in candidates:
            path = folder / name
            signature = signature_of(path)
            if signature is None:
                continue
            known = self._heads.get(path)
            if known is None or known[0] != signature:
                known = self._heads[path] = (signature, is_file(path) and looks_like_questions(path))
            if known[1]:
                found.question_files.append(path)

    def configs(self, found: Found) -> list[Config]:
        """The configs of what was found, by name; folders of one config are put together."""
        groups: dict[Path, list[Path]] = {}
        for folder in found.result_folders:
            groups.setdefault(bare_location(folder), []).append(folder)
        trainers = [folder for folder in found.trainer_folders if folder not in groups]
        names = short_names([*groups, *trainers])
        configs = []
        for location, folders in groups.items():
            # The config's own folder is read even where only its parts exist so far: runs write there.
            parts = sorted(folder for folder in folders if folder != location)
            own_first = tuple(map(str, (location, *parts)))
            modality, table_format = self._modality_and_format(location, own_first)
            configs.append(
                Config(
                    names[location],
                    "realhitbench",
                    own_first,
                    own_first[0],
                    modality,
                    table_format,
                )
            )
        configs += [Config(names[folder], "hf_trainer", (str(folder),), str(folder)) for folder in trainers]
        return sorted(configs, key=lambda config: config.name)

    def _modality_and_format(self, location: Path, folders: Sequence[str]) -> tuple[str | None, str | None]:
        """What the files say of themselves, else the folder's name, else its parent's."""
        stored = modality_and_format([text for folder in folders for text in self._stored_texts(folder)])
        named = modality_and_format([location.name, location.parent.name])
        by_folder = modality_and_format([location.name])
        if by_folder[0] == "image":
            # Programs store a format for image runs too, though they read no table.
            return by_folder
        modality = stored[0] or named[0]
        return modality, None if modality == "image" else stored[1] or named[1]

    def _stored_texts(self, folder: str) -> tuple[str, ...]:
        """`modality` and `format` in the heads of the result files of a folder."""
        # Once for each of a thousand configs: a path as text costs a third of a `Path`.
        texts: tuple[str, ...] = ()
        try:
            with os.scandir(folder) as entries:
                telling = sorted(entry.path for entry in entries if _may_tell_its_config(entry.name))
        except OSError:
            return self._texts.get(folder, ())
        for path in telling:
            try:
                status = os.stat(path)  # noqa: PTH116 - of text
            except OSError:
                continue
            if not stat.S_ISREG(status.st_mode):
                continue
            signature = signature_in(status)
            known = self._metadata.get(path)
            if known is None or known[0] != signature:
                known = self._metadata[path] = (signature, _metadata_texts(path))
            texts += known[1]
        self._texts[folder] = texts
        return texts


def _may_tell_its_config(name: str) -> bool:
    return is_result_file(name) and not name.startswith("checkpoint") and not name.endswith(".jsonl")


def _metadata_texts(path: str) -> tuple[str, ...]:
    """The values of `modality` and `format` in the object `config` with which a result file begins."""
    try:
        with io.FileIO(path) as file:
            content = file.read(_HEAD)
    except OSError:
        return ()
    start = _CONFIG_FIRST.match(content)
    if start is None:
        return ()
    head = content[start.end() :].decode("utf-8", "replace").split('"results"')[0]
    texts = []
    for key in ("modality", "format"):
        match = re.search(rf'"{key}"\s*:\s*"([^"]*)"', head)
        if match and set(re.split(r"[^a-z0-9]+", match[1].lower())) & {*MODALITIES, *TABLE_FORMATS}:
            texts.append(match[1])
    return tuple(texts)
