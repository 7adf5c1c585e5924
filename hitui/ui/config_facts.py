"""What is known of one config, a label and a value a line: counts by class, its jobs, its scores, what was read."""

from __future__ import annotations

import time
from collections import Counter

from hitui.domain.jobs import Ended, Job, Queued
from hitui.domain.records import words_of_end
from hitui.domain.units import counted
from hitui.services.scores import Scores
from hitui.services.scoring import KIND
from hitui.ui import text
from hitui.ui.config_rows import ConfigRow
from hitui.ui.job_words import progress_parts, wait_words
from hitui.ui.line import Line
from hitui.ui.queue_lines import QueueView
from hitui.ui.queue_lines import words as job_words

MOST_SHARDS = 6
"""So many have a line each."""


def score_words(row: ConfigRow, scores: Scores | None) -> str:
    """The means over all questions of a config whose answers can be scored, and what is in none of them."""
    state = row.state
    if state.config.kind != KIND or not state.done:
        return ""
    if scores is None:
        return f"none yet: hitui score {row.name}"
    words = " · ".join(f"{metric} {mean:.2f}" for metric, mean in scores.means.items())
    besides = []
    if scores.charts_unscored:
        besides.append(f"{counted(scores.charts_unscored, 'chart')} unscored")
    if scores.unjudged:
        besides.append(f"{scores.unjudged} unjudged")
    if newer := scores.older_than(state.updated):
        besides.append(f"older than the {' and the '.join(newer)}: hitui score {row.name}")
    return ", ".join(filter(None, (words, *besides)))


def fact_lines(row: ConfigRow, root: str, scores: str, jobs: QueueView, width: int) -> list[Line]:
    """The facts of one config of the workspace at `root`; long values go on below their start."""
    state = row.state
    total = "unknown" if state.total is None else str(state.total)
    facts: list[tuple[str, str, str]] = [("state", _state_words(row), row.words.style)]
    facts.append(
        (
            state.unit,
            f"{state.done} done of {total} · {counted(state.errors, 'error')} · {state.missing} missing · "
            f"{state.blocked} blocked · {state.pending} pending",
            "",
        )
    )
    if state.error_classes:
        told = ", ".join(f"{number} {error.words}" for error, number in state.error_classes)
        facts.append(("errors", told, "bad"))
    facts += [
        ("", f"{counted(count, 'task')} ran out of memory in every form{_on_gpus(gpus)}", "warn")
        for gpus, count in state.exhausted
    ]
    kind = " ".join(filter(None, (state.config.modality, state.config.table_format)))
    facts.append(("kind", f"{state.config.kind}{' · ' + kind if kind else ''}", ""))
    facts.append(("runner", state.config.runner or "none: name one in hitui.toml to run it from here", ""))
    if row.shards:
        facts += _shard_facts(row, jobs)
    elif row.job is not None:
        facts.append(("job", _job_words(row, row.job, jobs), ""))
    if row.progress is not None and (parts := progress_parts(row.progress)):
        facts.append(("progress", " · ".join(part for part, _ in parts), ""))
    if state.seconds_per_task is not None:
        facts.append(("a task", f"{state.seconds_per_task:.1f} s (median of the answered ones)", ""))
    if scores:
        facts.append(("scores", scores, ""))
    if state.updated is not None:
        facts.append(("changed", text.moment(state.updated, time.time()), ""))
    facts.append(("read from", state.source or "nothing", ""))
    facts.append(("writes to", state.config.output.removeprefix(f"{root}/"), ""))
    facts += [("note", note, "") for note in state.notes]
    facts += [("! problem", problem, "warn") for problem in state.problems]
    lines: list[Line] = []
    for label, value, style in facts:
        for number, part in enumerate(text.wrapped(value, width - 14)):
            lines.append((("  " + text.fit(label if number == 0 else "", 11) + " ", "dim"), (part, style)))
    return lines


def _on_gpus(count: int) -> str:
    return f" on {count} GPUs" if count > 1 else ""


def _state_words(row: ConfigRow) -> str:
    """The state without what a line of its own says below: why the job failed, what the problem is."""
    words = row.words.long
    reason = row.job.state.reason if row.job is not None and isinstance(row.job.state, Ended) else ""
    for told in (*row.state.problems, reason):
        words = words.removesuffix(told).rstrip(": ")
    return words if words != "!" else f"! {counted(len(row.state.problems), 'problem')}"


def _shard_facts(row: ConfigRow, jobs: QueueView) -> list[tuple[str, str, str]]:
    """A line for each shard that has not ended or has failed; of many those beyond the first ones are counted."""
    shards = sorted((*row.shards, *row.failed), key=_shard_number)
    told = shards if len(shards) <= MOST_SHARDS else shards[: MOST_SHARDS - 1]
    facts = []
    for job in told:
        words = job_words(job, jobs)
        said = "".join(part for part, _ in words)
        facts.append(
            (
                "",
                f"#{job.id} {job.request.shard.label if job.request.shard else ''} {said}",
                "bad" if job in row.failed else "",
            )
        )
    more = Counter(job.word for job in shards[len(told) :])
    if more:
        facts.append(("", f"and {', '.join(f'{count} more {word}' for word, count in more.items())}", ""))
    return [("shards", *facts[0][1:]), *facts[1:]]


def _shard_number(job: Job) -> int:
    return job.request.shard.number if job.request.shard is not None else 0


def _job_words(row: ConfigRow, job: Job, jobs: QueueView) -> str:
    words = f"#{job.id}{f' {job.request.shard.label}' if job.request.shard else ''} {job.word}"
    others = [text.short_name(name) for name in job.request.configs if name != row.name]
    if others:
        words += f", with {', '.join(others)}"
    if isinstance(job.state, Queued):
        words += f", {wait_words(job, jobs.now)[0]}"
    if isinstance(job.state, Ended):
        words += f" at {text.moment(job.state.ended_at, jobs.now)}"
        if told := words_of_end(job, jobs.records.get(job.id)):
            words += f": {told}"
    return words
