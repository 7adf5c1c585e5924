"""From a request to the exact command: which config, which tasks, which program with which arguments.

Settings and catalogue are read anew when `hitui.toml` changed, so that an edit needs no restart. No command
is ever a shell string: arguments are a list, and placeholders are replaced within one element each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from hitui.adapters.checkpoints.catalogue import Catalogue, Reading
from hitui.adapters.checkpoints.reading import signature_of
from hitui.adapters.executors import open_executor
from hitui.adapters.processes import JOB_VARIABLE
from hitui.domain.jobs import Job, JobRequest
from hitui.domain.placement import GpuRules, Need
from hitui.domain.recovery import exhausted_on, gpus_for
from hitui.domain.shards import Rival, shard_folder, worth_splitting
from hitui.domain.succession import RetryRules
from hitui.domain.tasks import TaskId, select_pending
from hitui.domain.watching import WatchRules
from hitui.errors import HituiError, LaunchError, NoSuchName, SettingsError
from hitui.paths import SETTINGS_NAME, is_absent, kept_readings_home
from hitui.settings import Settings, load_settings
from hitui.supervisor.arguments import (
    Command,
    elsewhere,
    filled,
    insists,
    ladder_options,
    located,
    model_of,
    own_runner,
    text_or_none,
)
from hitui.supervisor.joining import UNKNOWN_SECONDS, Joined, Part, join
from hitui.supervisor.needs import gpu_rules, need_of, recovery_gpus
from hitui.supervisor.request_checks import (
    NoRunner,
    NotNow,
    check_force,
    check_inputs,
    check_listed,
    check_readable,
    check_runner,
    known_ids,
    runner_of,
)
from hitui.supervisor.rules import retry_rules, watch_rules
from hitui.supervisor.sharding import (
    Waiting,
    check_shards,
    check_told,
    most_shards,
    rival_of,
    shard_requests,
)


class Launches:
    """Turns requests into commands, in one workspace. Its methods may be called from any thread."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._stamp: object = None
        self._settings: Settings | None = None
        self._catalogue: tuple[Settings, Catalogue] | None = None
        self._needs: tuple[Settings | None, dict[str, Need]] = (None, {})

    def settings(self) -> Settings:
        """The settings as `hitui.toml` stands now. Raises SettingsError, also where it was there once and is gone."""
        # Of the folder itself: one above is of another workspace, even while this one's is away.
        file = self.root.resolve() / SETTINGS_NAME
        stamp = signature_of(file)
        known = self._settings
        if known is None or stamp != self._stamp:
            # One that cannot be looked at is there: what is wrong with it is said where it is read.
            there = stamp is not None or not is_absent(file)
            if not there and known is not None and known.file is not None:
                raise SettingsError(_gone(self.root))
            known = load_settings(self.root, file if there else None)
            self._settings, self._stamp = known, stamp
        return known

    def catalogue(self) -> Catalogue:
        """The configs by the settings as they stand now. Raises SettingsError."""
        settings = self.settings()
        known = self._catalogue
        if known is None or known[0] is not settings:
            known = (settings, Catalogue(settings, kept_readings_home()))
            known[1].refresh()
            self._catalogue = known
        return known[1]

    def rules(self) -> GpuRules:
        return gpu_rules(self.settings())

    def retry_rules(self, configs: Collection[str]) -> RetryRules:
        """What is said of a job of these configs that crashes; as it was said last while `hitui.toml` cannot be read."""
        return retry_rules(self.last_settings(), configs)

    def watch_rules(self, configs: Collection[str]) -> WatchRules:
        """What is said of a job of these configs that runs; as it was said last while `hitui.toml` cannot be read."""
        return watch_rules(self.last_settings(), configs)

    def last_settings(self) -> Settings:
        """The settings as they stand, or stood last while `hitui.toml` cannot be read."""
        with contextlib.suppress(SettingsError):
            return self.settings()
        return self._settings or Settings(self.root)

    def needs(self, jobs: Iterable[Job]) -> dict[str, Need | HituiError]:
        """What the jobs ask of the GPUs, by their configs; or why that cannot be told."""
        try:
            settings = self.settings()
        except SettingsError as error:
            return {job.request.config: error for job in jobs}
        if settings.file is None:
            # Without it nothing could have been queued: it is away since an earlier supervisor.
            return {job.request.config: SettingsError(_gone(self.root)) for job in jobs}
        if self._needs[0] is not settings:
            self._needs = (settings, {})
        known = self._needs[1]
        found: dict[str, Need | HituiError] = {}
        for job in jobs:
            name = job.request.config
            if name in found:
                continue
            if name not in known:
                try:
                    known[name] = need_of(settings, self.catalogue().find(name))
                except HituiError as error:
                    found[name] = error
                    continue
            found[name] = known[name]
        return found

    def need(self, request: JobRequest) -> Need:
        """What a job asks of the GPUs."""
        return need_of(self.settings(), self.catalogue().find(request.config), request)

    def resolve(self, request: JobRequest, environment: Mapping[str, str]) -> JobRequest:
        """The request with the config's full name and known ids. Raises HituiError where it cannot be run."""
        open_executor(request.executor)
        settings, catalogue = self.settings(), self.catalogue()
        try:
            config = catalogue.find(request.config)
        except NoSuchName:
            # It may have come since the last look.
            catalogue.refresh()
            config = catalogue.find(request.config)
        runner = runner_of(settings, config)
        reading = catalogue.read(config)
        check_readable(reading)
        check_listed(reading, runner, catalogue.questions_file)
        check_shards(settings, reading.state, request)
        resolved = replace(request, config=config.name, ids=known_ids(request, reading))
        resolved = replace(resolved, gpu_count=_gpu_count(settings, resolved, reading))
        # What is wrong with the command is said now and not after hours in the queue.
        self.check_command(resolved, environment)
        return resolved

    def check_command(self, request: JobRequest, environment: Mapping[str, str]) -> None:
        """Raises what `command` would at the start, as Away where something that the runner needs is not there."""
        self.command(request, (), Path(), (), environment)

    def check_while_it_waits(self, request: JobRequest, environment: Mapping[str, str]) -> None:
        """As `check_command`, but raises NotNow alone: whoever is at work on `hitui.toml` has time until the start."""
        try:
            self.check_command(request, environment)
        except NotNow:
            raise
        except LaunchError as error:
            raise NoRunner(str(error)) from error

    def check_forced(self, requests: Iterable[JobRequest]) -> None:
        """Raises HituiError where a request is to be tried again by force and nothing of it is refused without."""
        settings = self.settings()
        for part in (part for request in requests for part in request.parts):
            config = self.catalogue().find(part.config)
            check_force(replace(part, force=True), config, runner_of(settings, config))

    def parts(self, request: JobRequest) -> tuple[Part, ...]:
        """What is to be done now, for each config of the request.

        Raises UnreadableResults while what was answered cannot be told, and Away while nothing lists the tasks.
        """
        # Hours may lie between the request and its start: a shard, a rerun or an input file may have come.
        self.catalogue().refresh()
        return tuple(map(self._part, request.parts))

    def _part(self, request: JobRequest) -> Part:
        catalogue = self.catalogue()
        reading = catalogue.read(catalogue.find(request.config))
        check_readable(reading)
        if not reading.state.lists_tasks:
            runner = self.settings().runners.get(reading.state.config.runner or "")
            if runner is not None:
                check_listed(reading, runner, catalogue.questions_file)
            return Part(request, None, 0.0)
        pending = select_pending(reading.tasks, request.error_class)
        if request.ids is not None:
            asked = set(request.ids)
            pending = tuple(task for task in pending if task in asked)
        if request.shard is not None:
            own = set(request.shard.ids)
            pending = tuple(task for task in pending if task in own)
        return Part(request, pending, len(pending) * (reading.state.seconds_per_task or UNKNOWN_SECONDS))

    def loads(self, request: JobRequest) -> Hashable:
        """What its runner loads: equal for requests that one process can answer; None: it must run alone."""
        settings = self.settings()
        config = self.catalogue().find(request.config)
        runner = settings.runners.get(config.runner or "")
        alone = runner is None or runner.engine is None or settings.queue.join_seconds == 0
        return (
            None
            if alone
            else (
                config.runner,
                need_of(settings, config, request),
                ladder_options(settings, config),
                insists(request),
                request.force,
            )
        )

    def join(self, job: Job, parts: Sequence[Part], candidates: Sequence[Job], places: int) -> Joined:
        """The parts of a job that starts, with those of jobs behind it that can run in its process."""
        loads = self.loads(job.request)
        if loads is None:
            return Joined(tuple(parts))
        keyed = []
        for other in candidates:
            # What is wrong with another job is said when its own turn comes.
            with contextlib.suppress(HituiError):
                keyed.append((other, self.loads(other.request)))

        def read(request: JobRequest) -> tuple[Part, ...]:
            try:
                return tuple(map(self._part, request.parts))
            except HituiError:
                return ()

        return join(parts, keyed, loads, places, self.settings().queue.join_seconds, read)

    def shards(
        self, job: Job, part: Part, gpus: int, places: int, room: int | None, waiting: Iterable[Waiting]
    ) -> tuple[JobRequest, ...]:
        """What the job is split into, now that `places` of them could start on `gpus` GPUs each.

        `room` is how many its group has places for, None: any number; `waiting` are jobs behind it that could
        start there too. Fewer than two requests: it is not split.
        """
        settings, catalogue = self.settings(), self.catalogue()
        config, questions = catalogue.find(part.request.config), catalogue.questions
        most = most_shards(settings, config, job.request, part.seconds)
        if room is not None:
            # What has no place in its group would load the model once more when another shard has ended.
            most = min(most, room)
        if most < 2 or part.ids is None or questions is None:
            return ()
        rivals = [rival for other in waiting for rival in self._rival(other, gpus)]
        count = worth_splitting(most, places, part.seconds, rivals)
        if count == 1:
            return ()
        pending = [questions.by_id[task] for task in part.ids]
        limit = settings.runners[config.runner or ""].max_input_tokens
        return shard_requests(job, config, pending, catalogue.data_folder, limit, count)

    def _rival(self, other: Waiting, own: int) -> tuple[Rival, ...]:
        """What it takes from a job whose shards have `own` GPUs each; nothing where that cannot be told, nor where its
        start would be refused: what waits for its model takes no GPU."""
        request = other.job.request
        try:
            self.check_command(request, other.environment)
            config = self.catalogue().find(request.config)
            seconds = sum(self._part(part).seconds for part in request.parts)
            return (rival_of(self.settings(), config, request, seconds, other.gpus, other.places, own),)
        except HituiError:
            return ()

    def plan(self, parts: Sequence[Part]) -> dict[str, object]:
        """The file that tells our own runner of several configs: for each what `command` has as options."""
        configs = []
        for part in parts:
            config = self.catalogue().find(part.request.config)
            described = {
                "name": config.name,
                "modality": config.modality,
                "format": config.table_format,
                "output": config.output,
                "ids": None if part.ids is None else list(part.ids),
                "earlier": elsewhere(config, config.output) or None,
            }
            configs.append({key: value for key, value in described.items() if value is not None})
        return {"configs": configs}

    def command(
        self,
        request: JobRequest,
        ids: tuple[TaskId, ...] | None,
        ids_file: Path,
        gpus: Sequence[str],
        environment: Mapping[str, str],
        plan_file: Path | None = None,
    ) -> Command:
        """What to execute. `environment` is that of whoever asked. Raises LaunchError naming key and mend.

        With a `plan_file` the runner takes from it what differs from config to config.
        """
        settings, catalogue = self.settings(), self.catalogue()
        config = catalogue.find(request.config)
        runner = runner_of(settings, config)
        if request.shard is not None:
            # It would run what all shards are to run, and so would each of them.
            check_told(config, runner)
        check_force(request, config, runner)
        variables = {name: value for name, value in environment.items() if name != JOB_VARIABLE}
        variables |= {"PYTHONUNBUFFERED": "1", **runner.env}
        check_runner(settings, config, runner, variables)
        variables |= {"CUDA_VISIBLE_DEVICES": ",".join(gpus), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        values = {
            "name": config.name,
            "modality": config.modality,
            "format": config.table_format,
            "ids": None if ids is None else ",".join(map(str, ids)),
            "ids_file": None if ids is None else str(ids_file),
            "output": config.output
            if request.shard is None
            else shard_folder(config.output, request.shard.number),
            "questions": text_or_none(catalogue.questions_file),
            "data": text_or_none(catalogue.data_folder),
            "model": model_of(settings, runner),
            "gpus": ",".join(gpus),
        }
        if runner.command is not None:
            argv = filled(runner.command, values, config)
        else:
            check_inputs(config, catalogue.questions_file, catalogue.data_folder)
            argv = own_runner(settings, runner, values, config, plan_file)
            if insists(request):
                argv = (*argv, "--retry-exhausted")
            if request.force:
                argv = (*argv, "--force")
        cwd = settings.path(runner.cwd) if runner.cwd is not None else settings.root
        return Command(located(argv, variables, cwd, config), variables, cwd)


def _gone(root: Path) -> str:
    return f"{root / SETTINGS_NAME}: is not there any more; bring it back"


def _gpu_count(settings: Settings, request: JobRequest, reading: Reading) -> int | None:
    """More GPUs than its config takes, where nothing is left for any of its tasks on fewer."""
    config = reading.state.config
    most, need = recovery_gpus(settings, config, request.gpus), need_of(settings, config)
    if request.gpu_count is not None or not need.memory or most <= need.gpus:
        return request.gpu_count
    ids = set(select_pending(reading.tasks, request.error_class))
    if request.ids is not None:
        ids &= set(request.ids)
    count = gpus_for([exhausted_on(task) for task in reading.tasks if task.id in ids], need.gpus, most)
    return count if count != need.gpus else None
