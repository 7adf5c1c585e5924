"""Reads a config of the RealHiTBench programs: all result files of its folders together.

Which result counts: a task that any file answers is answered; of failed results the latest counts, files
being ordered by modification time, then name; of out-of-memories that of the try that went furthest. Where there is no result at all but a `skip_ids.json`, that is
read instead. A file that cannot be read any more counts with what was read of it before.
"""

from __future__ import annotations

import statistics
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from hitui.adapters.checkpoints import skip_ids
from hitui.adapters.checkpoints.journal import Journal
from hitui.adapters.checkpoints.questions import QuestionList
from hitui.adapters.checkpoints.reading import (
    FileReading,
    ReadContext,
    Reading,
    Signature,
    UnreadableFile,
    listed,
)
from hitui.adapters.checkpoints.result_listing import Listing, is_result_file, later, list_files
from hitui.adapters.checkpoints.results_file import LONGEST_SECONDS, twin_of
from hitui.domain.configs import Config, ConfigState
from hitui.domain.recovery import OUT_OF_MEMORY, error_exhausted_on
from hitui.domain.tasks import (
    ErrorClass,
    Outcome,
    Question,
    Task,
    TaskId,
    TaskStatus,
    classify_prediction,
    task_states,
    what_counts,
)
from hitui.domain.units import counted

_Parsed = tuple[Signature, FileReading | None, tuple[str, ...]]
"""Of a file: as it was when it was read, its results, and what was wrong with it."""


class _Fingerprint(NamedTuple):
    config: Config
    listing: Listing
    """Of results and reports."""
    questions: tuple[Path, int] | None
    inputs: tuple[Path, Hashable] | None


class RealHiTBenchReader:
    """One for all configs of the workspace; keeps what was parsed, by file."""

    def __init__(self, context: ReadContext) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._parsed: dict[str, _Parsed] = {}
        self._journals: dict[str, Journal] = {}

    def fingerprint(self, config: Config) -> Hashable:
        questions, inputs = self._context.questions, self._context.inputs
        return _Fingerprint(
            config,
            list_files(config.folders, lambda name: is_result_file(name) or name == skip_ids.NAME),
            (questions.path, id(questions)) if questions else None,
            (inputs.folder, inputs.version) if inputs else None,
        )

    def read(self, config: Config, fingerprint: Hashable = None) -> Reading:
        if isinstance(fingerprint, _Fingerprint):
            regular, unlisted, no_files = fingerprint.listing.without(skip_ids.NAME)
        else:
            regular, unlisted, no_files = list_files(config.folders, is_result_file)
        files = list(regular)
        for folder, _ in unlisted:
            files += [(path, known[0]) for path, known in self._known_in(folder)]
        without_reading = sum(not self._known_in(folder) for folder, _ in unlisted)
        lines_on_no_files = []
        for path, wrong in no_files:
            earlier = self._earlier(path)
            if earlier is None:
                without_reading += 1
                lines_on_no_files.append(f"{self._context.shown(path)}: {wrong}")
                continue
            files.append((path, earlier[0]))
            lines_on_no_files.append(
                f"{self._context.shown(path)}: {wrong} (what was read of it before still counts)"
            )
        files.sort(key=later)
        readings = [(path, signature, *self._reading_of(path, signature)) for path, signature in files]
        problems = (
            *(
                f"{self._context.shown(folder)}: cannot be listed: {reason}; make it readable"
                for folder, reason in unlisted
            ),
            *lines_on_no_files,
            # What hides answers comes first: it is what a refusal names.
            *(
                f"{self._context.shown(path)}: {line}"
                for path, _, _, lines in sorted(readings, key=lambda each: each[2] is not None)
                for line in lines
            ),
        )
        by_id = self._context.questions.by_id if self._context.questions is not None else {}
        usable = [
            (path, signature, _with_listed_ids(reading, by_id))
            for path, signature, reading, _ in readings
            if reading is not None
        ]
        unread_files = len(readings) - len(usable) + without_reading
        if not usable:
            from_report = self._read_report(config, problems, unread_files)
            if from_report is not None:
                return from_report
        answered, failed = what_counts((reading.answered, reading.errors) for _, _, reading in usable)
        newest = max((signature[2] for _, signature, _ in usable), default=None)
        return self._reading(
            config,
            answered,
            failed,
            updated=newest / 1e9 if newest is not None else None,
            source=self._source([path for path, _, _ in usable]),
            problems=problems,
            repeated={
                self._context.shown(path): reading.repeated for path, _, reading in usable if reading.repeated
            },
            unread_files=unread_files,
            rungs=_choose_furthest([reading for _, _, reading in usable], failed),
        )

    def _reading_of(self, path: str, signature: Signature) -> tuple[FileReading | None, tuple[str, ...]]:
        """The results of one file and the lines to say about it; parsed only when it changed."""
        with self._lock:
            known = self._parsed.get(path)
            journal = (
                self._journals.setdefault(path, Journal(Path(path))) if path.endswith(".jsonl") else None
            )
        if known is not None and known[0] == signature:
            return known[1], known[2]
        try:
            reading: FileReading | None
            reading = journal.read() if journal else self._context.read_results(path)
            problems = reading.problems
        except UnreadableFile as error:
            reading, problems = (known[1] if known is not None else None), (str(error),)
            if reading is not None:
                problems = (f"{error} (what was read of it before still counts)",)
        with self._lock:
            self._parsed[path] = (signature, reading, problems)
        return reading, problems

    def _earlier(self, path: str) -> _Parsed | None:
        """What was read of a file before, if it was of use."""
        with self._lock:
            known = self._parsed.get(path)
        return known if known is not None and known[1] is not None else None

    def _known_in(self, folder: str) -> list[tuple[str, _Parsed]]:
        with self._lock:
            return [
                (path, known) for path, known in self._parsed.items() if path.rpartition("/")[0] == folder
            ]

    def _source(self, paths: Sequence[str]) -> str:
        if not paths:
            return ""
        shown = self._context.shown(paths[-1])
        return shown if len(paths) == 1 else f"{shown} and {len(paths) - 1} more"

    def _reading(
        self,
        config: Config,
        answered: dict[TaskId, float | None],
        failed: dict[TaskId, str],
        updated: float | None,
        source: str,
        problems: tuple[str, ...],
        repeated: Mapping[str, tuple[TaskId, ...]],
        unread_files: int = 0,
        notes: tuple[str, ...] = (),
        rungs: Mapping[TaskId, int] | None = None,
    ) -> Reading:
        questions = self._context.questions
        seconds = [value for value in answered.values() if value is not None and 0 <= value < LONGEST_SECONDS]
        median = statistics.median(seconds) if seconds else None
        if questions is None:
            classes = Counter(_class_of(prediction) for prediction in failed.values())
            state = ConfigState(
                config,
                scanned=True,
                done=len(answered),
                errors=len(failed),
                error_classes=tuple(classes.most_common()),
                updated=updated,
                source=source,
                problems=problems,
                unread_files=unread_files,
                seconds_per_task=median,
            )
            return Reading(state, lambda: _tasks_without_list(answered, failed, rungs or {}), repeated)
        by_id = questions.by_id
        unknown = _sorted_ids((answered.keys() | failed.keys()) - by_id.keys())
        absent = self._absent(config)
        errors = missing = blocked = 0
        classes = Counter()
        exhausted: Counter[int] = Counter()
        for task in by_id.keys() - answered.keys():
            if absent(by_id[task]):
                blocked += 1
            elif task in failed:
                errors += 1
                error_class = _class_of(failed[task])
                classes[error_class] += 1
                gpus = error_exhausted_on(error_class, failed[task], rungs.get(task, 0) if rungs else 0)
                if gpus is not None:
                    exhausted[gpus] += 1
            else:
                missing += 1
        if unknown:
            notes += (
                f"{counted(len(unknown), 'result with an id', 'results with ids')} ({listed(unknown)}) that {questions.path.name} does not have",
            )
        state = ConfigState(
            config,
            scanned=True,
            total=len(by_id),
            done=len(by_id) - errors - missing - blocked,
            errors=errors,
            missing=missing,
            blocked=blocked,
            error_classes=tuple(sorted(classes.items(), key=lambda item: (-item[1], item[0].value))),
            exhausted=tuple(sorted(exhausted.items())),
            updated=updated,
            source=source,
            problems=problems,
            unread_files=unread_files,
            seconds_per_task=median,
            notes=notes,
        )

        def make_tasks() -> tuple[Task, ...]:
            outcomes = {task: Outcome(None, seconds=seconds) for task, seconds in answered.items()}
            for task, prediction in failed.items():
                rung = rungs.get(task, 0) if rungs else 0
                outcomes[task] = Outcome(_class_of(prediction), prediction, rung=rung)
            return task_states(questions.questions, outcomes, absent)

        return Reading(state, make_tasks, repeated, unknown)

    def _absent(self, config: Config) -> Callable[[Question], Sequence[str]]:
        inputs = self._context.inputs
        if inputs is None:
            return lambda question: ()
        return inputs.absent(config.modality, config.table_format)

    def _read_report(self, config: Config, problems: tuple[str, ...], unread_files: int) -> Reading | None:
        """The config by its `skip_ids.json`, the newest one that can be read; None without one."""
        for path, signature in reversed(_list_reports(config.folders)):
            try:
                report = skip_ids.read_report(Path(path))
            except UnreadableFile as error:
                problems += (f"{self._context.shown(path)}: {error}",)
                continue
            failed = dict.fromkeys(report.error_ids, "[ERROR] (listed in skip_ids.json)")
            updated, source = signature[2] / 1e9, self._context.shown(path)
            questions = self._context.questions
            if questions is not None:
                out = {*report.skip_ids, *report.error_ids}
                answered: dict[TaskId, float | None] = {
                    task: None for task in questions.by_id if task not in out and twin_of(task) not in out
                }
                notes = _note_other_total(source, report.statistics.total_tasks, questions)
                failed = _with_listed_ids(FileReading({}, failed), questions.by_id).errors
                return self._reading(
                    config, answered, failed, updated, source, problems, {}, unread_files, notes
                )
            state = replace(
                skip_ids.state_of(report, config),
                updated=updated,
                source=source,
                problems=problems,
                unread_files=unread_files,
            )
            return Reading(state, partial(skip_ids.tasks_of, report))
        if problems:
            # Nothing could be read though something is there: no count is true, and nothing may be rerun.
            return Reading(ConfigState(config, scanned=True, problems=problems, unread_files=unread_files))
        return None


def _list_reports(folders: Sequence[str]) -> tuple[tuple[str, Signature], ...]:
    return list_files(folders, lambda name: name == skip_ids.NAME).files


def _class_of(prediction: str) -> ErrorClass:
    return classify_prediction(prediction) or ErrorClass.OTHER


def _with_listed_ids(reading: FileReading, by_id: Mapping[TaskId, Question]) -> FileReading:
    """The same with the ids of the question list, where the file writes one of its numbers as text or the other way."""
    listed = {
        task: twin
        for task in (reading.answered.keys() | reading.errors.keys()) - by_id.keys()
        if (twin := twin_of(task)) in by_id and twin is not None
    }
    if not listed:
        return reading
    return replace(
        reading,
        answered={listed.get(task, task): seconds for task, seconds in reading.answered.items()},
        errors={listed.get(task, task): text for task, text in reading.errors.items()},
        rungs={listed.get(task, task): rung for task, rung in reading.rungs.items()},
    )


def _sorted_ids(tasks: Iterable[TaskId]) -> tuple[TaskId, ...]:
    return tuple(sorted(tasks, key=lambda task: (isinstance(task, str), task)))


def _note_other_total(source: str, total: int, questions: QuestionList) -> tuple[str, ...]:
    """That a report was made of another question list, in which other tasks may be answered; 0: it says no total."""
    have = len(questions.by_id)
    if total in (0, have):
        return ()
    return (
        f"{source} was made of {counted(total, 'task')}, {questions.path.name} has {have}: "
        "what the report does not name counts as answered",
    )


def _choose_furthest(readings: Sequence[FileReading], failed: dict[TaskId, str]) -> dict[TaskId, int]:
    """The rungs of the failed results that count, the readings of older files first; `failed` are their texts.

    The file of a shard changes with the other tasks of it: a later one for lack of memory does not count that was tried
    less far. `failed` gets the text of that which does.
    """
    rungs: dict[TaskId, int] = {}
    if not any(reading.rungs for reading in readings):
        return rungs
    tried: dict[TaskId, tuple[int, int]] = {}
    for reading in readings:
        for task, text in reading.errors.items():
            if task not in failed:
                continue
            rung, error_class = reading.rungs.get(task, 0), _class_of(text)
            so_far = error_exhausted_on(error_class, text, rung) or 1, rung
            if error_class not in OUT_OF_MEMORY or so_far >= tried.get(task, so_far):
                tried[task], failed[task], rungs[task] = so_far, text, rung
    return rungs


def _tasks_without_list(
    answered: Mapping[TaskId, float | None], failed: Mapping[TaskId, str], rungs: Mapping[TaskId, int]
) -> tuple[Task, ...]:
    done = [Task(task, TaskStatus.DONE) for task in answered]
    errors = [
        Task(task, TaskStatus.ERROR, _class_of(prediction), prediction, rungs.get(task, 0))
        for task, prediction in failed.items()
    ]
    return tuple(sorted([*done, *errors], key=lambda task: (isinstance(task.id, str), task.id)))
