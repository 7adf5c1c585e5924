"""From the wish to start something to its jobs: what it would do is worked out, shown, and done when that is wanted.

Working it out may take a moment, and whoever wished it goes on meanwhile. Only the last wish is shown, and only where it was
made: a dialog that came over another screen, or over another dialog, would take a key that was meant for that one.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hitui.domain.gpus import GpuSnapshot
from hitui.ui.job_words import job_name, pause_of_new_jobs
from hitui.ui.messages import JobsSubmitted, LaunchWanted, PlanReady

if TYPE_CHECKING:
    from textual.screen import Screen

    from hitui.domain.jobs import JobRequest
    from hitui.domain.launches import LaunchPlan
    from hitui.ui.app import Dashboard
    from hitui.ui.launch_choice import LaunchChoice
    from hitui.ui.screens.launch_dialog import LaunchDialog
    from hitui.ui.services import Workspace


class Launching:
    """Of one app."""

    def __init__(self, app: Dashboard) -> None:
        self._app = app
        self._last: LaunchWanted | None = None
        """What is being worked out."""
        self._wished_on: Screen[object] | None = None

    def want(self, wanted: LaunchWanted) -> None:
        workspace = self._app.workspace_snapshot
        if workspace is None:
            self._app.tell("the configs are not read yet; try again in a moment", "warning")
            return
        self._last, self._wished_on = wanted, self._app.screen
        self._work_out(wanted, workspace)

    def plan_anew(self, dialog: LaunchDialog) -> None:
        """Works out what was wished last on the GPUs that are chosen now."""
        workspace, wanted = self._app.workspace_snapshot, self._last
        if wanted is not None and workspace is not None:
            self._work_out(wanted, workspace, dialog)

    def _work_out(
        self, wanted: LaunchWanted, workspace: Workspace, dialog: LaunchDialog | None = None
    ) -> None:
        unread = GpuSnapshot(time.time(), "nvml", error="the driver was not read yet")
        gpus = self._app.gpu_snapshot or unread
        requests = wanted.requests if dialog is None else _on(dialog.choice, wanted.requests)

        def work() -> None:
            self._app.wait_for_services()
            plan = self._app.services.jobs.plan(requests, workspace, gpus)
            self._app.post_message(PlanReady(wanted, plan, dialog))

        self._app.work(work)

    def show(self, ready: PlanReady) -> None:
        from hitui.ui.screens.launch_dialog import LaunchDialog

        if ready.wanted is not self._last:
            return
        if ready.dialog is not None:
            # An older one may come later.
            chosen = _on(ready.dialog.choice, ready.wanted.requests)
            if ready.dialog.is_current and [launch.request for launch in ready.plan.launches] == chosen:
                ready.dialog.show_plan(ready.plan)
            return
        if self._app.screen is not self._wished_on:
            self._app.tell(
                f"{ready.wanted.title}: not asked, since you went on; press the key again", "warning"
            )
            return
        refused = {
            launch.request.config
            for launch in ready.plan.startable
            if (known := self._app.jobs.of_config(launch.request.config)) is not None
            and known.job.refused_to_mix
        }
        pause = pause_of_new_jobs(self._app.jobs_snapshot.queue)
        snapshot = self._app.gpu_snapshot
        labels = set(snapshot.labels.values()) if snapshot is not None else set()
        dialog = LaunchDialog(ready.wanted.title, ready.plan, pause, gpus=labels, may_mix=bool(refused))

        def decided(start: bool | None) -> None:
            if start:
                self._submit(dialog.plan, dialog.choice, refused)

        self._app.push_screen(dialog, decided)

    def _submit(self, plan: LaunchPlan, choice: LaunchChoice, refused: Collection[str]) -> None:
        """`refused`: the configs that may be mixed where that is chosen."""
        # Who presses Enter behind a digit means the GPU, whether the plan has come by then or not.
        asked = _on(choice, [launch.request for launch in plan.startable])
        mixed = refused if choice.mixes else ()
        requests = tuple(replace(request, force=request.config in mixed) for request in asked)
        jobs = self._app.services.jobs
        self._app.work(
            lambda: self._app.post_message(JobsSubmitted(*jobs.submit_each(requests, choice.schedule)))
        )

    def submitted(self, message: JobsSubmitted) -> None:
        for refusal in message.refusals:
            self._app.tell(refusal, "error")
        if message.jobs:
            self._app.tell("queued " + ", ".join(job_name(job, short=True) for job in message.jobs))


def _on(choice: LaunchChoice, requests: Sequence[JobRequest]) -> list[JobRequest]:
    return [replace(request, gpus=choice.gpus or None) for request in requests]
