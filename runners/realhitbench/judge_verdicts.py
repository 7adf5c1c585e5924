"""What a judge said of answers: a journal beside the results, which stay as they are.

`verdicts.jsonl` gets a line a verdict, flushed to the disk before the same thread of questions goes on:

    {"id", "GPT_EVAL": score or null, "model", "prompts": digest, "answer": digest, "replies": [whole texts],
     "reason": why there is no score, "recovery": what was changed for it, "asked_at": ISO 8601, "seconds"}

A verdict is of an answer, not of an id: it holds a digest of question, reference and answer, and is of no account
where one of these is another now. Of several the last one counts, and a score is never replaced by none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hitui_runners.errors import RunnerError
from hitui_runners.look import is_file
from hitui_runners.realhitbench.disk import open_journal
from hitui_runners.realhitbench.rescoring import JUDGE_METRIC, Kind, Sample, number
from hitui_runners.realhitbench.results import (
    Result,
    TaskId,
    Unreadable,
    encode,
    is_torn,
    load_content,
    plain_id,
    task_id,
)
from hitui_runners.realhitbench.scoring import judged_score

JOURNAL = "verdicts.jsonl"
"""No name of a file of results."""


class OfThisUnit(RunnerError):
    """These results cannot be judged, or their verdicts not be read; others can."""


@dataclass(frozen=True)
class Judge:
    """Who judged, as far as verdicts differ by it."""

    model: str
    prompts: str
    """Digest of them."""

    def __str__(self) -> str:
        return f"{self.model} (prompts {self.prompts})"


@dataclass(frozen=True)
class Verdict:
    """What came of asking a judge about one answer."""

    task: TaskId
    answer: str
    """`digest_of` the result."""
    judge: Judge
    score: float | None
    reason: str = ""
    """Why there is no score."""
    replies: tuple[str, ...] = ()
    recovery: Mapping[str, object] = field(default_factory=dict)
    asked_at: str = ""
    seconds: float = 0.0

    def line(self) -> dict[str, Any]:
        """As the journal has it."""
        line: dict[str, Any] = {
            "id": self.task,
            JUDGE_METRIC: self.score,
            "model": self.judge.model,
            "prompts": self.judge.prompts,
            "answer": self.answer,
            "replies": list(self.replies),
        }
        if self.reason:
            line["reason"] = self.reason
        if self.recovery:
            line["recovery"] = dict(self.recovery)
        return {**line, "asked_at": self.asked_at, "seconds": self.seconds}


def digest_of(result: Result) -> str:
    """Tells a question with its reference and its answer from others."""
    judged = [result.get(key) for key in ("Question", "Reference", "Prediction")]
    return hashlib.sha256(json.dumps(judged).encode()).hexdigest()[:16]


class Verdicts:
    """The verdicts that stand in some folders."""

    def __init__(self) -> None:
        self._scored: dict[tuple[TaskId, str], Verdict] = {}
        self._without_score: set[tuple[TaskId, str]] = set()

    @classmethod
    def read(cls, folders: Iterable[Path], warn: Callable[[str], None]) -> Verdicts:
        """Those in the journals of `folders`, where there are any; later ones count more.

        Raises OfThisUnit for a journal that is there and cannot be read: its verdicts would be asked for again.
        """
        verdicts = cls()
        unknown = 0
        for folder in folders:
            path = folder / JOURNAL
            if not os.path.lexists(path):
                continue
            if not is_file(path):
                raise OfThisUnit(f"{path}: is no regular file; move it away")
            try:
                entries = load_content(path, warn).entries
            except Unreadable as error:
                raise OfThisUnit(f"{path}: {error}; bring it back, or move it away") from error
            for entry in entries:
                verdict = _verdict(entry)
                if verdict is None:
                    unknown += 1
                else:
                    verdicts.add(verdict)
            if unknown:
                warn(f"{path}: lines that are no verdicts, passed over: {unknown}")
                unknown = 0
        return verdicts

    def add(self, verdict: Verdict) -> None:
        if verdict.score is not None:
            self._scored[verdict.task, verdict.answer] = verdict
        else:
            self._without_score.add((verdict.task, verdict.answer))

    def of(self, result: Result) -> Verdict | None:
        """The verdict with a score that counts for a result of `usable`; None: there is none."""
        return self._scored.get((result["id"], digest_of(result)))

    def has_failed(self, task: TaskId, digest: str) -> bool:
        """Whether a judge was asked about the answer with this digest, and gave no score."""
        return (task, digest) in self._without_score


def _verdict(entry: Any) -> Verdict | None:
    """None where the line is none."""
    if not isinstance(entry, dict) or (task := task_id(entry)) is None:
        return None
    texts = [entry.get(key) for key in ("answer", "model", "prompts")]
    if not all(isinstance(text, str) for text in texts) or JUDGE_METRIC not in entry:
        return None
    answer, model, prompts = map(str, texts)
    return Verdict(plain_id(task), answer, Judge(model, prompts), judged_score(entry[JUDGE_METRIC]))


class VerdictJournal:
    """The journal of one folder, locked, to which verdicts are added."""

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        """Raises OfThisUnit where it cannot be written, or another process is writing it."""
        self.path = folder / JOURNAL
        try:
            # All results of a config may lie in other folders than its own.
            folder.mkdir(parents=True, exist_ok=True)
            self._handle = open_journal(self.path)
        except OSError as error:
            raise OfThisUnit(
                f"{self.path}: cannot be written: {error.strerror}; make its folder writable"
            ) from error
        try:
            self._lock(warn)
            self._end_last_line()
        except BaseException:
            os.close(self._handle)
            raise

    def append(self, verdict: Verdict) -> None:
        """Adds one for good. Raises RunnerError when the disk does not take it; then it is not added."""
        line = encode(verdict.line()) + b"\n"
        start = os.fstat(self._handle).st_size
        try:
            written = 0
            while written < len(line):
                written += os.write(self._handle, line[written:])
            os.fdatasync(self._handle)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, start)
            raise RunnerError(
                f"{self.path}: the verdict on task {verdict.task} cannot be written: {error.strerror}; make room and "
                "run again, all earlier verdicts are kept"
            ) from error

    def close(self) -> None:
        """Gives the lock back."""
        os.close(self._handle)

    def _lock(self, warn: Callable[[str], None]) -> None:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise OfThisUnit(
                    f"{self.path}: these results are being judged already; wait for that, or stop it"
                ) from error
            warn(
                f"{self.path}: cannot be locked on this file system ({error.strerror}); judge only once at a time"
            )

    def _end_last_line(self) -> None:
        """What was torn by a kill goes, as it does for whoever reads it; a whole line without its end gets one."""
        try:
            data = self.path.read_bytes()
            if not data or data.endswith(b"\n"):
                return
            start = data.rfind(b"\n") + 1
            if is_torn(data[start:]):
                os.ftruncate(self._handle, start)
            else:
                os.write(self._handle, b"\n")
        except OSError as error:
            raise OfThisUnit(
                f"{self.path}: cannot be made ready for more: {error.strerror}; make room or mend the disk"
            ) from error


def with_verdicts(
    samples: Sequence[Sample], results: Sequence[Result], verdicts: Verdicts
) -> tuple[list[Sample], list[str]]:
    """The samples with what judges said of them, and lines about these judges.

    `results`: those that the samples were made of, in their order. Where anything was judged, a failed question
    that a judge is for has the score 0, as failed ones have everywhere.
    """
    made = list(samples)
    judges: Counter[Judge] = Counter()
    of_the_run = 0
    for place, (sample, result) in enumerate(zip(samples, results, strict=True)):
        if sample.kind is not Kind.JUDGED or sample.failed:
            continue
        verdict = verdicts.of(result)
        if verdict is not None:
            judges[verdict.judge] += 1
            made[place] = dataclasses.replace(sample, metrics={JUDGE_METRIC: verdict.score})
        elif number(sample.metrics[JUDGE_METRIC]) is not None:
            of_the_run += 1
    if judges or of_the_run:
        made = [
            dataclasses.replace(sample, metrics={JUDGE_METRIC: 0.0})
            if sample.kind is Kind.JUDGED and sample.failed
            else sample
            for sample in made
        ]
    told = [f"{count} by {judge}" for judge, count in judges.items()]
    told += [f"{of_the_run} when they were made"] if of_the_run else []
    if len(told) > 1:
        return made, [
            f"several judges in one mean: judged {', '.join(told)}; `hitui judge --again` asks one of all"
        ]
    return made, [f"judged: {line}" for line in told]
