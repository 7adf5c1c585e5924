"""Progress from event lines and from tqdm's bars; rates that slow down when nothing comes."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hitui.adapters.events import EventFile, read_tail
from hitui.commands.launching import progress_line
from hitui.commands.ls import progress_of
from hitui.domain.jobs import (
    Ended,
    Ending,
    Job,
    JobRequest,
    JobsSnapshot,
    JobState,
    Queued,
    Running,
    one_line,
)
from hitui.domain.progress import EventTally, JobProgress, parse_tqdm, rate_of, together, without_bars
from hitui.services import progress as following


@given(st.lists(st.floats(0, 280), min_size=2, max_size=50), st.floats(0, 20))
def test_a_rate_is_positive_and_no_more_than_the_last_ends_say(offsets: list[float], since: float) -> None:
    times = sorted(offsets)
    now = times[-1] + since
    rate = rate_of(times, now)
    if rate is not None:
        assert rate > 0
        span = times[-1] - times[0]
        assert span == 0 or rate <= (len(times) - 1) / span * (1 + 1e-9)


def test_a_steady_runner_has_a_steady_rate() -> None:
    times = [10.0 * n for n in range(12)]
    assert rate_of(times, 110.0) == pytest.approx(0.1)
    assert rate_of(times, 119.9) == pytest.approx(0.1)


def test_a_runner_that_hangs_slows_down_and_then_has_none() -> None:
    times = [10.0 * n for n in range(12)]
    rates = [rate_of(times, now) for now in (110.0, 140.0, 200.0, 300.0)]
    assert rates == sorted(rates, key=lambda rate: -(rate or 0))
    assert rate_of(times, 1000.0) is None
    assert rate_of([5.0], 6.0) is None


def test_tasks_that_end_together_have_the_rate_of_all_the_time_that_they_took() -> None:
    """Five at once every 30 s: the rate is a sixth of a task a second, and not what lies between the five."""
    tally = EventTally().add([{"time": 1000.0, "event": "phase", "phase": "running"}])
    for batch in range(1, 41):
        ends = [1000.0 + 30.0 * batch + 0.001 * n for n in range(5)]
        tally = tally.add([{"time": end, "event": "task", "id": 1, "status": "done"} for end in ends])
        told = tally.progress(ends[-1])
        assert told is not None
        assert told.rate == pytest.approx(1 / 6, rel=0.03)
    first = [1030.0, 1030.001, 1030.002, 1030.003, 1030.004]
    assert rate_of(first, 1059.0, 1000.0) == pytest.approx(1 / 6, rel=0.01)
    assert (rate_of(first, 1090.0, 1000.0) or 1) < 0.1


def test_where_nothing_says_when_it_began_the_count_may_do_so() -> None:
    events: list[dict[str, object]] = [
        {"time": 10.0, "event": "progress", "config": "a", "done": 0, "total": 9},
        *({"time": 40.0, "event": "task", "config": "a", "id": n, "status": "done"} for n in range(3)),
    ]
    told = EventTally().add(events).configs["a"].progress(40.0)
    assert told is not None
    assert told.rate == pytest.approx(0.1)


def test_shards_are_as_far_as_all_of_them_and_end_with_the_last() -> None:
    first = JobProgress("running", 4, 10, 1, 0.5, 12.0, "events")
    second = JobProgress("running", 2, 20, 0, 0.25, 72.0, "events")
    assert together([first, second]) == JobProgress("running", 6, 30, 1, 0.75, 72.0, "events")
    through = JobProgress("end", 5, 5, 0, None, None, "events")
    assert together([through, second]) == JobProgress("running", 7, 25, 0, 0.25, 72.0, "events")
    loading = JobProgress("loading", source="events")
    assert together([loading, loading]) == JobProgress("loading", source="events")
    # Of one of them nothing is known, so that nothing is known of the end of both.
    silent = together([first, None])
    assert silent == JobProgress("running", 4, None, 1, 0.5, None, "events")
    assert together([None, None]) is None
    assert together([first]) == first
    assert together([]) is None


def test_event_lines_become_progress() -> None:
    tally = EventTally().add(
        [
            {"time": 0.0, "event": "phase", "phase": "running"},
            {"time": 10.0, "event": "task", "id": 1, "status": "done"},
            {"time": 10.0, "event": "progress", "done": 1, "total": 5, "errors": 0},
            {"time": 20.0, "event": "task", "id": 2, "status": "error"},
            {"time": 20.0, "event": "progress", "done": 2, "total": 5, "errors": 1},
        ]
    )
    assert tally.progress(20.0) == JobProgress(
        phase="running", done=2, total=5, errors=1, rate=0.1, eta_seconds=30.0, source="events"
    )
    ended = tally.add([{"time": 50.0, "event": "end", "done": 5, "errors": 1, "exit": 0}])
    assert (ended.exit_status, ended.done, ended.phase) == (0, 5, "end")


keys = st.sampled_from(["event", "time", "done", "total", "errors", "exit", "phase"])
values = st.sampled_from([None, True, -1, 3, 0.5, 10**400, "", "progress", "end", "task", "phase", [], {}])


@given(st.lists(st.dictionaries(keys, values), max_size=6))
def test_events_of_any_shape_break_nothing(events: list[dict[str, object]]) -> None:
    EventTally().add(events).progress(1.0)


@pytest.mark.parametrize("count", [10**400, 10**25, -5])
def test_numbers_that_count_no_tasks_are_not_taken(count: int) -> None:
    tally = EventTally().add(
        [
            {"event": "progress", "done": 1, "total": count, "errors": count},
            {"event": "task", "time": 5.0},
            {"event": "task", "time": 9.0},
            {"event": "end", "exit": count},
        ]
    )
    progress = tally.progress(10.0)
    assert progress is not None
    assert (progress.done, progress.total, progress.errors, progress.eta_seconds) == (1, None, 0, None)
    assert tally.exit_status == (-5 if count == -5 else None)


def test_a_moment_that_no_clock_can_say_is_none() -> None:
    assert EventTally().add([{"event": "task", "time": 10**400}]).task_times == ()


def test_what_a_runner_says_that_it_runs_with_is_kept() -> None:
    said = {"event": "start", "versions": {"python": "3.12.4", "torch": "2.13.0", "odd": 3}}
    tally = EventTally().add([said, {"event": "phase", "phase": "loading"}])
    assert tally.versions == (("python", "3.12.4"), ("torch", "2.13.0"))


def test_of_several_configs_the_sum_counts() -> None:
    events: list[dict[str, object]] = [
        {"event": "phase", "phase": "running"},
        {"event": "progress", "config": "a", "done": 2, "total": 2, "errors": 1},
        {"event": "progress", "done": 2, "total": 9, "errors": 1},
        {"event": "end", "config": "a", "done": 2, "errors": 1, "exit": 0},
        {"event": "progress", "config": "b", "done": 0, "total": 7, "errors": 0},
    ]
    progress = EventTally().add(events).progress(0.0)
    assert progress is not None
    assert (progress.phase, progress.done, progress.total, progress.errors) == ("running", 2, 9, 1)
    assert progress.of("not begun with") == JobProgress(source="events")


def test_a_file_of_events_is_read_on_and_a_torn_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = EventFile(str(path))
    assert events.read().progress(0.0) is None
    first = json.dumps({"time": 1.0, "event": "progress", "done": 1, "total": 2, "errors": 0})
    path.write_text(first + "\n" + first[:20])
    assert events.read().done == 1
    with path.open("a") as file:
        file.write(first[20:].replace('"done": 1', '"done": 2') + "\nnot json\n[]\n\xff\n")
    assert events.read().done == 2
    path.write_text(first + "\n")
    assert events.read().done == 1
    # Another one in its place, that is longer, is read from its beginning.
    other = tmp_path / "other"
    other.write_text(first.replace('"done": 1', '"done": 5') + "\n" * 1000)
    other.replace(path)
    assert events.read().done == 5


@pytest.mark.parametrize(
    "line",
    [b'{"event": "phase", "phase": "\xff"}', b"[" * 60_000, b'{"event": ' + b"[" * 60_000],
    ids=["no-text", "deep", "deeper"],
)
def test_a_line_that_no_decoder_takes_is_passed_over(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(line + b'\n{"time": 1, "event": "progress", "done": 3, "total": 6, "errors": 0}\n')
    assert EventFile(str(path)).read().done == 3


def test_a_line_too_long_for_an_event_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"x" * 3_000_000 + b'\n{"time": 1, "event": "progress", "done": 3}\n')
    assert EventFile(str(path)).read().done == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Processing: 18%|███▍      | 3/17 [00:38<02:51, 12.2s/it]", (3, 17, 1 / 12.2, 171.0)),
        ("a: 50%|#####     | 5/10 [00:01<00:01,  4.96it/s]\r a: 60%|######    | 6/10 [1:00:00<2:40:00, 25.0file/s]",
         (6, 10, 25.0, 9600.0)),
        ("0%|          | 0/17 [00:00<?, ?it/s]", (0, 17, None, None)),
        ("x: 100%|██████████| 16/16 [00:05<00:00,  2.96it/s, loss=0.1]", (16, 16, 2.96, 0.0)),
    ],
)  # fmt: skip
def test_bars_of_tqdm(text: str, expected: tuple[int, int, float | None, float | None]) -> None:
    bar = parse_tqdm(text)
    assert bar is not None
    assert (bar.done, bar.total, bar.rate, bar.eta_seconds) == expected
    assert bar.source == "log"


def test_text_without_a_bar_is_no_progress() -> None:
    assert parse_tqdm("3/17 files | done [ok]") is None


@given(st.text(alphabet="|/[]<,:?.0123456789 its\n", max_size=40).map(lambda text: f"|1/2 [0:1<0:1, {text}"))
def test_rubbish_that_begins_like_a_bar_breaks_nothing(text: str) -> None:
    parse_tqdm(text)


@pytest.mark.parametrize("number", ["9" * 5000, ".", "1.2.3"])
def test_numbers_that_are_none_are_no_progress(number: str) -> None:
    assert parse_tqdm(f"|{number}/2 [00:01<00:01, {number}it/s]") is None
    assert parse_tqdm(f"|1/2 [{number}:01<{number}:01, {number}it/s]") is None


def test_a_tail_has_no_escapes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 10_000 + b"\n\x1b[1;31mred\x1b[0m \x1b]0;title\x07end\xff")
    assert read_tail(path) == "red end\ufffd"
    assert read_tail(tmp_path / "absent") == ""


def test_a_tail_begins_where_a_line_does(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"1234\r5678\n")
    assert [read_tail(path, size) for size in (10, 9, 7, 6, 4, 2)] == [
        "1234\r5678\n",
        "5678\n",
        "5678\n",
        "5678\n",
        "678\n",
        "8\n",
    ]


def test_a_listing_tells_each_config_of_a_job_its_own_pace(tmp_path: Path) -> None:
    now = time.time()
    ends = [
        {"time": now - 3 + step, "event": "task", "id": step, "status": "done", "config": "g/two"}
        for step in (1, 2, 3)
    ]
    lines = [
        {"time": now - 9, "event": "phase", "phase": "running"},
        {"time": now - 4, "event": "progress", "done": 0, "total": 20, "errors": 0},
        {"time": now - 4, "event": "progress", "config": "g/two", "done": 0, "total": 9, "errors": 0},
        *ends,
        {"time": now, "event": "progress", "config": "g/two", "done": 3, "total": 9, "errors": 0},
        {"time": now, "event": "progress", "done": 3, "total": 20, "errors": 0},
    ]
    events = tmp_path / "events.jsonl"
    events.write_text("".join(json.dumps(line) + "\n" for line in lines))
    request = JobRequest("g/one", also=(JobRequest("g/two"),))
    job = Job(4, request, now, Running((), 1, now), events=str(events))
    of_two, of_one = progress_of([job], "g/two"), progress_of([job], "g/one")
    assert of_two is not None
    assert (of_two.done, of_two.total) == (3, 9)
    assert of_two.rate
    assert of_two.eta_seconds == pytest.approx(6 / of_two.rate)
    assert of_one is not None
    assert (of_one.rate, of_one.eta_seconds) == (None, None)


def test_a_speed_that_no_number_can_hold_is_no_bar() -> None:
    """JSON has no infinity, and `--json` prints the rate."""
    assert parse_tqdm(f"| 3/9 [00:38<01:00, {'9' * 400}it/s]") is None


def test_of_a_run_that_is_through_no_speed_and_no_time_left_are_told() -> None:
    tally = JobProgress(phase="running", done=5, total=17, errors=1, rate=0.5, eta_seconds=24.0)
    assert progress_line(tally) == "running 5/17, 1 error, 30.0 a minute, 24 s left"
    through = replace(tally, phase="end", done=17, eta_seconds=0.0)
    assert progress_line(through) == "finishing 17/17, 1 error"
    # The last answer is there, and the line that says so not yet.
    assert progress_line(replace(through, phase="running")) == "finishing 17/17, 1 error"
    assert progress_line(replace(through, phase="scoring")) == "scoring 17/17, 1 error"


def test_a_run_is_through_when_it_says_so_or_has_done_all_and_not_by_a_bar_that_is_full() -> None:
    assert JobProgress("end").through
    assert JobProgress(done=0, total=0).through
    assert JobProgress("running", 17, 17).through
    assert not JobProgress("running", 16, 17).through
    assert not JobProgress("running", 17).through
    bar = parse_tqdm("Loading checkpoint shards: 100%|████| 4/4 [00:08<00:00,  2.0s/it]")
    assert bar is not None
    assert not bar.through


def test_a_shard_that_is_through_keeps_no_time_left_from_the_others() -> None:
    # Of one task there is no rate.
    through, on = JobProgress("running", 1, 1), JobProgress("running", 2, 20, 0, 0.25, 72.0)
    assert together([through, on]) == JobProgress("running", 3, 21, 0, 0.25, 72.0)


BAR = "Evaluating:  18%|███▍   | 3/17 [00:38<02:51, 12.2s/it, loss=0.3]"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"loaded\n{BAR}\r{BAR}\r", "loaded"),
        (f"loaded\n\r{BAR}\n", "loaded"),
        (f"{BAR}\r{BAR}", ""),
        (f"loaded\r{BAR}Killed\n{BAR}", "Killed"),
        (f"{BAR}CUDA error: an illegal memory access\n", "CUDA error: an illegal memory access"),
        ("3/17 files | done [ok]\n", "3/17 files | done [ok]"),
        (BAR[:-5], ""),
    ],
)
def test_the_last_words_of_a_log_are_no_bar(text: str, left: str) -> None:
    assert one_line(without_bars(text)) == left


def test_running_jobs_are_followed_and_told_of_when_something_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "POLL_SECONDS", 0.001)
    told: queue.Queue[Mapping[int, JobProgress]] = queue.Queue()

    def job(number: int, state: JobState) -> Job:
        events = tmp_path / f"{number}"
        events.write_text(json.dumps({"event": "progress", "done": number, "total": 9, "errors": 0}) + "\n")
        return Job(number, JobRequest("a"), 0.0, state, events=str(events))

    jobs = (job(1, Ended(Ending.SUCCEEDED, 2.0)), job(2, Queued()), job(3, Running((), 1, 1.0)))
    service = following.ProgressService()
    service.start(told.put)
    service.follow(JobsSnapshot(jobs))
    assert {number: progress.done for number, progress in told.get(timeout=30).items()} == {3: 3}
    with (tmp_path / "3").open("a") as file:
        file.write(json.dumps({"event": "progress", "done": 7, "total": 9, "errors": 0}) + "\n")
    while told.get(timeout=30)[3].done != 7:
        pass
    assert service.latest[3].done == 7
    service.follow(JobsSnapshot(jobs[:2]))
    while told.get(timeout=30):
        pass
    assert service.latest == {}
    service.close()
    assert told.empty()
