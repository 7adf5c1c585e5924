"""Is a config whole: the ids of the question list, no errors, nothing missing, nothing twice."""

from __future__ import annotations

import msgspec

from hitui.adapters.checkpoints.reading import Reading, listed
from hitui.domain.configs import ConfigState
from hitui.domain.tasks import TaskId, TaskStatus


class Verdict(msgspec.Struct, frozen=True):
    """What was found of one config."""

    state: ConfigState
    defects: tuple[str, ...]
    """One line each; empty: it is whole."""
    blocked: tuple[TaskId, ...] = ()
    """What no rerun can answer as long as input files are absent. That is said, and no defect."""

    @property
    def whole(self) -> bool:
        return not self.defects


def verify(reading: Reading) -> Verdict:
    state = reading.state
    defects = list(state.problems)
    by_status: dict[TaskStatus, list[TaskId]] = {status: [] for status in TaskStatus}
    for task in reading.tasks:
        by_status[task.status].append(task.id)
    if state.total is None and not state.hides_answers:
        defects.append("there is no question list (or total) to compare with: name it in hitui.toml")
    if state.updated is None and state.total:
        defects.append("there are no results yet")
    for status, word in ((TaskStatus.ERROR, "failed"), (TaskStatus.MISSING, "without a result")):
        if by_status[status]:
            defects.append(f"{len(by_status[status])} {word}: {listed(by_status[status])}")
    if state.unit != "tasks" and state.missing:
        defects.append(f"{state.missing} of {state.total} {state.units(state.total or 0)} missing")
    if reading.unknown:
        defects.append(f"{len(reading.unknown)} not in the question list: {listed(reading.unknown)}")
    for file, ids in reading.repeated.items():
        defects.append(f"{len(ids)} more than once in {file}: {listed(ids)}")
    return Verdict(state, tuple(defects), tuple(by_status[TaskStatus.BLOCKED]))
