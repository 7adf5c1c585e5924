"""Has answers judged by a model behind an OpenAI-compatible server: those that no formula can score.

    python -m hitui_runners judge RESULTS.json FOLDER … --base-url URL --model NAME --data DIR [--again] [--json]

The summaries and the anomalies that a model found are put to the judge with the table, the question and the reference.
Each verdict is on disk, in `verdicts.jsonl` beside the results, before its thread asks for the next one: what ends this
program costs those that were being asked. No file of results is changed, and the model that answered is not run.
`score` takes the verdicts in.

What has a verdict of this judge and these prompts is not asked again. What another judge, or other prompts, scored is
only asked again with `--again`, since scores of two judges make no mean; until then nothing there is asked at all.

Exit status: 0 every answer that is to be judged has a verdict; 1 some have none, or something could not be read or
written, or another judge's verdicts are in the way; 2 wrong usage; ended by a signal as an evaluation.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hitui_runners.engines.openai import OpenAIEngine
from hitui_runners.errors import RunnerError
from hitui_runners.output import complain, counted, named, warn
from hitui_runners.progress import ProgressBar
from hitui_runners.realhitbench.aggregates import OVERALL
from hitui_runners.realhitbench.judge_asking import Item, JudgeAsker, ask_all, item_of
from hitui_runners.realhitbench.judge_prompts import judge_prompts
from hitui_runners.realhitbench.judge_verdicts import (
    JOURNAL,
    Judge,
    OfThisUnit,
    Verdict,
    VerdictJournal,
    Verdicts,
)
from hitui_runners.realhitbench.questions import VISUALIZATION
from hitui_runners.realhitbench.rescoring import JUDGE_METRIC, Notes
from hitui_runners.realhitbench.results import Result, TaskId, is_error
from hitui_runners.realhitbench.score_words import as_json, as_lines, one_line, put_out
from hitui_runners.realhitbench.scoring import JUDGED, judged_score
from hitui_runners.realhitbench.units import Unit, add_unit_arguments, named_units, results_of
from hitui_runners.stopping import Stopped, StopSignals

UNCUT = 10**9
"""Tokens: no table is cut."""


def main(words: Sequence[str]) -> int:
    """The program; returns its exit status."""
    signals = StopSignals()
    signals.install()
    return judge(words, signals)


def judge(words: Sequence[str], signals: StopSignals) -> int:
    """The program, for whoever has signals of its own; returns its exit status."""
    arguments = _arguments(words)
    run = JudgeRun(arguments, signals)
    stopped: Stopped | None = None
    try:
        run.judge(named_units(arguments, run.refuse))
    except RunnerError as error:
        run.refuse(str(error))
    except Stopped as error:
        stopped = error
    run.tell_all()
    return int(run.failed) if stopped is None else stopped.exit_status


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="hitui_runners judge", description=(__doc__ or "").partition("\n")[0], allow_abbrev=False
    )
    add_unit_arguments(parser)
    parser.add_argument("--model", required=True, metavar="NAME", help="of the judge, on its server")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the dataset; the judge reads its tables in latex/"
    )
    parser.add_argument(
        "--prompts", type=Path, metavar="PATH", help="the benchmark's own gpt_eval_prompt.py, or its folder"
    )
    parser.add_argument(
        "--max-input-tokens",
        type=int,
        default=UNCUT,
        metavar="N",
        help="cut a table until its prompt has about as many tokens (default: not at all)",
    )
    parser.add_argument("--max-new-tokens", type=int, default=2048, metavar="N", help="default 2048")
    parser.add_argument("--again", action="store_true", help="ask again what another judge has scored")
    parser.add_argument("--json", action="store_true", help="print one list of objects")
    OpenAIEngine.add_arguments(parser)
    arguments = parser.parse_args(words)
    if not arguments.path and arguments.plan is None:
        parser.error("name a PATH, or a --plan")
    return arguments


@dataclass
class Tally:
    """What became of the answers of one unit."""

    unit: Unit
    journal: Path
    judge: Judge
    tables: int
    """That the answers are about."""
    failed: dict[TaskId, str] = field(default_factory=dict)
    """Questions without an answer, which nobody is asked about, each with its sub type."""
    before: int = 0
    """Answers that had a verdict of this judge already."""
    now: int = 0
    scores: dict[str, list[float]] = field(default_factory=dict)
    """Of the answers judged by now, by sub type."""
    unjudged: dict[TaskId, str] = field(default_factory=dict)
    """Answers without a verdict, each with why."""
    notes: list[str] = field(default_factory=list)

    def add(self, sub_type: str, score: float) -> None:
        self.scores.setdefault(sub_type, []).append(score)

    @property
    def means(self) -> dict[str, tuple[float, int]]:
        """By sub type, and over all, each with how many it is over: what is judged, and what failed, as 0.

        That is what `score` takes for their mean. There are none where nothing is judged.
        """
        if not self.scores:
            return {}
        every = {name: list(self.scores.get(name, [])) for name in JUDGED}
        for sub_type in self.failed.values():
            every[sub_type].append(0.0)
        every[OVERALL] = [score for found in every.values() for score in found]
        return {name: (sum(found) / len(found), len(found)) for name, found in every.items() if found}

    def lines(self) -> list[str]:
        """What there is to say of it, for people."""
        judged = self.before + self.now
        if not judged and not self.unjudged and not self.failed:
            return [f"{self.unit.name}: nothing in it is for a judge"]
        answers = counted(judged + len(self.unjudged), "answer")
        head = f"{self.unit.name}: {judged} of {answers} judged by {self.judge.model}"
        lines = [head + (f", {self.now} of them now" if self.before else "")]
        lines += [
            f"  {name}: {JUDGE_METRIC} {mean:.2f} over {count}" for name, (mean, count) in self.means.items()
        ]
        if self.failed:
            lines.append(
                f"  failed: {len(self.failed)} ({named(list(self.failed))}), for which no judge is asked; each counts as 0"
            )
        for reason, count in Counter(self.unjudged.values()).most_common():
            tasks = [task for task, why in self.unjudged.items() if why == reason]
            lines.append(f"  unjudged: {count} ({named(tasks)}): {reason}")
        lines += [f"  {note}" for note in self.notes]
        if judged:
            lines.append(f"  verdicts in {self.journal}; `hitui score` takes them in")
        return lines

    def as_object(self) -> dict[str, Any]:
        return {
            "name": self.unit.name,
            "verdicts_file": str(self.journal),
            "model": self.judge.model,
            "prompts": self.judge.prompts,
            "judged_before": self.before,
            "judged_now": self.now,
            "failed": list(self.failed),
            "unjudged": [{"id": task, "reason": reason} for task, reason in self.unjudged.items()],
            "means": {name: round(mean, 2) for name, (mean, _) in self.means.items()},
            "notes": self.notes,
        }


class JudgeRun:
    """One call of the program: what was judged, and whether all of it could be."""

    def __init__(self, arguments: argparse.Namespace, signals: StopSignals) -> None:
        self.failed = False
        self._arguments = arguments
        self._signals = signals
        self._tallies: list[Tally] = []

    def refuse(self, line: str) -> None:
        """Says what cannot be done; the rest is."""
        self.failed = True
        complain(one_line(f"error: {line}"))

    def judge(self, units: Sequence[Unit]) -> None:
        """Has the answers of each unit judged. Raises RunnerError where no further one can be."""
        if not units:
            return
        for option in ("max_input_tokens", "max_new_tokens"):
            if getattr(self._arguments, option) < 1:
                raise RunnerError(f"--{option.replace('_', '-')}: a number from 1 on is expected")
        prompts = judge_prompts(self._arguments.prompts)
        engine = OpenAIEngine.from_arguments(self._arguments)
        asker = JudgeAsker(
            engine, prompts, self._arguments.data, Judge(self._arguments.model, prompts.digest)
        )
        try:
            for unit in units:
                self._judge(unit, asker)
        finally:
            engine.close()

    def tell_all(self) -> None:
        """Prints what was asked for."""
        try:
            if self._arguments.json:
                put_out(as_json([tally.as_object() for tally in self._tallies]))
            else:
                put_out(as_lines([line for tally in self._tallies for line in tally.lines()]))
        except OSError as error:
            self.refuse(f"cannot write: {error.strerror}; make room where the output goes")

    def _judge(self, unit: Unit, asker: JudgeAsker) -> None:
        """Has the answers of one unit judged. Raises RunnerError where those of no other can be, and Stopped."""
        notes = Notes()
        read = results_of(unit, notes, self._warn, self.refuse)
        if read is None:
            return
        results = [result for result in read[0] if _is_judged(result)]
        lines = [*read[1], *notes.lines()]
        try:
            tally, items = self._sorted(unit, results, lines, asker.judge, self._warn)
            if items:
                asker.make_ready(items)
                with contextlib.closing(VerdictJournal(tally.journal.parent, self._warn)) as journal:
                    # Another call may have judged them before this one had the journal for itself.
                    tally, items = self._sorted(unit, results, lines, asker.judge, lambda line: None)
                    self._tallies.append(tally)
                    self._ask(tally, items, asker, journal)
            else:
                self._tallies.append(tally)
                self.failed |= bool(tally.unjudged)
        except OfThisUnit as error:
            self.refuse(str(error))

    def _sorted(
        self,
        unit: Unit,
        results: Sequence[Result],
        lines: Sequence[str],
        judge: Judge,
        warn_of: Callable[[str], None],
    ) -> tuple[Tally, list[Item]]:
        """What has a verdict, and what is to be asked. Raises OfThisUnit where nothing can be, or may be."""
        verdicts = Verdicts.read(unit.folders, warn_of)
        tables = len({str(result.get("FileName")) for result in results})
        tally = Tally(unit, unit.scores.parent / JOURNAL, judge, tables, notes=list(lines))
        others: Counter[str] = Counter()
        items: list[Item] = []
        for result in results:
            if is_error(result):
                tally.failed[result["id"]] = result["SubQType"]
                continue
            verdict = verdicts.of(result)
            if verdict is not None and verdict.judge == judge and verdict.score is not None:
                tally.before += 1
                tally.add(result["SubQType"], verdict.score)
                continue
            if verdict is not None:
                others[str(verdict.judge)] += 1
            elif _has_score(result):
                others["the program that made them"] += 1
            item = item_of(result)
            if isinstance(item, str):
                tally.unjudged[result["id"]] = item
            else:
                items.append(item)
        if others and not self._arguments.again:
            told = ", ".join(f"{count} by {other}" for other, count in others.items())
            raise OfThisUnit(
                f"{unit.name}: answers are judged already, {told}, and this judge is {judge}; scores of two "
                "judges make no mean: --again asks this one about all of them"
            )
        # One table after the other: servers keep what they computed of it. What has failed before comes last: what fails
        # again whenever it is asked keeps no call from the others.
        items.sort(key=lambda item: (verdicts.has_failed(item.task, item.digest), item.file_name))
        return tally, items

    def _ask(self, tally: Tally, items: Sequence[Item], asker: JudgeAsker, journal: VerdictJournal) -> None:
        """Asks, and stores each verdict as it comes. Raises RunnerError and Stopped."""
        of_task: Mapping[TaskId, Item] = {item.task: item for item in items}
        tally.unjudged.update(dict.fromkeys(of_task, "not asked yet"))
        # A log would get a line of hundreds of bars.
        is_seen = sys.stderr is not None and sys.stderr.isatty()
        bar = ProgressBar(f"judging {tally.unit.name}", len(items)) if is_seen and items else None
        done = 0

        def take(verdict: Verdict) -> None:
            nonlocal done
            journal.append(verdict)
            done += 1
            if verdict.score is None:
                tally.unjudged[verdict.task] = verdict.reason
                if bar is not None:
                    # It stands at the end of its line.
                    complain("")
                self._warn(f"{tally.unit.name}: task {verdict.task} is not judged: {verdict.reason}")
            else:
                del tally.unjudged[verdict.task]
                tally.now += 1
                tally.add(of_task[verdict.task].sub_type, verdict.score)
            if bar is not None:
                bar.show(done)

        if bar is not None:
            bar.show(0)
        try:
            ask_all(items, asker, take, self._signals, tally.tables)
        finally:
            if bar is not None:
                bar.close()
            self.failed |= bool(tally.unjudged)

    def _warn(self, line: str) -> None:
        warn(one_line(line))


def _is_judged(result: Result) -> bool:
    """Whether a judge is for it."""
    return result.get("SubQType") in JUDGED and result.get("QuestionType") != VISUALIZATION


def _has_score(result: Result) -> bool:
    """Whether the result itself says what a judge gave."""
    metrics = result.get("Metrics")
    return isinstance(metrics, dict) and judged_score(metrics.get(JUDGE_METRIC)) is not None
