"""Starts queued jobs in the order of the queue, as soon as nothing keeps them; says of the others what does.

A job that waits for something of its own does not hold up those behind it. Jobs are started one after the
other in one task, so that no two of them can be placed on the same GPU.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice

from hitui.adapters.executors.locks import lock_gpus, release
from hitui.adapters.processes import Process, alive, boot_id
from hitui.domain.claims import Claim
from hitui.domain.gpus import GpuSnapshot
from hitui.domain.jobs import Ending, Job, JobRequest
from hitui.domain.placement import GpuHistory, Need, Placement, never_enough, place
from hitui.domain.placer import Placer
from hitui.domain.queue import Standing, group_wait, next_moment, on_configs
from hitui.domain.waits import Wait, WaitKind
from hitui.errors import HituiError, LaunchError, NoSuchName, SettingsError
from hitui.paths import RuntimePaths, gpu_lock_home
from hitui.supervisor.gpu_news import GpuNews
from hitui.supervisor.joining import Joined, Part, can_join
from hitui.supervisor.keeper import Keeper
from hitui.supervisor.launches import Launches
from hitui.supervisor.preparing import EVENTS, prepare
from hitui.supervisor.queue_control import mend_pauses
from hitui.supervisor.request_checks import NoRunner, NotNow
from hitui.supervisor.round import Round
from hitui.supervisor.rows import End
from hitui.supervisor.sharding import Waiting
from hitui.supervisor.store import Store
from hitui.supervisor.trouble import note_error

PROCESS_SECONDS = 1.0
"""How often processes that a job waits for are looked at."""
LONGEST_SLEEP = 600.0
"""A clock that is set is noticed after so long."""
MOST_CANDIDATES = 100
"""So many jobs are looked at that could join one."""
MOST_SHARDS = 64
"""Of a job that needs no GPU, whose shards nothing but the settings limit."""
SHARE_OF_ROUNDS = 0.002
"""How much of a core the looks at the queue take that are due to a new reading of the GPUs."""
SHARE_WITHOUT_NEWS = 0.0005
"""How much where the reading is like those before it: settings may have changed, or a lock of another hitui."""
NOTHING_TO_DO = "nothing to do: no task of it is pending"


class Scheduler:
    """The queue's motor. `wake` it after anything that could let a job start."""

    def __init__(
        self,
        store: Store,
        launches: Launches,
        keeper: Keeper,
        paths: RuntimePaths,
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._launches = launches
        self._keeper = keeper
        self._paths = paths
        self._changed = changed
        self._wake = asyncio.Event()
        self._seen = asyncio.Event()
        self._history = GpuHistory()
        self._gpu_news = GpuNews()
        self._snapshot: GpuSnapshot | None = None
        self._round_lasted = self._round_ended = 0.0
        self.waits: dict[int, Wait] = {}
        """What each queued job waits for, by id."""

    def wake(self) -> None:
        self._wake.set()

    def observe(self, snapshot: GpuSnapshot) -> None:
        """Takes note of a reading of the GPUs."""
        self._snapshot = snapshot
        hold = self._hold()
        self._history = self._history.observe(snapshot, hold)
        self._gpu_news.observe(snapshot)
        self._seen.set()
        # With thousands of jobs a round costs as much as a second of all else: then not every reading has one.
        share = SHARE_OF_ROUNDS if self._gpu_news.are_there(hold) else SHARE_WITHOUT_NEWS
        if time.monotonic() - self._round_ended >= self._round_lasted / share:
            self.wake()

    def forget(self) -> None:
        """The GPUs are not read any more; the next reading begins a new history."""
        self._snapshot = None
        self._history = GpuHistory()
        self._seen.clear()

    async def check(self, request: JobRequest, timeout: float = 3.0) -> None:
        """Raises LaunchError when no waiting can give this request its GPUs.

        Waits for the first reading of the GPUs; where none comes in time, the job will wait for it.
        """
        need = await asyncio.to_thread(self._launches.need, request)
        if need.memory == 0 and not request.gpus:
            return
        try:
            await asyncio.wait_for(self._seen.wait(), timeout)
        except asyncio.TimeoutError:
            return
        if self._snapshot is not None:
            reason = never_enough(self._snapshot, need, self._launches.rules(), request.gpus)
            if reason:
                raise LaunchError(f"{request.config}: {reason}")

    async def run(self) -> None:
        """Starts jobs for ever."""
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._patience())
            self._wake.clear()
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - nothing may end the queue's motor
                note_error()

    def _patience(self) -> float | None:
        """Seconds until time or another process's end may let a job start; None: only news can."""
        queued = self._store.queued()
        if any(job.schedule.after_processes for job in queued):
            return PROCESS_SECONDS
        moment = next_moment(queued, time.time())
        return None if moment is None else min(LONGEST_SLEEP, max(0.0, moment - time.time()))

    async def look(self) -> None:
        """Starts what can start, and takes down what the others wait for."""
        begun, before = time.process_time(), self.waits
        self._gpu_news.look()
        waits = None
        while waits is None:
            waits = await self._try_each(self._store.queued())
        self.waits = waits
        self._round_lasted, self._round_ended = time.process_time() - begun, time.monotonic()
        if self.waits != before:
            self._changed()

    async def _try_each(self, queued: Sequence[Job]) -> dict[int, Wait] | None:
        """Starts what can be started; of the others, what they wait for. None: a job was split, so look anew."""
        waits: dict[int, Wait] = {}
        queued = mend_pauses(self._store, queued)
        round_ = Round(queued, self._standing(queued), await asyncio.to_thread(self._launches.needs, queued))
        for job in queued:
            if job.id in round_.joined:
                continue
            wait = round_.as_one_ahead(job)
            if wait is not None:
                waits[job.id] = wait
                continue
            try:
                wait = round_.wait(job) or await self._start(job, round_)
                if round_.split:
                    return None
                round_.remember(job, wait)
            except (SettingsError, NoSuchName) as error:
                wait = NoRunner(str(error)).wait
            except NotNow as error:
                wait = error.wait
            except HituiError as error:
                self._end(job, End(Ending.NOT_STARTED, str(error)))
            except (OSError, sqlite3.Error) as error:
                where = getattr(error, "filename", None) or self._paths.state
                wait = Wait(WaitKind.DISK, f"the disk: {where}: {error}")
            except Exception:  # noqa: BLE001 - one job that cannot be started must not hold up the others
                note_error()
                told = f"a look by a person: an error that is described in {self._paths.supervisor_log}"
                wait = Wait(WaitKind.FAULT, told)
            if wait is not None:
                waits[job.id] = wait
        return waits

    def _standing(self, queued: Sequence[Job]) -> Standing:
        started = self._store.started()
        named = {other for job in queued for other in (*job.schedule.after, *job.schedule.after_success)}
        processes = {process for job in queued for process in job.schedule.after_processes}
        return Standing(
            now=time.time(),
            queue=self._store.queue(),
            started=Counter(job.schedule.group for job in started),
            busy=on_configs(started),
            endings=self._store.endings(sorted(named)),
            living={mark for mark in processes if alive(Process(mark.pid, mark.start_time))},
        )

    async def _start(self, job: Job, round_: Round) -> Wait | None:
        """Starts one job, or returns what it waits for. Raises LaunchError when it can never start."""
        request = job.request
        known = self.waits.get(job.id)
        if known is not None and known.kind is WaitKind.AWAY:
            # Someone can bring it back, whatever the GPUs do.
            await self._check_while_it_waits(job)
        need = round_.need(job)
        placement = self._place(request, need, round_)
        if placement.waits_for:
            return await self._wait_for_gpus(job, need, placement, round_)
        parts = [part for part in await asyncio.to_thread(self._launches.parts, request) if part.ids != ()]
        if not parts:
            self._end(job, End(Ending.SUCCEEDED, NOTHING_TO_DO))
            return None
        if len(parts) == 1 and await self._split(job, parts[0], need, round_):
            return None
        together = await self._join(job, parts, need, round_)
        while True:
            # Anew: reading the results took a while.
            placement = self._place_anew(request, need, round_)
            if placement.waits_for:
                return await self._wait_for_gpus(job, need, placement, round_)
            sharers = self._paths.sharers if need.share else None
            locks, taken = lock_gpus(gpu_lock_home(), placement.gpus, sharers)
            if taken is not None:
                # Someone else's hitui was faster; their lock counts until the next look.
                round_.take_lock(taken)
                continue
            try:
                started = await self._launch(
                    job, round_.those(together.jobs), together, placement.gpus, need, locks
                )
            finally:
                release(locks)
            if started:
                round_.take_start(job, together.jobs)
            return None

    async def _wait_for_gpus(self, job: Job, need: Need, placement: Placement, round_: Round) -> Wait:
        """What the job waits for, with what is free for it kept from those behind it.

        Raises NotNow, as where its model is away: then no GPU would help it.
        """
        if placement.keeps:
            await self._check_while_it_waits(job)
        round_.keep(job, need, placement.keeps)
        return Wait(WaitKind.GPUS, placement.waits_for)

    async def _check_while_it_waits(self, job: Job) -> None:
        """Raises NotNow for a job that would be refused whatever is free."""
        environment = self._store.environment(job.id)
        await asyncio.to_thread(self._launches.check_while_it_waits, job.request, environment)

    async def _check_command(self, job: Job) -> None:
        """Raises LaunchError for a job that would be refused whatever is free."""
        await asyncio.to_thread(self._launches.check_command, job.request, self._store.environment(job.id))

    async def _split(self, job: Job, part: Part, need: Need, round_: Round) -> bool:
        """Whether the job was put back into the queue as shards, which are started by the next look. Raises LaunchError."""
        waiting: list[Waiting] = []
        if job.request.gpus:
            places = len(job.request.gpus) // need.gpus
        elif need.memory == 0:
            places = MOST_SHARDS
        else:
            places = self._places(need, round_)
            if places > 1:
                waiting = self._rivals(job, round_)
        if places < 2:
            return False
        await self._check_command(job)
        shards = await asyncio.to_thread(
            self._launches.shards, job, part, need.gpus, places, round_.group_room(job), waiting
        )
        if len(shards) < 2 or self._store.job(job.id) != job:
            return False
        self._store.split(job.id, shards)
        round_.split = True
        self._changed()
        return True

    def _rivals(self, job: Job, round_: Round) -> list[Waiting]:
        """The jobs behind this one that could start now, and how many of each: others need no place kept."""
        found = []
        places_of: dict[Need, int] = {}
        for other in islice(round_.rivals(job), MOST_CANDIDATES):
            need, named = round_.need(other), other.request.gpus
            try:
                placed = self._place(other.request, need, round_).gpus
            except LaunchError:
                # What is wrong with it is said when its own turn comes.
                continue
            if not placed:
                continue
            if need not in places_of:
                places_of[need] = self._places(need, round_)
            # What named its GPUs takes all of these, however many jobs it is split into.
            places, room = 1 if named else places_of[need], round_.group_room(other)
            places = places if room is None else min(places, room)
            found.append(Waiting(other, len(placed), places, self._store.environment(other.id)))
        return found

    async def _join(self, job: Job, parts: Sequence[Part], need: Need, round_: Round) -> Joined:
        """The job with those behind it that load the same model, where it needs a GPU and may start now."""
        if need.memory == 0 or job.request.gpus:
            return Joined(tuple(parts))
        environment = self._store.environment_id(job.id)
        candidates = [
            other
            for other in islice(
                (other for other in round_.behind(job) if can_join(job, other)), MOST_CANDIDATES
            )
            if self._store.environment_id(other.id) == environment
        ]
        if not candidates:
            return Joined(tuple(parts))
        return await asyncio.to_thread(
            self._launches.join, job, parts, candidates, self._places(need, round_)
        )

    def _places(self, need: Need, round_: Round) -> int:
        """How many such jobs could start at this moment, each on GPUs of its own."""
        claims = dict(round_.beside(self._store.claims()))
        rules = self._launches.rules()
        count = 0
        while self._snapshot is not None:
            placed = place(self._snapshot, need, rules, claims, None, self._history, round_.locked).gpus
            if not placed:
                break
            claims |= {uuid: (Claim(0),) for uuid in placed}
            count += 1
        return count

    def _place(self, request: JobRequest, need: Need, round_: Round) -> Placement:
        """As GPUs and claims stood when it was first asked, as long as nothing was started since."""
        if need.memory == 0 and not request.gpus:
            return Placement()
        if self._snapshot is None:
            return Placement(waits_for="the GPUs to be read")
        if round_.placer is None:
            claims = round_.beside(self._store.claims())
            round_.placer = Placer(
                self._snapshot, self._launches.rules(), claims, self._history, round_.locked
            )
        hopeless = round_.placer.never_enough(need, request.gpus)
        if hopeless:
            raise LaunchError(hopeless)
        return round_.placer.place(need, request.gpus)

    def _place_anew(self, request: JobRequest, need: Need, round_: Round) -> Placement:
        round_.placer = None
        return self._place(request, need, round_)

    async def _launch(
        self,
        job: Job,
        joining: Sequence[Job],
        together: Joined,
        gpus: tuple[str, ...],
        need: Need,
        locks: list[int],
    ) -> bool:
        """False: it, or one that was to join it, was stopped, paused or changed meanwhile."""
        launch = await asyncio.to_thread(
            prepare,
            self._launches,
            job,
            together.parts,
            gpus,
            self._store.environment(job.id),
            self._paths.job(job.id),
            self._keeper.new_marker(job.id),
        )
        paused = group_wait(job.schedule.group, Standing(time.time(), self._store.queue()))
        unchanged = all(self._store.job(one.id) == one for one in (job, *joining))
        if not unchanged or paused:
            return False
        counts = [None if part.ids is None else len(part.ids) for part in together.parts]
        started = self._store.start(
            job.id,
            gpus,
            boot_id(),
            log=launch.log,
            events=launch.folder / EVENTS,
            task_count=None if None in counts else sum(count or 0 for count in counts),
            joined=together.jobs,
            memory=need.memory,
            shared=need.share,
        )
        self._keeper.launch(started, launch, locks)
        self._changed()
        return True

    def _end(self, job: Job, end: End) -> None:
        self._store.end(job.id, end)
        self._changed()

    def _hold(self) -> float:
        try:
            return self._launches.rules().hold
        except SettingsError:
            return 0.0
