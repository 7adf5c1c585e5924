"""What requests would do if they were submitted now: on which GPUs, how many tasks, about how long, or why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from hitui.domain.claims import Claim, Grip, with_claim
from hitui.domain.configs import Config, ConfigState
from hitui.domain.gpus import GpuSnapshot
from hitui.domain.jobs import JobRequest, JobsSnapshot
from hitui.domain.launches import LaunchPlan, PlannedLaunch
from hitui.domain.placement import Need, gpus_for_jobs, never_enough, place
from hitui.domain.queue import group_room, group_wait
from hitui.domain.recovery import gpus_for
from hitui.domain.schedule import DEFAULT_GROUP
from hitui.domain.shards import Rival, worth_splitting
from hitui.domain.to_run import tasks_of_request
from hitui.errors import LaunchError
from hitui.services.placing import claims_now, standing_of
from hitui.settings import RunnerSettings, Settings
from hitui.supervisor.joining import UNKNOWN_SECONDS
from hitui.supervisor.needs import gpu_rules, need_of, recovery_gpus
from hitui.supervisor.request_checks import check_runner, is_unlisted
from hitui.supervisor.sharding import most_shards, rival_of


def plan_launches(
    settings: Settings,
    jobs: JobsSnapshot,
    requests: Sequence[JobRequest],
    states: Mapping[str, ConfigState],
    gpus: GpuSnapshot,
    environment: Mapping[str, str],
) -> LaunchPlan:
    """`states` are the configs by name; `environment` is that in which they would run.

    Looks at nothing but what it is given, and whether what `hitui.toml` names for a runner is there.
    """
    return _Planner(settings, jobs, states, gpus, environment).plan(requests)


class _Planner:
    def __init__(
        self,
        settings: Settings,
        jobs: JobsSnapshot,
        states: Mapping[str, ConfigState],
        gpus: GpuSnapshot,
        environment: Mapping[str, str],
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._states = states
        self._gpus = gpus
        self._environment = environment
        self._unusable: dict[str, str] = {}
        """Why a runner cannot be started, by its name; empty: nothing is known to be wrong with it."""
        self._rules = gpu_rules(settings)
        configs = {name: state.config for name, state in states.items()}
        self._claims = claims_now(settings, jobs, configs, gpus)
        self._standing = standing_of(jobs)

    def plan(self, requests: Sequence[JobRequest]) -> LaunchPlan:
        launches = []
        for number, request in enumerate(requests):
            state = self._states.get(request.config)
            if state is None:
                launches.append(PlannedLaunch(request, None, "", None, "", refused="no such config"))
            else:
                launches.append(self._planned(request, state, requests[number + 1 :]))
        return LaunchPlan(tuple(launches))

    def _planned(
        self, request: JobRequest, state: ConfigState, behind: Sequence[JobRequest]
    ) -> PlannedLaunch:
        count = tasks_of_request(request, state)
        request = self._widened(request, state)
        need = need_of(self._settings, state.config, request)
        refused = self._refusal(request, state, count, need)
        placed = place(self._gpus, need, self._rules, self._claims, request.gpus)
        seconds = None
        if count is not None and state.seconds_per_task is not None:
            seconds = count * state.seconds_per_task
        where = f"waits for {placed.waits_for}" if placed.waits_for else "no GPU needed"
        uuids, shards = placed.gpus, 1
        if not placed.waits_for and not refused:
            uuids, shards = self._split(request, state, need, placed.gpus, behind)
        if uuids:
            labels = [gpu.label for gpu in gpus_for_jobs(self._gpus) if gpu.uuid in uuids]
            hold = self._settings.gpus.hold_seconds
            where = f"GPU {', '.join(labels)} {f'once free for {hold:g} s' if hold else 'now'}"
        if shards > 1:
            # First, for where there is little room the end is cut.
            where = f"{shards} shards {'on' if uuids else 'with'} {where}"
            seconds = None if seconds is None else seconds / shards
        group = group_wait(DEFAULT_GROUP, self._standing)
        if group is not None:
            # What is paused or beyond its limit keeps no GPU from others.
            where = f"waits for {group.words}"
        elif not refused:
            self._take(uuids or placed.keeps, need, 0 if placed.waits_for else shards)
        waits = group is not None or bool(placed.waits_for)
        most = self._most_shards(request, state, need) if waits and not refused else shards
        writes = self._settings.shown(state.config.output)
        return PlannedLaunch(
            request, count, where, seconds, writes, refused or None, shards, most, state.unit
        )

    def _most_shards(self, request: JobRequest, state: ConfigState, need: Need) -> int:
        """Into how many jobs one that waits is split at most, whatever is free when it starts."""
        if not state.lists_tasks:
            return 1
        bounds = [most_shards(self._settings, state.config, request, _seconds(request, state))]
        limit = self._standing.queue.group(DEFAULT_GROUP).limit
        bounds += [] if limit is None else [limit]
        if request.gpus:
            bounds.append(len(request.gpus) // need.gpus)
        elif need.memory:
            allowed = [gpu for gpu in gpus_for_jobs(self._gpus) if gpu.index not in self._rules.exclude]
            bounds.append(len(allowed) // need.gpus)
        return max(1, min(bounds))

    def _take(self, uuids: Sequence[str], need: Need, jobs: int) -> None:
        """The next request of the same plan finds these GPUs taken, or kept, and so many more jobs started."""
        claim = Claim(0, need.memory, need.share, grip=Grip.PLANNED)
        self._claims = with_claim(self._claims, uuids, claim)
        started = self._standing.started
        running = started.get(DEFAULT_GROUP, 0) + jobs
        self._standing = replace(self._standing, started={**started, DEFAULT_GROUP: running})

    def _widened(self, request: JobRequest, state: ConfigState) -> JobRequest:
        """With the GPUs that it takes where all that is pending was tried on fewer at every rung."""
        need = need_of(self._settings, state.config)
        most = recovery_gpus(self._settings, state.config, request.gpus)
        if not need.memory or request.ids is not None or request.error_class is not None:
            return request
        tried = [gpus for gpus, count in state.exhausted for _ in range(count)]
        gpus = gpus_for([*tried, *[None] * (state.pending - len(tried))], need.gpus, most)
        return request if gpus == need.gpus else replace(request, gpu_count=gpus)

    def _split(
        self,
        request: JobRequest,
        state: ConfigState,
        need: Need,
        first: tuple[str, ...],
        behind: Sequence[JobRequest],
    ) -> tuple[tuple[str, ...], int]:
        """The GPUs of all shards, and how many these are, of a job that would start on the `first` ones."""
        seconds = _seconds(request, state)
        most = most_shards(self._settings, state.config, request, seconds)
        in_group = group_room(DEFAULT_GROUP, self._standing)
        if in_group is not None:
            most = min(most, in_group)
        if most < 2 or not state.lists_tasks:
            return first, 1
        if request.gpus:
            return first, worth_splitting(most, len(request.gpus) // need.gpus, seconds, ())
        if not need.memory:
            return first, worth_splitting(most, most, seconds, ())
        places = list(self._places(need))
        rivals = self._rivals(behind, need, in_group)
        shards = worth_splitting(most, len(places), seconds, rivals)
        return tuple(uuid for place in places[:shards] for uuid in place), shards

    def _places(self, need: Need) -> Iterator[tuple[str, ...]]:
        claims = self._claims
        while uuids := place(self._gpus, need, self._rules, claims).gpus:
            yield uuids
            claims = with_claim(claims, uuids, Claim(0, grip=Grip.PLANNED))

    def _rivals(self, behind: Sequence[JobRequest], own: Need, in_group: int | None) -> list[Rival]:
        """What the requests behind one take from it: those that need a GPU, and could start now."""
        found = []
        # Hundreds may ask for the same.
        known: dict[tuple[Need, tuple[str, ...] | None], tuple[int, int]] = {}
        for request in behind:
            state = self._states.get(request.config)
            if state is None:
                continue
            request = self._widened(request, state)
            need = need_of(self._settings, state.config, request)
            asked = need, request.gpus
            if asked not in known:
                placed = place(self._gpus, need, self._rules, self._claims, request.gpus).gpus
                places = 1 if request.gpus else sum(1 for _ in self._places(need)) if placed else 0
                known[asked] = len(placed), places if in_group is None else min(places, in_group)
            gpus, places = known[asked]
            refused = self._refusal(request, state, tasks_of_request(request, state), need)
            if need.memory and gpus and not refused:
                seconds = _seconds(request, state)
                config = state.config
                found.append(rival_of(self._settings, config, request, seconds, gpus, places, own.gpus))
        return found

    def _refusal(self, request: JobRequest, state: ConfigState, count: int | None, need: Need) -> str:
        running = self._jobs.active_for(state.name)
        runner = self._settings.runners.get(state.config.runner or "")
        if running is not None:
            return f"job {running.id} is already on it ({running.word})"
        if state.config.runner is None:
            if self._settings.file is None:
                return "no runner is named for it, and there is no hitui.toml yet; `hitui init` writes one"
            return "no runner is named for it in hitui.toml"
        if runner is None:
            return f"there is no [runner.{state.config.runner}] in hitui.toml"
        if runner.engine is not None and state.config.modality is None:
            return "its modality cannot be told; name it in its [[config]]"
        if not state.scanned:
            return "its results are still being read"
        if state.hides_answers:
            return state.problems[0]
        if count == 0:
            return f"nothing is pending, {state.blocked} blocked" if state.blocked else "nothing is pending"
        if is_unlisted(state, runner):
            return "there is no question list to say what is pending"
        unusable = self._defect(state.config, runner)
        if unusable:
            return unusable
        return never_enough(self._gpus, need, self._rules, request.gpus)

    def _defect(self, config: Config, runner: RunnerSettings) -> str:
        name = config.runner or ""
        if name not in self._unusable:
            try:
                check_runner(self._settings, config, runner, {**self._environment, **runner.env})
                self._unusable[name] = ""
            except LaunchError as error:
                self._unusable[name] = str(error)
        return self._unusable[name]


def _seconds(request: JobRequest, state: ConfigState) -> float:
    """About how long it takes; 0 where the runner decides what it does."""
    return (tasks_of_request(request, state) or 0) * (state.seconds_per_task or UNKNOWN_SECONDS)
