"""Every message that reaches the app from below or goes up between its parts.

Snapshots coalesce: a newer one takes the place of one that still waits in the queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hitui.domain.gpus import GpuSnapshot
    from hitui.domain.jobs import Job, JobRequest, JobsSnapshot
    from hitui.domain.launches import LaunchPlan
    from hitui.domain.progress import JobProgress
    from hitui.domain.records import JobRecord
    from hitui.domain.tasks import Task
    from hitui.services.logs import LogWindow
    from hitui.services.results import Result
    from hitui.services.scores import Scores
    from hitui.ui.queue_wishes import Wish
    from hitui.ui.screens.launch_dialog import LaunchDialog
    from hitui.ui.services import Workspace


class Snapshot(Message):
    """A whole value; the newest is the only one that counts."""

    def can_replace(self, message: Message) -> bool:
        return type(message) is type(self)


class GpusChanged(Snapshot):
    def __init__(self, gpus: GpuSnapshot) -> None:
        super().__init__()
        self.gpus = gpus


class WorkspaceChanged(Snapshot):
    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace


class JobsChanged(Snapshot):
    def __init__(self, jobs: JobsSnapshot) -> None:
        super().__init__()
        self.jobs = jobs


class ProgressChanged(Snapshot):
    def __init__(self, progress: Mapping[int, JobProgress]) -> None:
        super().__init__()
        self.progress = progress


class LogChanged(Snapshot):
    """What a log view shows now."""

    def __init__(self, window: LogWindow) -> None:
        super().__init__()
        self.window = window


class PlanReady(Message):
    """What the requests would do, to be shown before anything starts."""

    def __init__(self, wanted: LaunchWanted, plan: LaunchPlan, dialog: LaunchDialog | None = None) -> None:
        """`dialog`: where it is shown already, and other GPUs were chosen; None: it is not."""
        super().__init__()
        self.wanted = wanted
        self.plan = plan
        self.dialog = dialog


class PlaceChosen(Message):
    """Other GPUs were chosen in the dialog before the start: what would run there is to be worked out anew."""

    def __init__(self, dialog: LaunchDialog) -> None:
        super().__init__()
        self.dialog = dialog


class JobsSubmitted(Message):
    def __init__(self, jobs: Sequence[Job], refusals: Sequence[str]) -> None:
        super().__init__()
        self.jobs = tuple(jobs)
        self.refusals = tuple(refusals)


class StopAsked(Message):
    def __init__(self, jobs: Sequence[Job]) -> None:
        super().__init__()
        self.jobs = tuple(jobs)


class ResultsRead(Message):
    """All results of one config by their ids as text, for the screen that shows them one by one."""

    def __init__(self, results: Mapping[str, Result], problem: str, seconds: float) -> None:
        """`problem`: why they cannot be read, in one line. `seconds`: how long reading took."""
        super().__init__()
        self.results = results
        self.problem = problem
        self.seconds = seconds


class TasksRead(Message):
    """The tasks of one config, for its own screen."""

    def __init__(self, config: str, tasks: tuple[Task, ...], problem: str = "") -> None:
        """`problem`: why they cannot be read, in one line."""
        super().__init__()
        self.config = config
        self.tasks = tasks
        self.problem = problem


class ScoresRead(Message):
    """The scores of a config, for its own screen; None where it was never scored."""

    def __init__(self, scores: Scores | None) -> None:
        super().__init__()
        self.scores = scores


class RecordsRead(Message):
    """What came of these jobs, as far as it is on record."""

    def __init__(self, asked: Sequence[int], records: Mapping[int, JobRecord]) -> None:
        super().__init__()
        self.asked = asked
        self.records = records


class LogFound(Message):
    """The newest log of a config that no job of ours has run, or None."""

    def __init__(self, config: str, path: str | None) -> None:
        super().__init__()
        self.config = config
        self.path = path


class LaunchWanted(Message):
    """Someone wants these requests shown as a plan."""

    def __init__(self, title: str, requests: Sequence[JobRequest]) -> None:
        super().__init__()
        self.title = title
        self.requests = tuple(requests)


class StopWanted(Message):
    """Someone wants a job stopped, or all shards of a config."""

    def __init__(self, jobs: tuple[Job, ...]) -> None:
        super().__init__()
        self.jobs = jobs


class PauseWanted(Message):
    """Someone wants a job, or all shards of a config, paused, or to go on."""

    def __init__(self, jobs: tuple[Job, ...]) -> None:
        super().__init__()
        self.jobs = jobs


class RetryWanted(Message):
    """Someone wants this job tried again: one that ended, or waits for its time."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job


class QueueWanted(Message):
    """Someone wants the queue changed."""

    def __init__(self, wish: Wish) -> None:
        super().__init__()
        self.wish = wish


class QueueAnswered(Message):
    """The supervisor did what was wished, or said why not."""

    def __init__(self, verb: str, jobs: Sequence[Job], problem: str = "") -> None:
        """`jobs`: as they stand now; `problem`: one line."""
        super().__init__()
        self.verb = verb
        self.jobs = tuple(jobs)
        self.problem = problem
