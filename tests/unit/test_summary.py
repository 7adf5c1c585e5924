"""The line on all jobs: how many, until when, and what is left."""

from __future__ import annotations

from msgspec.structs import replace

from hitui.domain.configs import ConfigState
from hitui.domain.jobs import (
    Ended,
    Ending,
    JobRequest,
    JobsSnapshot,
    Running,
)
from hitui.domain.progress import JobProgress
from hitui.domain.schedule import Queue, Schedule
from hitui.domain.tasks import ErrorClass
from hitui.ui.config_rows import ConfigRow, config_rows, estimated_end
from hitui.ui.job_index import JobIndex
from hitui.ui.summary import summary_line
from tests.ui.sample import NOON, config
from tests.unit.rows import queued_row, row_of_shards, rows_of_joined, running_row, shards


def test_the_end_of_all_jobs_is_estimated_from_what_is_known() -> None:
    assert estimated_end([], NOON) is None
    assert estimated_end([running_row(100.0)], NOON) == 100.0
    assert estimated_end([running_row(100.0), running_row(30.0), queued_row(5.0)], NOON) == 100.0
    assert estimated_end([running_row(100.0), queued_row(5.0)], NOON) == 150.0
    assert estimated_end([queued_row(5.0), queued_row(5.0)], NOON) == 100.0
    ran = running_row(100.0)
    assert ran.job is not None
    ended = replace(ran, job=replace(ran.job, state=Ended(Ending.STOPPED, NOON)))
    assert estimated_end([ended, running_row(30.0)], NOON) == 30.0


def test_what_waits_for_its_time_ends_after_that() -> None:
    later = queued_row(5.0)
    assert later.job is not None
    at = replace(later.job, schedule=Schedule(not_before=NOON + 3600))
    assert estimated_end([replace(later, job=at), running_row(100.0)], NOON) == 3650.0
    # The place is not kept for it meanwhile.
    assert estimated_end([replace(later, job=at), queued_row(5.0)], NOON) == 3650.0
    assert estimated_end([replace(later, job=at), queued_row(5.0)], NOON + 3600) == 100.0


def test_a_job_that_was_asked_for_some_tasks_takes_no_longer_than_these() -> None:
    waits = queued_row(5.0)
    assert waits.job is not None
    few = replace(waits.job, request=JobRequest("a/c", ids=(1, 2, 3)))
    assert estimated_end([replace(waits, job=few)], NOON) == 15.0
    # Those that are done meanwhile are not run again.
    many = replace(waits.job, request=JobRequest("a/c", ids=tuple(range(100))))
    assert estimated_end([replace(waits, job=many)], NOON) == 50.0
    one_class = replace(waits.job, request=JobRequest("a/c", error_class=ErrorClass.OTHER))
    failed = replace(waits.state, error_classes=((ErrorClass.OTHER, 2),))
    assert estimated_end([replace(waits, state=failed, job=one_class)], NOON) == 10.0
    begins = running_row(None, seconds_per_task=10.0)
    assert begins.job is not None
    assert estimated_end([begins], NOON) == 710.0
    assert estimated_end([replace(begins, job=replace(begins.job, task_count=4))], NOON) == 40.0
    parts = shards(Running(("u0",), 1, NOON), Running(("u1",), 2, NOON))
    assert estimated_end([row_of_shards(parts, {})], NOON) == 10.0


def test_no_end_is_guessed_where_a_time_is_unknown() -> None:
    assert estimated_end([running_row(100.0), queued_row(None)], NOON) is None
    assert estimated_end([running_row(None)], NOON) is None


def test_the_configs_of_one_job_end_with_it() -> None:
    parts = {"a/one": JobProgress("running", 5, 5, eta_seconds=0.0)}
    reported = JobProgress("running", 5, 28, eta_seconds=11.0, configs=parts)
    assert estimated_end([*rows_of_joined(reported), queued_row(5.0)], NOON) == 61.0
    unreported = rows_of_joined(JobProgress("loading"), seconds_per_task=10.0)
    assert estimated_end(unreported[1:], NOON) == 220.0


def test_the_time_left_is_told_of_the_jobs_and_not_of_all_that_is_pending() -> None:
    running = running_row(100.0)
    assert running.job is not None
    known = JobIndex(JobsSnapshot((running.job,)))
    line = summary_line([running], known, NOON, wide=False)
    assert "".join(words for words, _ in line) == "1 job, done in about 2m · 71 pending"


def test_no_end_is_told_of_what_waits_behind_a_pause() -> None:
    def line(queue: Queue, *rows: ConfigRow) -> str:
        known = JobIndex(JobsSnapshot(tuple(row.job for row in rows if row.job), queue=queue))
        return "".join(words for words, _ in summary_line(rows, known, NOON, wide=False))

    runs, waits = running_row(100.0), queued_row(10.0)
    paused = Queue(paused="by hand")
    assert line(Queue(), runs, waits) == "2 jobs, done in about 3m · 81 pending"
    assert line(paused, runs, waits) == "queue paused · 2 jobs · 81 pending"
    assert line(paused, runs) == "queue paused · 1 job, done in about 2m · 71 pending"


def test_nothing_is_missing_only_where_it_is_known_how_much_there_should_be() -> None:
    def says(**values: object) -> bool:
        rows = config_rows([config("a/text_html", **values)], JobIndex(JobsSnapshot()), {}, None, NOON)
        line = summary_line(rows, JobIndex(JobsSnapshot()), NOON, wide=True)
        return "nothing is missing" in "".join(words for words, _ in line)

    assert says(done=3071)
    assert says(done=9, total=None, unit="steps")
    assert not says(total=None)
    assert not says(scanned=False)
    assert not says(done=9, missing=1, total=10, unit="lines")


def test_lines_files_and_steps_that_are_missing_are_no_tasks_and_not_nothing() -> None:
    def line(*states: ConfigState) -> str:
        rows = config_rows(states, JobIndex(JobsSnapshot()), {}, None, NOON)
        spans = summary_line(rows, JobIndex(JobsSnapshot()), NOON, wide=True)
        return "".join(words for words, _ in spans)

    lines = config("a/lines", 12, missing=88, total=100, unit="lines")
    assert line(lines, config("a/whole", 3071)) == "no job runs · 1 config not whole"
    assert line(lines, config("a/tasks", 3070, missing=1)) == "no job runs · 1 pending in 1 config"
    assert line(lines, config("a/broken", 3071, problems=("half written",))).startswith("! 1 needs a look · ")
    assert line(config("a/whole", 3071), config("a/endless", total=None)) == "no job runs"
    assert line() == "no job runs"
