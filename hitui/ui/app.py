"""The app: holds the newest snapshots, hands wishes down to the services, words what comes back.

Services call back from threads of their own; each value becomes a message here and then a reactive that
screens watch. Wishes go to the services in thread workers; the screen changes only when the event returns.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, ClassVar, Literal

from textual.app import App
from textual.binding import Binding, BindingType
from textual.reactive import var
from textual.theme import Theme
from textual.worker import Worker, WorkerState

from hitui.domain.gpus import GpuSnapshot
from hitui.domain.growth import Growth, grown
from hitui.domain.jobs import Job, JobsSnapshot, Queued
from hitui.errors import HituiError
from hitui.loading import import_all
from hitui.ui import messages
from hitui.ui.endings import Endings
from hitui.ui.harmless import Harmless
from hitui.ui.history import Utilisations
from hitui.ui.job_words import job_name, jobs_name
from hitui.ui.plain import WithoutColour, wants_no_colour
from hitui.ui.screens.main import MainScreen
from hitui.ui.theme import THEMES

if TYPE_CHECKING:
    from textual.driver import Driver

    from hitui.domain.placement import GpuRules
    from hitui.domain.progress import JobProgress
    from hitui.ui.job_index import JobIndex
    from hitui.ui.launching import Launching
    from hitui.ui.queue_wishes import QueueWishes
    from hitui.ui.services import Services, Workspace


ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
"""What would end the process where it stands, and leave the terminal without echo."""
LEAVE_SECONDS = 5.0
"""After a signal the process ends within so long, even where the terminal no longer takes what is written."""
ERROR_SECONDS = 10.0
"""How long a line that tells of an error stays."""
TERMINAL_SECONDS = 5.0
"""How often the terminal is looked at."""


class Dashboard(App[int]):
    """The dashboard of one workspace."""

    TITLE = "hitui"
    CSS_PATH: ClassVar[list[str | PurePath]] = ["styles/app.tcss", "styles/dialogs.tcss"]
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "quit", "quit", show=False, system=True, id="app.interrupt"),
        Binding("ctrl+q", "quit", "quit", show=False, system=True, id="app.quit"),
        Binding("ctrl+z", "suspend_process", "suspend", show=False, system=True, id="app.suspend"),
    ]

    gpu_snapshot: var[GpuSnapshot | None] = var(None)
    workspace_snapshot: var[Workspace | None] = var(None)
    jobs_snapshot: var[JobsSnapshot] = var(JobsSnapshot())
    progress: var[Mapping[int, JobProgress]] = var(dict)

    def __init__(
        self, services: Services, *, colours: bool = True, driver_class: type[Driver] | None = None
    ) -> None:
        self._ours = {theme.name: theme for theme in THEMES.values()}
        super().__init__(driver_class=driver_class)
        self.services = services
        self.utilisations = Utilisations()
        self.growth: Mapping[str, Growth] = {}
        """How the results of each config grew while the screen was open."""
        self._services_started = threading.Event()
        self._heard_of_jobs = False
        self._endings = Endings(self, ERROR_SECONDS)
        self._jobs: JobIndex | None = None
        self._wishes: QueueWishes | None = None
        self._launching: Launching | None = None
        for theme in THEMES.values():
            self.register_theme(theme)
        theme = THEMES.get(os.environ.get("HITUI_THEME", ""), THEMES["dark"])
        # Without its watcher, which would have the style sheet parsed a second time.
        self.set_reactive(App.theme, theme.name)
        self.stylesheet.set_variables(self.get_css_variables())
        self.set_class(theme.dark, "-dark-mode")
        self.set_class(not theme.dark, "-light-mode")
        self._filters.append(Harmless())
        if not colours:
            # Textual turns colours into greys; the wish is for none at all.
            self.no_color = True
            self._filters.append(WithoutColour())

    @property
    def gpu_memory_needed(self) -> int:
        """Free bytes that a job asks for where nothing else is said."""
        return self.services.settings.gpus.min_free_bytes

    @property
    def gpu_rules(self) -> GpuRules:
        from hitui.domain.placement import GpuRules

        gpus = self.services.settings.gpus
        return GpuRules(frozenset(gpus.exclude), gpus.max_utilization, gpus.hold_seconds)

    @property
    def jobs(self) -> JobIndex:
        """The jobs of the newest snapshot."""
        from hitui.ui.job_index import JobIndex

        if self._jobs is None or self._jobs.snapshot is not self.jobs_snapshot:
            self._jobs = JobIndex(self.jobs_snapshot)
        return self._jobs

    def wait_for_services(self) -> None:
        """In a thread: until they are started."""
        self._services_started.wait()

    @property
    def launching(self) -> Launching:
        """Made when it is asked for: what nobody wishes takes no time of the start."""
        from hitui.ui.launching import Launching

        if self._launching is None:
            self._launching = Launching(self)
        return self._launching

    @property
    def wishes(self) -> QueueWishes:
        """What is wished for the queue."""
        from hitui.ui.queue_wishes import QueueWishes

        if self._wishes is None:
            self._wishes = QueueWishes(self)
        return self._wishes

    def get_theme(self, theme_name: str) -> Theme | None:
        """A theme by its name; Textual asks several times for each line that it paints."""
        known = self._ours.get(theme_name)
        return known if known is not None else super().get_theme(theme_name)

    def action_command_palette(self) -> None:
        from hitui.ui.palette import Palette

        if not isinstance(self.screen, Palette):
            self.push_screen(Palette())

    def get_default_screen(self) -> MainScreen:
        return MainScreen()

    def on_mount(self) -> None:
        # What the services import would hold up the first paint.
        self.call_after_refresh(self._start_services)
        self.app_resume_signal.subscribe(self, self._paint_all)

    def _paint_all(self, _: App[int]) -> None:
        """After a suspension the terminal shows nothing of what was painted before."""
        for screen in self.screen_stack:
            for widget in (screen, *screen.query("*")):
                widget.refresh()

    def _start_services(self) -> None:
        self.run_worker(self._start_each, thread=True, group="services", exit_on_error=False)

    def _start_each(self) -> None:
        services = self.services
        services.workspace.start(lambda value: self._post(messages.WorkspaceChanged(value)))
        services.gpus.start(lambda value: self._post(messages.GpusChanged(value)))
        services.progress.start(lambda value: self._post(messages.ProgressChanged(value)))
        services.jobs.start(lambda value: self._post(messages.JobsChanged(value)))
        self._services_started.set()
        import_all(imported_later())

    def _post(self, message: messages.Snapshot) -> None:
        self.post_message(message)

    def on_gpus_changed(self, message: messages.GpusChanged) -> None:
        self.utilisations.observe(message.gpus)
        held = {uuid for job in self.jobs.started for uuid in job.gpus}
        self.gpu_snapshot = message.gpus.without_own_locks(self.jobs_snapshot.supervisor_pid, held)

    def on_workspace_changed(self, message: messages.WorkspaceChanged) -> None:
        settings = message.workspace.settings
        if settings is not None and settings != self.services.settings:
            self.services.use(settings)
            self.tell("hitui.toml has changed: what it says now counts")
            # What is excluded, and what a job asks for, show there.
            self.mutate_reactive(Dashboard.gpu_snapshot)
        self.growth = grown(self.growth, message.workspace.configs)
        self.workspace_snapshot = message.workspace

    def on_jobs_changed(self, message: messages.JobsChanged) -> None:
        if self._heard_of_jobs:
            self._endings.tell(self.jobs_snapshot, message.jobs)
        self._heard_of_jobs = True
        if message.jobs.notice and message.jobs.notice != self.jobs_snapshot.notice:
            self.tell(message.jobs.notice, "warning", ERROR_SECONDS)
        self.services.progress.follow(message.jobs)
        self.jobs_snapshot = message.jobs
        if self._wishes is not None:
            self._wishes.go_on()

    def on_progress_changed(self, message: messages.ProgressChanged) -> None:
        self.progress = message.progress

    def tell(self, line: str, severity: str = "information", seconds: float = 5.0) -> None:
        """A line that goes away by itself. Text comes from files and drivers: never read as markup."""
        self.notify(
            line,
            severity="error"
            if severity == "error"
            else "warning"
            if severity == "warning"
            else "information",
            markup=False,
            timeout=ERROR_SECONDS if severity == "error" else seconds,
        )

    def on_launch_wanted(self, message: messages.LaunchWanted) -> None:
        self.launching.want(message)

    def on_plan_ready(self, message: messages.PlanReady) -> None:
        self.launching.show(message)

    def on_place_chosen(self, message: messages.PlaceChosen) -> None:
        self.launching.plan_anew(message.dialog)

    def on_jobs_submitted(self, message: messages.JobsSubmitted) -> None:
        self.launching.submitted(message)

    def on_stop_wanted(self, message: messages.StopWanted) -> None:
        jobs = message.jobs
        it = "it" if len(jobs) == 1 else "them"
        queued = all(isinstance(job.state, Queued) for job in jobs)
        what = f"takes {it} from the queue" if queued else "what was answered is kept"
        self._ask_first(f"Stop {jobs_name(jobs)}?", what, f"stop {it}", lambda: self._stop(jobs))

    def _stop(self, jobs: Sequence[Job]) -> None:
        numbers = [job.id for job in jobs]
        self.work(lambda: self.post_message(messages.StopAsked(self.services.jobs.stop(numbers))))

    def on_stop_asked(self, message: messages.StopAsked) -> None:
        self.tell(f"asked {jobs_name(message.jobs, short=True)} to stop")

    def on_pause_wanted(self, message: messages.PauseWanted) -> None:
        from hitui.ui.queue_wishes import Wish

        jobs = message.jobs

        def wish(verb: Literal["pause", "resume"]) -> None:
            for job in jobs:
                self.wishes.add(Wish(verb, job.id))

        if all(isinstance(job.state, Queued) for job in jobs):
            wish("resume" if all(job.schedule.held for job in jobs) else "pause")
            return
        it, stops, waits = ("it", "it stops", "waits") if len(jobs) == 1 else ("them", "they stop", "wait")
        self._ask_first(
            f"Pause {jobs_name(jobs)}?",
            f"{stops} and {waits} until someone resumes {it}; what was answered is kept",
            f"pause {it}",
            lambda: wish("pause"),
        )

    def on_retry_wanted(self, message: messages.RetryWanted) -> None:
        from hitui.ui.queue_wishes import Wish
        from hitui.ui.screens.question import MIXING, Question

        job = message.job
        if isinstance(job.state, Queued):
            self.wishes.add(Wish("resume", job.id))
            return
        question = Question(
            f"Try {job_name(job)} again?",
            "what is pending then is queued as a new job",
            "queue it",
            mixing=MIXING if job.refused_to_mix else "",
        )

        def decided(yes: bool | None) -> None:
            if yes:
                self.wishes.add(Wish("retry", job.id, force=question.mixes))

        self.push_screen(question, decided)

    def on_queue_wanted(self, message: messages.QueueWanted) -> None:
        self.wishes.add(message.wish)

    def on_queue_answered(self, message: messages.QueueAnswered) -> None:
        self.wishes.answered(message)

    def _ask_first(self, question: str, consequence: str, verb: str, do: Callable[[], object]) -> None:
        from hitui.ui.screens.question import Question

        def decided(yes: bool | None) -> None:
            if yes:
                do()

        self.push_screen(Question(question, consequence, verb), decided)

    def work(self, work: Callable[[], object]) -> None:
        """Something that may wait for the supervisor; its errors end up in `on_worker_state_changed`."""
        self.run_worker(work, thread=True, group="requests", exit_on_error=False)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """No failed worker is fatal: it says what failed, and the rest goes on."""
        if event.state is WorkerState.ERROR:
            error = event.worker.error
            known = isinstance(error, HituiError | OSError)
            self.tell(str(error) if known else f"{type(error).__name__}: {error}", "error")

    def close_services(self) -> None:
        """Ends what was started; safe when nothing was."""
        if self._services_started.is_set():
            for service in (
                self.services.progress,
                self.services.jobs,
                self.services.gpus,
                self.services.workspace,
            ):
                service.close()


def imported_later() -> Iterator[str]:
    """What the screen imports when it is first wanted, so that the start need not wait for it."""
    import pkgutil

    from hitui import ui
    from hitui.adapters.checkpoints import KINDS

    yield from (module.name for module in pkgutil.walk_packages(ui.__path__, f"{ui.__name__}."))
    yield from KINDS.values()
    yield from ("hitui.services.history", "hitui.services.logs", "hitui.services.results")
    yield from ("hitui.supervisor.history_tables", "hitui.supervisor.store", "hitui.supervisor.trouble")


def run_dashboard(services: Services) -> int:
    """Runs the app until it is left; returns the exit status. A signal leaves the terminal as it was."""
    for exported in ("COLUMNS", "LINES"):
        # A shell that exported them once would hold the screen at that size for ever.
        os.environ.pop(exported, None)
    colours = not wants_no_colour()
    mouse = os.environ.get("TERM") != "dumb"
    if not mouse:
        # Rich takes a dumb terminal for 80 by 25 whatever its size; what it lacks is left out already.
        os.environ["TERM"] = "vt100"
    driver: type[Driver] | None = None
    if "TEXTUAL_DRIVER" not in os.environ:
        from hitui.ui.driver import TerminalDriver

        driver = TerminalDriver
    app = Dashboard(services, colours=colours, driver_class=driver)
    asyncio.run(_run(app, mouse))
    app.close_services()
    return app.return_value if app.return_value is not None else app.return_code or 0


async def _run(app: Dashboard, mouse: bool) -> None:
    loop = asyncio.get_running_loop()

    def leave(number: int) -> None:
        # A second one ends it at once, whatever it is busy with.
        loop.remove_signal_handler(number)
        app.exit(128 + number)
        deadline = threading.Timer(LEAVE_SECONDS, os._exit, (128 + number,))
        deadline.daemon = True
        deadline.start()

    for number in ENDING_SIGNALS:
        loop.add_signal_handler(number, leave, number)
    watch = loop.create_task(_leave_with_the_terminal(leave))
    try:
        await app.run_async(mouse=mouse)
    finally:
        watch.cancel()


async def _leave_with_the_terminal(leave: Callable[[int], None]) -> None:
    """Leaves when the terminal is gone and no SIGHUP said so (`nohup`): reading keys would spin."""
    stdin = sys.__stdin__
    was_terminal = stdin is not None and stdin.isatty()
    while was_terminal and stdin is not None:
        await asyncio.sleep(TERMINAL_SECONDS)
        if not stdin.isatty():
            leave(signal.SIGHUP)
            return
