"""A supervisor lives for days, and hitui may be upgraded meanwhile: what is said where it and who asks it are of two
versions, and what is not done then."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hitui.adapters.own_code import code_at_first, code_now
from hitui.domain.jobs import JobRequest, one_line
from hitui.domain.schedule import Schedule
from hitui.errors import SupervisorError

_REQUEST_KEYS = frozenset(JobRequest.__struct_fields__)
_KEYS = frozenset(
    (
        "do",
        "requests",
        "environment",
        "schedule",
        "jobs",
        "group",
        "limit",
        "priority",
        "before",
        "reason",
        "force",
    )
)
_INSTEAD = "end it with `hitui supervisor stop` (its jobs go on) and ask again"


def other_code(pid: int, code: str) -> str | None:
    """One line with what to do, where a supervisor is of other code than this process, as after an upgrade; None: it is
    of the same."""
    own = code_at_first()
    if not own or code == own:
        return None
    if code and code == code_now():
        return f"the supervisor, pid {pid}, is of a newer hitui, which lies here by now; start this one again"
    return (
        f"the supervisor, pid {pid}, is of another version of hitui than this; end it with"
        " `hitui supervisor stop`, its jobs go on, and `hitui supervisor start` starts one of this"
    )


@contextlib.contextmanager
def as_spoken_here() -> Iterator[None]:
    """Raises SupervisorError where what the supervisor says cannot be understood, as a state that is new."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise SupervisorError(
            f"the supervisor speaks as another version of hitui does ({one_line(str(error))});"
            " end it with `hitui supervisor stop`, its jobs go on"
        ) from error


def of_another_version(what: str) -> SupervisorError:
    """A supervisor is asked for `what`, of which only another version knows."""
    return SupervisorError(
        f"the supervisor, which is of another version of hitui, does not know {what!r}; {_INSTEAD}"
    )


def check_known(message: Mapping[str, Any]) -> None:
    """Raises SupervisorError for a wish that names what is not known here: done without that, it is another wish."""
    requests = message.get("requests") or []
    parts = [part for request in requests for part in (request, *(request.get("also") or []))]
    said = [(message, _KEYS), (message.get("schedule") or {}, frozenset(Schedule.__struct_fields__))]
    for value, known in (*said, *((part, _REQUEST_KEYS) for part in parts)):
        for key in value:
            if key not in known and value[key]:
                raise of_another_version(key)


def passed_over(asked: Mapping[str, Any], taken: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a supervisor of another version, which looks at nothing that it does not know, left out of the jobs that it
    made of a wish: keys of the requests and of the schedule."""
    found: list[str] = []
    for job, request in zip(taken, asked["requests"], strict=False):
        found += request.keys() - job["request"].keys() - {"gpu_count"}
        found += asked["schedule"].keys() - job.get("schedule", {}).keys()
    return sorted(set(found))
