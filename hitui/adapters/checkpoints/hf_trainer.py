"""Reads a folder of the Hugging Face Trainer: how many steps are done, and from which checkpoint a run
would resume.

Steps come from the newest of `trainer_state.json` (in the folder itself and in each `checkpoint-N`) and of
`trainer_log.jsonl` (`current_steps`, as LLaMA-Factory writes it). The checkpoint to resume from is the newest
complete one; a newer incomplete one is named.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Hashable
from pathlib import Path

import msgspec

from hitui.adapters.checkpoints.discovery import CHECKPOINT_FOLDER, TRAINER_STATE
from hitui.adapters.checkpoints.reading import ReadContext, Reading, Signature, signature_of
from hitui.adapters.checkpoints.weights import defect_of_checkpoint
from hitui.adapters.files.look import identity_of, is_dir, is_file
from hitui.decoding import json_decoder
from hitui.domain.configs import Config, ConfigState

LOG_NAME = "trainer_log.jsonl"
_LOG_TAIL = 64 * 1024
_NO_NUMBERS = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What comes of JSON that is cut off, of another shape, or whose step is infinite."""


class _TrainerState(msgspec.Struct):
    global_step: int
    max_steps: int = 0


class _LogLine(msgspec.Struct):
    current_steps: int
    total_steps: int = 0


_decode_state = json_decoder(_TrainerState)
_decode_log_line = json_decoder(_LogLine)


class _Steps(msgspec.Struct, frozen=True):
    step: int
    of: int
    path: Path
    time: float


class TrainerReader:
    """One for all trainer folders of the workspace."""

    def __init__(self, context: ReadContext) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._states: dict[Path, tuple[Signature, _TrainerState | str]] = {}
        self._defects: dict[Path, tuple[Hashable, str]] = {}

    def fingerprint(self, config: Config) -> Hashable:
        return config, tuple(
            (str(folder), _listing(folder))
            for text in config.folders
            for folder in (Path(text), *checkpoints_in(Path(text)))
        )

    def read(self, config: Config, fingerprint: Hashable = None) -> Reading:
        problems: list[str] = []
        known: list[_Steps] = []
        checkpoints: list[Path] = []
        for text in config.folders:
            folder = Path(text)
            found = checkpoints_in(folder)
            checkpoints += found
            for place in (folder, *found):
                known += self._steps_of(place / TRAINER_STATE, problems)
            known += self._steps_of_log(folder / LOG_NAME)
        # Of equal steps the state file counts, which is written last.
        newest = max(known, key=lambda steps: (steps.step, steps.path.name == TRAINER_STATE), default=None)
        notes = self._resume_notes(
            sorted(checkpoints, key=lambda path: (step_of(path), str(path)), reverse=True)
        )
        if newest is None:
            return Reading(
                ConfigState(config, scanned=True, unit="steps", problems=tuple(problems), notes=notes)
            )
        total = newest.of or max((steps.of for steps in known), default=0) or None
        done = newest.step if total is None else min(newest.step, total)
        return Reading(
            ConfigState(
                config,
                scanned=True,
                unit="steps",
                total=total,
                done=done,
                missing=total - done if total is not None else 0,
                updated=max(steps.time for steps in known),
                source=self._context.shown(newest.path),
                problems=tuple(problems),
                notes=notes,
            )
        )

    def _steps_of(self, path: Path, problems: list[str]) -> list[_Steps]:
        """Steps of one `trainer_state.json`, none when there is none; what was read before still counts."""
        signature = signature_of(path)
        if signature is None:
            return []
        with self._lock:
            before = self._states.get(path)
        if before is None or before[0] != signature:
            state = _read_state(path)
            kept = before[1] if before is not None else None
            if isinstance(state, str):
                rest = " (what was read of it before still counts)" if isinstance(kept, _TrainerState) else ""
                problems.append(f"{self._context.shown(path)}: {state}{rest}")
                if isinstance(kept, _TrainerState):
                    return [_Steps(kept.global_step, kept.max_steps, path, signature[2] / 1e9)]
            with self._lock:
                self._states[path] = (signature, state)
        else:
            state = before[1]
            if isinstance(state, str):
                problems.append(f"{self._context.shown(path)}: {state}")
        if isinstance(state, str):
            return []
        return [_Steps(state.global_step, state.max_steps, path, signature[2] / 1e9)]

    @staticmethod
    def _steps_of_log(path: Path) -> list[_Steps]:
        if not is_file(path):
            return []
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                file.seek(max(0, status.st_size - _LOG_TAIL))
                lines = file.read(_LOG_TAIL).splitlines(keepends=True)
        except OSError:
            return []
        for line in reversed(lines):
            last = _read_log_line(line)
            # Evaluation lines have no steps, and the last line may still be being written.
            if last is not None:
                return [_Steps(last.current_steps, last.total_steps, path, status.st_mtime)]
        return []

    def _resume_notes(self, newest_first: list[Path]) -> tuple[str, ...]:
        """From which checkpoint a run resumes, and which newer ones are incomplete and why."""
        incomplete: list[str] = []
        for folder in newest_first:
            defect = self._defect_of(folder)
            if not defect:
                return (*incomplete, f"a run would resume from {folder.name}")
            incomplete.append(f"{folder.name} is incomplete: {defect}")
        if not incomplete:
            return ("there is no checkpoint to resume from",)
        older = len(incomplete) - 1
        rest = f"; the {older} before it are incomplete too" if older else ""
        return (f"{incomplete[0]}{rest}; a run would begin at step 0",)

    def _defect_of(self, folder: Path) -> str:
        listing = _listing(folder)
        with self._lock:
            known = self._defects.get(folder)
        if known is not None and known[0] == listing:
            return known[1]
        state = _read_state(folder / TRAINER_STATE)
        defect = defect_of_checkpoint(folder) or (
            f"{TRAINER_STATE} {state}" if isinstance(state, str) else ""
        )
        with self._lock:
            self._defects[folder] = (listing, defect)
        return defect


def checkpoints_in(folder: Path) -> tuple[Path, ...]:
    """The `checkpoint-N` folders in `folder`, oldest first."""
    try:
        with os.scandir(folder) as entries:
            found = [
                Path(entry.path)
                for entry in entries
                if CHECKPOINT_FOLDER.fullmatch(entry.name) and is_dir(entry.path)
            ]
    except OSError:
        return ()
    return tuple(sorted(found, key=step_of))


def step_of(checkpoint: Path) -> int:
    """N of a folder `checkpoint-N`."""
    return int(checkpoint.name.rpartition("-")[2])


def _read_state(path: Path) -> _TrainerState | str:
    """The state, or what is wrong with its file."""
    if identity_of(path) is not None and not is_file(path):
        # A pipe would be waited for for ever.
        return "is no file: put the file back there, or move it away"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return "is absent"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    try:
        return _decode_state(content)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        # Python writes NaN losses, which are no JSON.
        data = json.loads(content)
        return _TrainerState(int(data["global_step"]), int(data.get("max_steps") or 0))
    except _NO_NUMBERS:
        return "is no whole trainer state: still being written, or cut off; an older checkpoint counts"


def _read_log_line(line: bytes) -> _LogLine | None:
    """None for a line without steps, or one that is no JSON."""
    try:
        return _decode_log_line(line)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        data = json.loads(line)
        return _LogLine(int(data["current_steps"]), int(data.get("total_steps") or 0))
    except _NO_NUMBERS:
        return None


def _listing(folder: Path) -> Hashable:
    """Of subfolders the time counts too: DeepSpeed and FSDP write into some."""
    try:
        with os.scandir(folder) as entries:
            found = []
            for entry in entries:
                found.append((entry.name, signature_of(entry.path)))
    except OSError as error:
        return error.errno
    return tuple(sorted(found))
