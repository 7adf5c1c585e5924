"""Rate and time left of runners that say nothing, from how their results grow."""

from __future__ import annotations

import pytest

from hitui.domain.configs import ConfigState
from hitui.domain.growth import Growth, grown
from hitui.domain.jobs import Ended, Ending, Job, JobRequest, JobsSnapshot, Queued, Running, Stopping
from hitui.domain.progress import JobProgress
from hitui.ui.config_rows import ConfigRow, config_rows
from hitui.ui.job_index import JobIndex
from tests.ui.sample import NOON, config

NAME = "a/text_html"


def at(seconds: float, done: int, **others: object) -> ConfigState:
    """As its files stand that changed then, seconds after noon."""
    return config(NAME, done, **{"updated": NOON + seconds, "missing": 1000 - done, "total": 1000, **others})


def after(*states: ConfigState) -> Growth:
    growth = Growth()
    for state in states:
        growth = growth.after(state)
    return growth


def rate(growth: Growth, now: float, since: float = 0.0) -> float | None:
    progress = growth.progress(at(0, 100), NOON + now, since and NOON + since)
    return None if progress is None else progress.rate


def test_what_grows_steadily_has_a_rate_and_a_time_left() -> None:
    growth = after(*(at(10 * step, 100 + 5 * step) for step in range(5)))
    progress = growth.progress(at(40, 120), NOON + 41)
    assert progress == JobProgress(rate=0.5, eta_seconds=880 / 0.5, source="growth")


def test_as_it_was_first_seen_and_unchanged_it_does_not_grow() -> None:
    assert rate(after(at(0, 100)), 1) is None
    assert rate(after(at(0, 100), at(5, 100), at(10, 100)), 11) is None
    assert rate(Growth(), 1) is None


def test_only_the_last_minutes_count() -> None:
    slow = [at(100 * step, step) for step in range(5)]
    fast = [at(400 + 10 * step, 4 + 10 * step) for step in range(1, 40)]
    assert rate(after(*slow, *fast), 790) == pytest.approx(1.0)
    bursts = [at(0, 0), at(10, 1), at(20, 2), at(30, 3), at(40, 40)]
    assert rate(after(*bursts), 40) == 1.0


def test_the_first_change_after_a_pause_is_no_rate_yet() -> None:
    resumed = [at(0, 100), at(2400, 105)]
    assert rate(after(*resumed), 2401) is None
    assert rate(after(*resumed, at(2410, 110)), 2411) == 0.5


def test_what_is_written_seldom_has_one_too() -> None:
    """As a trainer's states, each with its checkpoint."""
    seldom = [at(1200 * step, 600 * step) for step in range(4)]
    assert rate(after(*seldom), 3700) == 0.5
    assert rate(after(*seldom[:2]), 1300) is None
    assert rate(after(*seldom, at(3600 + 3601, 3000)), 7202) is None
    assert rate(after(*seldom), 3600 + 2399) is not None
    assert rate(after(*seldom), 3600 + 2401) is None


def test_what_is_less_than_before_or_cannot_be_read_makes_no_rate() -> None:
    begun = (at(0, 100), at(10, 105))
    assert rate(after(*begun, at(20, 3)), 21) is None
    assert rate(after(*begun, at(20, 3), at(21, 110)), 22) is None
    assert rate(after(*begun, at(20, 3, problems=("half written",)), at(30, 115)), 30) == 0.5
    assert rate(after(*begun, at(20, 0, updated=None), at(30, 0, scanned=False)), 20) == 0.5


def test_files_that_changed_in_one_tick_of_a_clock_are_one_change() -> None:
    assert rate(after(at(0, 100), at(10, 103), at(10, 105)), 10) == 0.5
    assert rate(after(at(0, 100), at(10, 105), at(5, 200)), 11) is None
    assert rate(after(at(0, 100), at(2400, 103), at(2400, 105)), 2400) is None


def test_what_stops_slows_down_and_then_has_none() -> None:
    growth = after(*(at(10 * step, 100 + 5 * step) for step in range(3)))
    assert rate(growth, 29) == 0.5
    assert rate(growth, 50) == 0.25
    assert rate(growth, 321) is None
    uneven = after(at(0, 100), at(5, 105), at(20, 110))
    assert rate(uneven, 35) == 0.5
    assert rate(uneven, 40) == 0.4


def test_what_it_grew_before_says_nothing() -> None:
    growth = after(at(0, 0), at(10, 50), at(20, 55), at(30, 60))
    assert rate(growth, 31, since=5) == 0.5
    assert rate(growth, 31, since=25) is None


def test_nothing_is_left_of_what_is_whole_and_no_time_is_told_without_a_total() -> None:
    growth = after(at(0, 990), at(10, 1000))
    assert growth.progress(at(10, 1000), NOON + 11) is None
    endless = growth.progress(at(10, 1000, total=None, missing=0), NOON + 11)
    assert endless == JobProgress(rate=1.0, source="growth")


def test_configs_that_are_gone_are_forgotten() -> None:
    known = grown({}, [at(0, 100)])
    assert grown(known, [at(10, 105)])[NAME].marks == ((NOON, 100), (NOON + 10, 105))
    assert grown(known, []) == {}


def row(job: Job | None = None, progress: JobProgress | None = None) -> ConfigRow:
    """Of a config that grows by one task in two seconds, 11 seconds after the first mark."""
    growth = {NAME: after(at(0, 100), at(10, 105))}
    jobs = JobsSnapshot(() if job is None else (job,))
    said = {} if progress is None else {7: progress}
    (made,) = config_rows([at(10, 105)], JobIndex(jobs), said, None, NOON + 11, growth)
    return made


def job(state: object) -> Job:
    return Job(7, JobRequest(NAME), NOON - 100, state)  # type: ignore[arg-type]


RUNS = job(Running((), 4711, NOON - 50))


def test_a_config_that_someone_elses_run_fills_says_how_fast() -> None:
    told = JobProgress(rate=0.5, eta_seconds=1790.0, source="growth")
    assert (row().progress, row().job_progress) == (told, None)
    assert row(job(Queued())).progress == told
    assert row(job(Ended(Ending.SUCCEEDED, NOON - 1))).progress == told


def test_a_runner_that_says_nothing_is_told_by_its_results() -> None:
    assert row(RUNS).progress == JobProgress(rate=0.5, eta_seconds=1790.0, source="growth")
    bar = JobProgress(done=3, total=14, source="log")
    told = JobProgress(done=3, total=14, rate=0.5, eta_seconds=1790.0, source="log")
    assert row(RUNS, bar).progress == told
    for state in (Stopping((), 4711, NOON - 50, NOON + 1), Stopping((), None, None, NOON + 1)):
        assert row(job(state)).progress is not None


def test_what_a_runner_says_counts() -> None:
    for said in (
        JobProgress(phase="loading", source="events"),
        JobProgress(phase="running", done=1, total=9, source="events"),
        JobProgress(done=3, total=14, rate=9.0, source="log"),
        JobProgress(done=14, total=14, source="events"),
    ):
        assert row(RUNS, said).progress == said


def test_what_grew_before_its_job_started_or_ended_is_not_told() -> None:
    assert row(job(Running((), 4711, NOON + 9))).progress is None
    assert row(job(Ended(Ending.STOPPED, NOON + 10.5))).progress is None
