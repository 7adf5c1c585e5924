"""What a supervisor makes of a wish of which only another version knows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from hitui.domain.jobs import JobRequest, Shard
from hitui.domain.schedule import Schedule
from hitui.domain.tasks import ErrorClass
from hitui.errors import SupervisorError
from hitui.supervisor import queue_control, server, wire
from hitui.supervisor.other_versions import check_known

SUBMIT = {"do": "submit", "environment": {"A": "b"}, "schedule": {}, "requests": [{"config": "a"}]}


@pytest.mark.parametrize(
    "wish",
    [
        {"do": "retry", "jobs": [1], "gently": True},
        {**SUBMIT, "dry": 1},
        {**SUBMIT, "schedule": {"after_midnight": 1}},
        {**SUBMIT, "requests": [{"config": "a"}, {"config": "b", "engine": "vllm"}]},
        {**SUBMIT, "requests": [{"config": "a", "also": [{"config": "b", "engine": "vllm"}]}]},
    ],
)
def test_it_is_refused_and_not_done_without_that(wish: dict[str, Any]) -> None:
    with pytest.raises(SupervisorError, match="of another version of hitui, does not know '"):
        check_known(wish)


def test_what_is_known_and_what_says_nothing_is_taken() -> None:
    request = JobRequest("a", (1, "x"), ErrorClass.OTHER, ("0",), gpu_count=2, shards=2, force=True)
    request = replace(request, shard=Shard(1, 0, 2, (1,)), also=(JobRequest("b"),))
    schedule = Schedule(priority=1, group="g", after=(1,), after_success=(2,), not_before=3.0)
    check_known(
        {
            **SUBMIT,
            "requests": [wire.request_to_wire(request)],
            "schedule": wire.schedule_to_wire(schedule),
        }
    )
    # A newer client may always say how a switch stands that nobody has touched.
    check_known({"do": "retry", "jobs": [1], "force": False, "gently": False})
    check_known({"do": "move", "jobs": [1], "before": None})


def test_every_key_that_a_supervisor_looks_at_is_known() -> None:
    """What is missing among those that are known would be refused as another version's."""
    asked: set[str] = set()
    for module in (server, queue_control):
        source = Path(str(module.__file__)).read_text()
        asked |= set(re.findall(r'message(?:\.get\(|\[)"(\w+)"', source))
    # Of requests that change nothing.
    asked -= {"all", "foremost", "changes"}
    assert {"do", "requests", "jobs", "group", "force"} <= asked
    for key in asked - {"requests", "schedule"}:
        check_known({"do": "retry", key: 1})
