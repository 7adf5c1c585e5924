"""One answer put to the judge, and many of them, several at a time."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from hitui_runners.engines.base import Engine, Prompt, Reply, TaskFailed
from hitui_runners.errors import RunnerError
from hitui_runners.look import can_be_entered
from hitui_runners.realhitbench.judge_prompts import REMINDER, JudgePrompts, score_in
from hitui_runners.realhitbench.judge_verdicts import Judge, Verdict, digest_of
from hitui_runners.realhitbench.questions import TABLE_FORMATS, read_table
from hitui_runners.realhitbench.results import Result, TaskId
from hitui_runners.realhitbench.strange_failures import StrangeFailures
from hitui_runners.stopping import StopSignals

TABLES = "latex"
"""The format in which the benchmark's judge reads them."""
LOOK_SECONDS = 0.5
"""After so long the main thread wakes by itself: a signal that another thread got does not wake it."""


@dataclass(frozen=True)
class Item:
    """One answer that is to be judged."""

    task: TaskId
    sub_type: str
    file_name: str
    question: str
    reference: str
    answer: str
    digest: str


def item_of(result: Result) -> Item | str:
    """What is to be asked about a result of `usable`; or why nothing can be."""
    for key in ("FileName", "Question", "Reference", "Prediction"):
        if not isinstance(result.get(key), str):
            return f"its {key} is no text"
    file_name: str = result["FileName"]
    if Path(file_name).name != file_name or not file_name.isprintable():
        # Else a file of results could have any file of this machine sent to the judge.
        return "its FileName is no name of a table"
    return Item(
        result["id"],
        result["SubQType"],
        file_name,
        result["Question"],
        result["Reference"],
        result["Prediction"],
        digest_of(result),
    )


class JudgeAsker:
    """Asks one judge about one answer at a time; any number of threads may do so at once."""

    def __init__(self, engine: Engine, prompts: JudgePrompts, data: Path | None, judge: Judge) -> None:
        """`data`: the dataset's folder; None: there is none, which only prompts without a table can do with."""
        self.judge = judge
        self.at_once = engine.at_once
        self._engine = engine
        self._prompts = prompts
        self._tables = None if data is None else data / TABLES
        self._loaded = False

    def make_ready(self, items: Iterable[Item]) -> None:
        """Looks for the tables, and waits for the judge when called first. Raises RunnerError and EngineLost."""
        self._require_tables(items)
        if not self._loaded:
            # What an engine says of itself belongs to the story, not to what was asked for.
            with contextlib.redirect_stdout(sys.stderr):
                self._engine.load()
            self._loaded = True

    def _require_tables(self, items: Iterable[Item]) -> None:
        """Raises RunnerError where the judge is to read tables, and those of all answers are out of reach."""
        if not any(self._prompts.reads_table(item.sub_type) for item in items):
            return
        if self._tables is None:
            raise RunnerError(
                "the judge reads the tables, and no dataset is named; name it by --data ([workspace] data of hitui.toml)"
            )
        if not can_be_entered(self._tables):
            raise RunnerError(
                f"{self._tables}: the folder of tables that the judge reads is not there, or may not be entered; "
                "bring it back, or name another dataset by --data ([workspace] data of hitui.toml)"
            )

    def ask(self, item: Item) -> tuple[Verdict, bool]:
        """The verdict, and whether it lacks a score for a reason that is not the answer's. Raises EngineLost."""
        began = time.monotonic()
        asked_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        replies: list[Reply] = []
        score, reason, strange = None, "", False
        try:
            prompt = self._prompt(item)
            for asked in (prompt, replace(prompt, after=prompt.after + REMINDER)):
                replies.append(self._engine.answer(asked))
                score = score_in(replies[-1].text)
                if score is not None:
                    break
            else:
                reason = "asked twice, its replies hold no score from 0 to 100"
        except TaskFailed as failure:
            reason, strange = failure.message, failure.unexpected
            if failure.input_tokens is not None:
                reason = (
                    "its prompt has more tokens than the judge takes; set max_input_tokens to what it takes"
                )
        except OSError as error:
            reason = f"its table cannot be read: {error.filename}: {error.strerror}"
        verdict = Verdict(
            item.task,
            item.digest,
            self.judge,
            score,
            reason,
            tuple(reply.text for reply in replies),
            replies[-1].recovery if replies else {},
            asked_at,
            round(time.monotonic() - began, 2),
        )
        return verdict, strange

    def close(self) -> None:
        """Ends what is being asked, with an EngineLost in its threads."""
        self._engine.close()

    def _prompt(self, item: Item) -> Prompt:
        """Raises OSError where the table cannot be read."""
        wording = self._prompts.wording(item.sub_type, item.question, item.reference, item.answer)
        table = ""
        if self._tables is not None and self._prompts.reads_table(item.sub_type):
            table = read_table(self._tables / f"{item.file_name}.{TABLE_FORMATS[TABLES]}")
        return Prompt(item.task, wording.before, table, wording.after, item.question, table_format=TABLES)


def ask_all(
    items: Sequence[Item],
    asker: JudgeAsker,
    take: Callable[[Verdict], None],
    signals: StopSignals,
    tables: int,
) -> None:
    """Asks about all, up to `asker.at_once` at a time; `take` gets each verdict in this thread. `tables`: how many all
    answers are about, those too that were judged before.

    No further one is asked before a verdict was taken, so that a kill costs no more than those under way. Raises
    RunnerError, Stopped, and what `take` raises; what was answered until then is taken first, but where `take` failed.
    Other than `ask_at_once` it ends only when its threads have: what a judge answers meanwhile may be paid for.
    """
    waiting = iter(items)
    under_way: dict[Future[tuple[Verdict, bool]], Item] = {}
    strange, taking = StrangeFailures(), False
    with ThreadPoolExecutor(asker.at_once, thread_name_prefix="judging") as threads:
        try:
            while True:
                while len(under_way) < asker.at_once and (item := next(waiting, None)) is not None:
                    under_way[threads.submit(asker.ask, item)] = item
                if not under_way:
                    return
                done = wait(under_way, LOOK_SECONDS, FIRST_COMPLETED).done
                # Those with a verdict first: another may bring the end.
                for future in sorted(done, key=lambda future: future.exception() is not None):
                    item = under_way.pop(future)
                    verdict, is_strange = future.result()
                    taking = True
                    with signals.held():
                        take(verdict)
                        taking = False
                    failed = strange.not_theirs(item.file_name, is_strange, tables)
                if done and failed:
                    raise RunnerError(
                        f"the judge failed {failed} times in a row, the last time with: {verdict.reason}; mend that "
                        "and run again, all verdicts are kept"
                    )
        except BaseException:
            # The threads are waited for, and wait for the judge themselves.
            asker.close()
            if not taking:
                with signals.held():
                    for future in wait(under_way).done:
                        if future.exception() is None:
                            take(future.result()[0])
            raise
