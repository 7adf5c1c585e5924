"""What supervisor and client say to each other: one JSON object a line, over a Unix socket.

A request is `{"do": VERB, …}`; the answer `{"ok": true, …}` or `{"error": KIND, "message": LINE}`. After
`watch` the supervisor goes on sending what `snapshots` describes, a line whenever something changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from hitui.decoding import convert
from hitui.domain.jobs import (
    Ended,
    Ending,
    Job,
    JobRequest,
    JobState,
    Queued,
    Running,
    Shard,
    Starting,
    Stopping,
)
from hitui.domain.schedule import Schedule
from hitui.domain.tasks import ErrorClass
from hitui.domain.waits import WaitKind
from hitui.errors import HituiError, LaunchError, NoSuchName, SettingsError, SupervisorError, WorkspaceError

LONGEST_LINE = 64 << 20
"""Bytes. A request of three thousand ids is some 20 KB, a snapshot of a thousand jobs under 1 MB."""

STATES: dict[str, type[JobState]] = {
    "queued": Queued,
    "starting": Starting,
    "running": Running,
    "stopping": Stopping,
    "ended": Ended,
}
STATE_NAMES = {kind: name for name, kind in STATES.items()}
_ERRORS: dict[str, type[HituiError]] = {
    error.__name__: error
    for error in (LaunchError, NoSuchName, SettingsError, SupervisorError, WorkspaceError)
}


def encode(value: Mapping[str, object]) -> bytes:
    """Raises LaunchError for a name of a file that is no text: neither JSON nor the store can carry it."""
    try:
        return msgspec.json.encode(value) + b"\n"
    except UnicodeEncodeError as error:
        start = max(error.object.rfind("/", 0, error.start), error.object.rfind("\n", 0, error.start)) + 1
        raise LaunchError(
            f"{error.object[start : error.end + 20]}: the name is no UTF-8 text; rename the folder"
        ) from error


def encode_told(value: Mapping[str, object]) -> bytes:
    """As `encode`, for what a supervisor says: an id or the name of a result file may be no text, and nobody is to
    hear nothing because of it."""
    try:
        return msgspec.json.encode(value) + b"\n"
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value)).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Raises ValueError for what is no JSON object."""
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = decode_odd(line)
    except RecursionError as error:
        raise ValueError(str(error)) from error
    if not isinstance(value, dict):
        raise ValueError("a JSON object is expected")
    return value


def decode_odd(line: bytes) -> Any:
    """A line that `encode_told` had to escape: only Python's module knows halves of surrogate pairs. Raises ValueError."""
    try:
        return json.loads(line)
    except RecursionError as error:
        raise ValueError(str(error)) from error


def request_to_wire(request: JobRequest) -> dict[str, object]:
    """A request as JSON holds it; what is None is left out."""
    value: dict[str, object] = {"config": request.config, "executor": request.executor}
    if request.ids is not None:
        value["ids"] = list(request.ids)
    if request.error_class is not None:
        value["error_class"] = request.error_class.value
    if request.gpus is not None:
        value["gpus"] = list(request.gpus)
    if request.also:
        value["also"] = list(map(request_to_wire, request.also))
    if request.gpu_count is not None:
        value["gpu_count"] = request.gpu_count
    if request.shards is not None:
        value["shards"] = request.shards
    if request.shard is not None:
        value["shard"] = msgspec.structs.asdict(request.shard)
    if request.force:
        value["force"] = True
    return value


def request_from_wire(value: Mapping[str, object]) -> JobRequest:
    """The reverse. Raises ValueError for what is no request."""
    config, executor = value.get("config"), value.get("executor", "local")
    ids, gpus = value.get("ids"), value.get("gpus")
    if not isinstance(config, str) or not isinstance(executor, str):
        raise ValueError("a request needs a config")
    if not isinstance(ids, (list, type(None))) or not isinstance(gpus, (list, type(None))):
        raise ValueError("ids and gpus are lists")
    if ids is not None and not {type(task) for task in ids} <= {int, str}:
        raise ValueError("an id is a whole number or a text")
    error_class, also = value.get("error_class"), value.get("also", [])
    if not isinstance(also, list):
        raise ValueError("also is a list")
    shard = value.get("shard")
    return JobRequest(
        config=config,
        ids=None if ids is None else tuple(ids),
        error_class=None if error_class is None else ErrorClass(error_class),
        gpus=None if gpus is None else tuple(map(str, gpus)),
        executor=executor,
        also=tuple(map(request_from_wire, also)),
        gpu_count=_number(value, "gpu_count"),
        shards=_number(value, "shards"),
        shard=None if shard is None else _shard_from_wire(shard),
        force=value.get("force") is True,
    )


def _number(value: Mapping[str, object], key: str) -> int | None:
    number = value.get(key)
    if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 1):
        raise ValueError(f"{key} is a number from 1 on")
    return number


def _shard_from_wire(value: object) -> Shard:
    if not isinstance(value, dict) or not isinstance(value.get("ids"), list):
        raise ValueError("a shard has a split, a number, a count and ids")
    # Ids may be whole numbers of more than 64 bit, which a typed decoder refuses.
    return Shard(int(value["split"]), int(value["number"]), int(value["count"]), tuple(value["ids"]))


def job_to_wire(job: Job) -> dict[str, object]:
    return {
        "id": job.id,
        "request": request_to_wire(job.request),
        "created_at": job.created_at,
        "state": STATE_NAMES[type(job.state)],
        "detail": msgspec.structs.asdict(job.state),
        "log": job.log,
        "events": job.events,
        "task_count": job.task_count,
        "schedule": schedule_to_wire(job.schedule),
        "place": job.place,
        "attempt": job.attempt,
        "replaces": job.replaces,
        "successor": job.successor,
    }


def job_from_wire(value: Mapping[str, Any]) -> Job:
    detail = dict(value["detail"])
    if "gpus" in detail:
        detail["gpus"] = tuple(detail["gpus"])
    if "ending" in detail:
        detail["ending"] = Ending(detail["ending"])
    if "kind" in detail:
        detail["kind"] = WaitKind(detail["kind"])
    kind = STATES[value["state"]]
    # Of a supervisor that is newer than this only what is known here is taken.
    known = {name: detail[name] for name in kind.__struct_fields__ if name in detail}
    return Job(
        id=value["id"],
        request=request_from_wire(value["request"]),
        created_at=value["created_at"],
        state=kind(**known),
        log=value["log"],
        events=value["events"],
        task_count=value["task_count"],
        # A supervisor that was started before an upgrade goes on saying what it knew then.
        schedule=schedule_from_wire(value.get("schedule", {})),
        place=value.get("place", 0.0),
        attempt=value.get("attempt", 1),
        replaces=value.get("replaces"),
        successor=value.get("successor"),
    )


def schedule_to_wire(schedule: Schedule) -> object:
    return msgspec.to_builtins(schedule)


def schedule_from_wire(value: object) -> Schedule:
    """Raises ValueError for what is no schedule."""
    return convert(value, Schedule)


def error_to_wire(error: HituiError) -> dict[str, object]:
    kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _ERRORS]
    return {"error": kinds[0] if kinds else "SupervisorError", "message": str(error)}


def raise_error(answer: Mapping[str, Any]) -> None:
    """Raises what the supervisor refused with; nothing for an answer that is no refusal."""
    if "error" in answer:
        raise _ERRORS.get(answer["error"], SupervisorError)(answer["message"])
