"""Configs as lines, from values alone."""

from __future__ import annotations

import itertools

import pytest
from msgspec.structs import replace
from rich.color import Color as RichColor
from rich.color import ColorSystem
from textual.color import Color
from textual.theme import Theme

from hitui.domain.gpus import GpuSnapshot
from hitui.domain.jobs import (
    Ended,
    Ending,
    Job,
    JobRequest,
    JobsSnapshot,
    Queued,
    Running,
    Starting,
    Stopping,
)
from hitui.domain.progress import JobProgress
from hitui.domain.schedule import Schedule
from hitui.domain.waits import WaitKind
from hitui.ui.columns import COLUMNS, place_columns
from hitui.ui.config_rows import SHORT_CELLS, config_rows, estimated_end, state_words
from hitui.ui.job_index import JobIndex
from hitui.ui.job_words import wait_words
from hitui.ui.text import moment
from hitui.ui.theme import THEMES
from tests.ui.sample import NOON, config, configs, gpu, jobs, server
from tests.unit.rows import JOINED, job, row_of_shards, rows_of_joined, shards


@pytest.mark.parametrize(
    ("state", "long", "short"),
    [
        (Queued(), "waits: its turn #7", "waits #7"),
        (
            Queued("20 GiB free on one GPU: GPU 0 has 3 GiB", WaitKind.GPUS),
            "waits: 20 GiB free #7",
            "waits #7",
        ),
        (Queued("40 GiB free on GPU 2: it has 3 GiB", WaitKind.GPUS), "waits: GPU 2 #7", "waits #7"),
        (Queued("40 GiB free on 4 GPUs: GPU 0 has 3 GiB", WaitKind.GPUS), "waits: 4 GPUs #7", "waits #7"),
        (
            Queued("group default to be resumed: by hand", WaitKind.GROUP_PAUSED),
            "group default paused #7",
            "waits #7",
        ),
        (
            Queued("the queue to be resumed: by hand", WaitKind.QUEUE_PAUSED),
            "the queue paused #7",
            "waits #7",
        ),
        (Queued("its dataset: /gone cannot be read", WaitKind.AWAY), "its dataset is away #7", "away #7"),
        (Starting(("u0",), NOON), "▶ GPU 0 #7 starts", "▶ #7 starts"),
        (Running(("u0", "u1"), 1, NOON), "▶ GPUs 0,1 #7", "▶ GPUs 0,1 #7"),
        (Running(("u0", "u1", "u2"), 1, NOON), "▶ GPUs 0,1,2 #7", "▶ #7"),
        (Running((), 1, NOON), "▶ no GPU #7", "▶ no GPU #7"),
        (
            Running(("u0",), 1, NOON, NOON),
            "! stalled for 1 h 5 min: #7 on GPU 0",
            "! stalled #7",
        ),
        (Stopping(("u0",), 1, NOON, NOON), "■ GPU 0 #7 stops", "■ #7 stops"),
        (Ended(Ending.FAILED, NOON, "exit status 1"), "! #7 failed: exit status 1", "! failed #7"),
        (Ended(Ending.LOST, NOON), "! #7 lost", "! lost #7"),
        (Ended(Ending.STOPPED, NOON, "asked"), "17 to rerun", "17 to rerun"),
        (Ended(Ending.SUCCEEDED, NOON), "17 to rerun", "17 to rerun"),
    ],
)
def test_the_state_of_a_config_with_a_job(state: object, long: str, short: str) -> None:
    labels = {"u0": "0", "u1": "1", "u2": "2"}
    words = state_words(config("a/text_html", 3054, errors=17), job(state), None, labels, NOON + 3900)
    assert (words.long, words.short) == (long, short)
    assert words.attention == long.startswith("!")
    assert len(short) <= 13


@pytest.mark.parametrize(
    ("ending", "long"),
    [
        (Ending.SUCCEEDED, "#7 succeeded, still 100 to run"),
        (Ending.STOPPED, "#7 stopped, still 100 to run"),
        (Ending.FAILED, "! #7 failed"),
    ],
)
def test_what_ran_and_left_nothing_that_is_counted_is_not_called_not_started(
    ending: Ending, long: str
) -> None:
    empty = config("a/lines", 0, missing=100, total=100, unit="lines", updated=None)
    assert state_words(empty, job(Ended(ending, NOON)), None, {}).long == long
    assert state_words(empty, None, None, {}).long == "not started, 100 to run"


def test_what_waits_for_its_time_says_when() -> None:
    # What the supervisor says of it has a colon in the time.
    later = job(Queued("22:13: it starts then"), schedule=Schedule(not_before=NOON + 60))
    assert state_words(config("a/b"), later, None, {}, NOON).long == f"starts at {moment(NOON + 60, NOON)} #7"
    assert wait_words(later, NOON)[0] == f"starts at {moment(NOON + 60, NOON)}"


def test_a_failed_job_is_forgotten_once_nothing_is_missing() -> None:
    ended = job(Ended(Ending.FAILED, NOON, "exit status 1"))
    assert state_words(config("a/b", 3071), ended, None, {}).long == "whole"
    assert state_words(config("a/b", scanned=False), ended, None, {}).long == "! #7 failed: exit status 1"


def test_the_phase_is_said_while_it_is_not_the_usual_one() -> None:
    running = job(Running(("u0",), 1, NOON))
    words = state_words(config("a/b"), running, JobProgress("loading"), {"u0": "0"})
    assert (words.long, words.short) == ("▶ GPU 0 #7 loading", "▶ GPU 0 #7")


def test_a_config_whose_inputs_are_not_here_is_not_called_whole() -> None:
    assert (
        state_words(config("a/image", 998, blocked=2073), None, None, {}).long == "done but for 2073 blocked"
    )
    assert state_words(config("a/image", 3063, blocked=8), None, None, {}).long == "whole"


def test_the_active_job_counts_before_the_newest() -> None:
    old = replace(job(Running(("u0",), 1, NOON)), id=1)
    newer = replace(job(Ended(Ending.SUCCEEDED, NOON)), id=2)
    (row,) = config_rows([config("a/text_html")], JobIndex(JobsSnapshot((old, newer))), {}, None, NOON)
    assert row.job is not None
    assert row.job.id == 1


@pytest.mark.parametrize(("number", "short"), [(7, "▶ GPU 0 #7 +1"), (12, "▶ 0 #12 +1")])
def test_that_others_wait_is_said_in_the_least_room_too(number: int, short: str) -> None:
    running, waits = (
        replace(job(state), id=number + more)
        for more, state in enumerate((Running(("u0",), 1, NOON), Queued()))
    )
    snapshot = GpuSnapshot(NOON, "nvml", (replace(gpu(0, 1.0), uuid="u0"),))
    (row,) = config_rows(
        [config("a/text_html")], JobIndex(JobsSnapshot((running, waits))), {}, snapshot, NOON
    )
    assert row.words.short == short
    assert len(short) <= SHORT_CELLS


def test_a_config_in_shards_is_one_row_with_all_of_their_gpus_and_progress() -> None:
    running = tuple(Running((f"u{number}",), number, NOON) for number in range(3))
    row = row_of_shards(
        shards(*running),
        {
            7: JobProgress("running", 3, 24, rate=0.1, eta_seconds=210.0),
            8: JobProgress("running", 5, 24, 1, rate=0.2, eta_seconds=95.0),
            9: JobProgress("running", 1, 23, rate=0.1, eta_seconds=220.0),
        },
    )
    assert (row.words.long, row.words.short) == ("▶ GPUs 0,1,2 #7 +2", "▶ #7 +2")
    assert row.progress is not None
    assert (row.progress.done, row.progress.total, row.progress.errors) == (9, 71, 1)
    assert estimated_end([row], NOON) == 220.0


def test_shards_that_wait_or_are_stalled_or_failed_are_told() -> None:
    running = Running(("u0",), 1, NOON)
    waits = row_of_shards(shards(running, Queued("20 GiB free on one GPU")), {})
    assert waits.words.long == "▶ GPU 0 #7, 1 more waits"
    stalled = row_of_shards(shards(running, Running(("u1",), 2, NOON, NOON)), {})
    assert stalled.words.long == "! stalled for 1 h 5 min: #8 on GPU 1"
    died = Ended(Ending.FAILED, NOON, "exit status 1")
    failed = row_of_shards(shards(died, Ended(Ending.SUCCEEDED, NOON + 60)), {})
    assert failed.words.long == "! #7 failed: exit status 1"


def test_a_shard_that_failed_is_told_while_others_go_on() -> None:
    died = Ended(Ending.FAILED, NOON, "exit status 1")
    known = shards(Running(("u0",), 1, NOON), died, Running(("u2",), 3, NOON))
    row = row_of_shards(known, {})
    assert (row.words.long, row.words.short) == ("! a shard failed #8, ▶ GPUs 0,2 #7 +1", "! failed #8")
    assert row.words.attention
    assert [JobIndex(known).needs_someone(shard) for shard in known.jobs[1:2]] == [True]
    again = JobsSnapshot(
        tuple(replace(shard, successor=11) if shard.id == 8 else shard for shard in known.jobs)
    )
    assert row_of_shards(again, {}).words.long == "▶ GPUs 0,2 #7 +1"


def test_a_shard_that_was_tried_again_by_hand_is_told_by_that_try_alone() -> None:
    died = Ended(Ending.LOST, NOON, "launcher and runner were killed")
    known = shards(died, Running(("u1",), 1, NOON), Running(("u2",), 3, NOON))
    first, second, third = known.jobs
    again = replace(third, id=11, request=first.request)
    tried = JobsSnapshot((first, second, again))
    assert row_of_shards(tried, {}).words.long == "▶ GPUs 2,1 #11 +1"
    assert not JobIndex(tried).needs_someone(first)

    queued = JobsSnapshot((first, second, replace(again, state=Queued("20 GiB free on one GPU"))))
    assert row_of_shards(queued, {}).words.long == "▶ GPU 1 #8, 1 more waits"

    done = [replace(each, state=Ended(Ending.SUCCEEDED, NOON + 60)) for each in (second, again)]
    assert row_of_shards(JobsSnapshot((first, *done)), {}).words.long == "71 to rerun"

    failed = replace(again, state=Ended(Ending.FAILED, NOON + 60, "exit status 1"))
    row = row_of_shards(JobsSnapshot((first, second, failed)), {})
    assert row.words.long == "! a shard failed #11, ▶ GPU 1 #8"


def test_each_config_of_a_job_of_several_says_how_far_the_job_is_with_it() -> None:
    parts = {
        "a/one": JobProgress("running", 5, 5, rate=0.1, eta_seconds=0.0),
        "a/two": JobProgress("running", 1, 3, rate=2.0, eta_seconds=1.0),
        "a/three": JobProgress(done=0, total=20),
    }
    rows = rows_of_joined(JobProgress("running", 6, 28, rate=2.0, eta_seconds=11.0, configs=parts))
    assert [row.words.long for row in rows] == [
        "whole, #7 goes on",
        "▶ GPU 0 #7",
        "waits for its turn in #7",
    ]
    assert [None if row.progress is None else row.progress.done for row in rows] == [5, 1, 0]
    assert [None if row.progress is None else row.progress.rate for row in rows] == [None, 2.0, None]


def test_a_config_that_a_job_has_not_named_yet_waits_for_its_turn_too() -> None:
    begun = JobProgress("running", 1, 28, configs={"a/one": JobProgress("running", 1, 6)})
    assert [row.words.short for row in rows_of_joined(begun)] == ["▶ GPU 0 #7", "waits in #7", "waits in #7"]


def test_no_turn_is_told_of_a_job_of_one_config_nor_of_one_that_says_nothing_or_stops_or_is_stalled() -> None:
    def long(of: Job, progress: JobProgress | None) -> str:
        return state_words(config("a/two", missing=2), of, progress, {"u0": "0"}, NOON + 60).long

    alone = replace(JOINED, request=JobRequest("a/two"))
    assert long(alone, JobProgress()) == "▶ GPU 0 #7"
    assert long(JOINED, None) == "▶ GPU 0 #7"
    assert long(JOINED, JobProgress(done=3)) == "▶ GPU 0 #7"
    stops = replace(JOINED, state=Stopping(("u0",), 1, NOON, NOON))
    assert long(stops, JobProgress()) == "■ GPU 0 #7 stops"
    stalled = replace(JOINED, state=Running(("u0",), 1, NOON, NOON))
    assert long(stalled, JobProgress()) == "! stalled for 60 s: #7 on GPU 0"


def test_a_model_is_loaded_for_all_configs_of_a_job() -> None:
    counted = {name: JobProgress(done=0, total=9) for name in ("a/one", "a/two", "a/three")}
    rows = rows_of_joined(JobProgress("loading", configs=counted))
    assert {row.words.long for row in rows} == {"▶ GPU 0 #7 loading"}


def test_what_a_job_of_several_configs_says_before_the_first_counts_for_none_of_them() -> None:
    rows = rows_of_joined(JobProgress("loading", 0, 28))
    assert {row.words.long for row in rows} == {"▶ GPU 0 #7 loading"}
    assert [row.progress and row.progress.total for row in rows] == [None, None, None]


@pytest.mark.parametrize("width", [60, 80, 99, 100, 120, 160, 250])
def test_the_columns_fill_the_width_and_never_overlap(width: int) -> None:
    rows = config_rows(configs(), JobIndex(jobs()), {}, server(), NOON)
    places = place_columns(rows, width)
    assert [place.column for place in places] == list(COLUMNS)
    assert all(left.start + left.width < right.start for left, right in itertools.pairwise(places))
    if width >= 80:
        assert places[-1].start + places[-1].width == width


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
@pytest.mark.parametrize("part", ["background", "surface", "rule", "muted", "faint", "cursor"])
def test_greys_stay_grey_in_256_colours(theme: Theme, part: str) -> None:
    """As tmux has them: a nearly grey colour would be taken for the nearest of 216, a teal or a navy blue."""
    grey = Color.parse(theme.variables.get(part) or str(getattr(theme, part)))
    over = Color.parse(theme.background)
    # Below a dialog all is mixed with the background.
    for colour in (grey, over.blend(grey, 0.4)):
        number = colour.rich_color.downgrade(ColorSystem.EIGHT_BIT).number
        assert number is not None
        red, green, blue = Color.from_rich_color(RichColor.from_ansi(number)).rgb
        assert max(red, green, blue) - min(red, green, blue) <= 8, (part, colour.hex)
