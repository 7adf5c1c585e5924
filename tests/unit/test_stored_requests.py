"""What was asked for is read from the store as it was put there, whatever the ids of a benchmark look like."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitui.domain.jobs import JobRequest, Shard
from hitui.domain.tasks import ErrorClass, TaskId
from hitui.supervisor.store import Store


@pytest.mark.parametrize(
    "ids",
    [
        (1, 2, 3),
        ("a", "b/c", "ü"),
        (2**63, 2**64, 10**400, -(2**70)),
        # Half of a surrogate pair: JSON may escape it, though no UTF-8 can say it.
        ("\ud800", 1),
        (),
        None,
    ],
)
def test_ids_are_read_as_they_were_submitted(tmp_path: Path, ids: tuple[TaskId, ...] | None) -> None:
    request = JobRequest(
        "x",
        ids=ids,
        error_class=ErrorClass.OTHER,
        gpus=("0", "GPU-1"),
        shards=3,
        shard=Shard(7, 1, 3, ids or ()),
        force=True,
    )
    store = Store(tmp_path / "state.db")
    [job] = store.submit([request], {})
    beside = Store(tmp_path / "state.db", read_only=True)
    assert job.request == request
    assert [known.request for known in beside.jobs()] == [request]
    beside.close()
    store.close()
