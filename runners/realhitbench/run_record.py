"""With which settings the results of a folder were made: `run_settings.json` beside them, and what follows from it.

    {"written_by": "hitui", "runs": [{"id": "3f9ac2d1", "first": "2026-01-31T08:00:00Z", "settings": {…},
                                      "versions": {…}, "beside": {…}}, …]}

A run is written down before its first result, which carries its id under `Settings` as all that follow do. Runs with
the same settings and versions are one; the one used last stands last. A run that would add answers to those of a run
with other settings is refused with the difference, unless it is forced; other versions are told and no more.

The tables and pictures that were asked about are not compared.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hitui_runners.errors import RunnerError
from hitui_runners.look import is_file
from hitui_runners.output import named, say, warn
from hitui_runners.realhitbench.disk import replace_file
from hitui_runners.realhitbench.results import encode
from hitui_runners.realhitbench.run_settings import RunSettings
from hitui_runners.realhitbench.store import ResultStore

NAME = "run_settings.json"
_PARTIAL = ".run_settings.json.hitui-part"
_ASIDE = ".unreadable"
REFUSED = "resume refused"
"""By these words others tell such a refusal."""
SHOWN = 3
"""So many differences stand in one line."""
SHOWN_CHARACTERS = 40
"""Of a value."""


class ResumeRefused(RunnerError):
    """The answers would be mixed with those of other settings."""

    exit_status = 2


class Unusable(Exception):
    """A file that says nothing of runs; the message says why, without its name."""


@dataclass(frozen=True)
class RecordedRun:
    """One entry of the file."""

    id: str
    settings: Mapping[str, object]
    versions: Mapping[str, object]
    beside: Mapping[str, object] = field(default_factory=dict)


class RunRecord:
    """What is on record of the folders of a config, and the run that is to be added."""

    def __init__(
        self,
        store: ResultStore,
        folders: Iterable[Path],
        gather: Callable[[], RunSettings],
        *,
        resume: bool,
        force: bool,
    ) -> None:
        """`folders`: the one that is written first, then those that are only read. `gather`: the settings of this run
        as far as they are known by then."""
        self._store = store
        self._own, *self._others = dict.fromkeys(folders)
        self._gather = gather
        self._resume = resume
        self._force = force
        self._checked: RunSettings | None = None
        self._said: set[str] = set()

    def check(self) -> RunSettings:
        """This run's settings as far as they are known. Raises ResumeRefused where its answers would be mixed with those
        of other settings.

        Asked before the engine is loaded, as that may take minutes, and again by `begin`, which knows all.
        """
        run = self._gather()
        if self._resume and run != self._checked:
            self._compare(run)
        self._checked = run
        return run

    def begin(self) -> None:
        """From now on results are this run's. Raises ResumeRefused."""
        run = self.check()
        self._store.mark(run.id, lambda: add_run(self._own, run))

    def _compare(self, run: RunSettings) -> None:
        found = self._recorded()
        answered_by = self._store.runs_of_answers()
        if not found:
            if None in answered_by:
                self._tell(say, f"{self._own}: nothing says with which settings the answers there were made")
            return
        newest = [
            (folder, next((known for known in reversed(runs) if known.id in answered_by), None))
            for folder, runs in found.items()
        ]
        with_answers = [(folder, known) for folder, known in newest if known is not None]
        if not with_answers:
            return
        # What was mixed once, in another folder of the same config, was meant to be.
        folder, last = next(
            (
                (folder, known)
                for folder, known in with_answers
                if not differences(known.settings, run.settings)
            ),
            with_answers[0],
        )
        if other := differences(last.settings, run.settings):
            said = shown(with_folders(other, last.beside, run.beside))
            if not self._force:
                raise ResumeRefused(
                    f"{REFUSED}: {said}; set that back, or mix the answers by --force ({folder / NAME})"
                )
            self._tell(warn, f"{folder}: answers are mixed, as forced: {said}")
        if other := differences(last.versions, run.versions):
            self._tell(warn, f"{folder}: other versions than those of the answers there: {shown(other)}")

    def _recorded(self) -> dict[Path, tuple[RecordedRun, ...]]:
        """The runs on record by folder. Raises ResumeRefused where those of the own one cannot be told."""
        found = {}
        for folder in (self._own, *self._others):
            try:
                runs = recorded_runs(folder)
            except Unusable as error:
                if folder == self._own and not self._force:
                    raise ResumeRefused(
                        f"{REFUSED}: {folder / NAME}: {error}; mend it, as it says with which settings the answers there "
                        "were made, or go on without it by --force"
                    ) from error
                self._tell(warn, f"{folder / NAME}: {error}; its answers are not compared")
                continue
            if runs:
                found[folder] = runs
        return found

    def _tell(self, tell: Callable[[str], None], line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            tell(line)


def recorded_runs(folder: Path) -> tuple[RecordedRun, ...]:
    """The runs on record in a folder, the one used last at the end; none where there is no file. Raises Unusable."""
    runs = []
    for entry in _entries(folder / NAME):
        if isinstance(entry, dict):
            identifier, settings = entry.get("id"), entry.get("settings")
            others = [
                value if isinstance(value := entry.get(key), dict) else {} for key in ("versions", "beside")
            ]
            if isinstance(identifier, str) and isinstance(settings, dict):
                runs.append(RecordedRun(identifier, settings, *others))
    return tuple(runs)


def add_run(folder: Path, run: RunSettings) -> None:
    """Puts a run at the end of those on record in a folder; a file of no use is put aside. Raises RunnerError."""
    path = folder / NAME
    try:
        try:
            entries = _entries(path)
        except Unusable as error:
            aside = _free_name(path.with_name(NAME + _ASIDE))
            path.rename(aside)
            warn(f"{path}: {error}; it is kept as {aside.name}")
            entries = []
        if entries and _is_of(entries[-1], run):
            return
        known = next((entry for entry in entries if _is_of(entry, run)), None)
        entries = [entry for entry in entries if entry is not known]
        entries.append(known or _entry(run))
        content = encode({"written_by": "hitui", "runs": entries}, indent=2) + b"\n"
        replace_file(path, folder / _PARTIAL, content)
    except OSError as error:
        raise RunnerError(
            f"{path}: the settings of this run cannot be written: {error.strerror}; make room, or make it writable, and "
            "run again with --resume, all earlier results are kept"
        ) from error


def differences(
    recorded: Mapping[str, object], now: Mapping[str, object]
) -> list[tuple[str, object, object]]:
    """(key, recorded, now) of what both know and say otherwise.

    What one of them does not know is no difference: it was no setting then, or is not known yet. Of a value with parts
    those that differ.
    """
    found: list[tuple[str, object, object]] = []
    for key, value in now.items():
        if key not in recorded:
            continue
        before = recorded[key]
        if isinstance(before, dict) and isinstance(value, Mapping):
            if parts := differences(before, value):
                found.append(
                    (key, {part: old for part, old, _ in parts}, {part: new for part, _, new in parts})
                )
        elif before != value:
            found.append((key, before, value))
    return found


def with_folders(
    found: Iterable[tuple[str, object, object]], recorded: Mapping[str, object], now: Mapping[str, object]
) -> list[tuple[str, object, object]]:
    """Differences for people, to whom the digest of a model says less than its folder; these may be called alike. That
    another model has other weights goes without saying.

    `recorded`, `now`: what stands beside the settings.
    """
    found = list(found)
    if any(key == "model" for key, _, _ in found):
        found = [difference for difference in found if difference[0] != "weights"]
    folders = [beside.get("model_folder") for beside in (recorded, now)]
    return [
        (key, f"{folders[0]} ({before})", f"{folders[1]} ({value})")
        if key == "model" and all(folders)
        else (key, before, value)
        for key, before, value in found
    ]


def shown(found: Iterable[tuple[str, object, object]], form: str = "{key} was {before}, now {now}") -> str:
    """Differences for people: `max_new_tokens was 1024, now 512`. Of those with parts, which are digests, the names."""
    words = [
        f"other {key} ({named(list(now))})"
        if isinstance(now, dict)
        else form.format(key=key, before=_value(before), now=_value(now))
        for key, before, now in found
    ]
    more = f"; and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return "; ".join(words[:SHOWN]) + more


def _value(value: object) -> str:
    if value is None:
        return "not set"
    text = value if isinstance(value, str) else json.dumps(value)
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def _entry(run: RunSettings) -> dict[str, Any]:
    return {
        "id": run.id,
        "first": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "settings": dict(run.settings),
        "versions": dict(run.versions),
        "beside": dict(run.beside),
    }


def _is_of(entry: object, run: RunSettings) -> bool:
    return isinstance(entry, dict) and entry.get("id") == run.id


def _entries(path: Path) -> list[Any]:
    """Whatever stands in the list of runs. Raises Unusable."""
    if os.path.lexists(path) and not is_file(path):
        # One that is a pipe would be waited for.
        raise Unusable("is no regular file")
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Unusable(f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Unusable(f"is no JSON: {error}") from error
    runs = data.get("runs") if isinstance(data, dict) else None
    if not isinstance(runs, list):
        raise Unusable("holds no list of runs")
    return runs


def _free_name(path: Path) -> Path:
    number, free = 2, path
    while os.path.lexists(free):
        free = path.with_name(f"{path.name}-{number}")
        number += 1
    return free
