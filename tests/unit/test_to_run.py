"""How many tasks a request would run, by the counts of its config."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hitui.domain.configs import Config, ConfigState
from hitui.domain.jobs import Job, JobRequest, Queued, Running, Shard
from hitui.domain.tasks import ErrorClass
from hitui.domain.to_run import tasks_of_jobs, tasks_of_request

TEXT, IMAGE = ErrorClass.TEXT_TOO_LARGE, ErrorClass.IMAGE_TOO_LARGE
STATE = ConfigState(
    Config("a/b", "realhitbench", ("/w/a/b",), "/w/a/b"),
    True,
    total=100,
    done=90,
    errors=6,
    missing=4,
    error_classes=((TEXT, 5), (ErrorClass.OTHER, 1)),
)
"""Ten tasks are pending."""


@pytest.mark.parametrize(
    ("wishes", "count"),
    [
        ({}, 10),
        ({"ids": (1, 2, 3)}, 3),
        ({"ids": tuple(range(50))}, 10),
        ({"error_class": TEXT}, 5),
        ({"error_class": IMAGE}, 0),
        ({"error_class": TEXT, "ids": (1, 2)}, 2),
        ({"shard": Shard(7, 1, 2, (4, 5))}, 2),
        ({"shard": Shard(7, 1, 2, tuple(range(50)))}, 10),
    ],
)
def test_a_request_runs_what_it_asks_for_and_no_more_than_is_pending(
    wishes: dict[str, object], count: int
) -> None:
    assert tasks_of_request(JobRequest("a/b", **wishes), STATE) == count  # type: ignore[arg-type]


def test_of_a_request_for_several_configs_the_part_of_this_one_counts() -> None:
    request = JobRequest("a/other", ids=(1, 2, 3, 4), also=(JobRequest("a/b", error_class=TEXT),))
    assert tasks_of_request(request, STATE) == 5
    started = Job(7, request, 0.0, Running((), 1, 0.0), task_count=9)
    assert tasks_of_jobs([started], STATE) == 5


def test_a_started_job_runs_what_it_was_started_with() -> None:
    started = Job(7, JobRequest("a/b"), 0.0, Running((), 1, 0.0), task_count=4)
    assert tasks_of_jobs([started], STATE) == 4
    # What it has answered since is pending no more.
    assert tasks_of_jobs([started], replace(STATE, done=98, missing=0, errors=2)) == 2


def test_shards_run_together_no_more_than_is_pending() -> None:
    waits = Job(7, JobRequest("a/b", shard=Shard(7, 0, 2, (1, 2, 3, 4))), 0.0, Queued())
    runs = Job(8, JobRequest("a/b", shard=Shard(7, 1, 2, (5, 6, 7))), 0.0, Running((), 1, 0.0), task_count=3)
    assert tasks_of_jobs([waits, runs], STATE) == 7
    assert tasks_of_jobs([waits, runs], replace(STATE, done=95, missing=0, errors=5)) == 5


def test_where_the_runner_decides_no_number_is_told() -> None:
    unknown = replace(STATE, total=None)
    assert tasks_of_request(JobRequest("a/b", ids=(1,)), unknown) is None
    assert tasks_of_jobs([Job(7, JobRequest("a/b"), 0.0, Queued())], unknown) is None
