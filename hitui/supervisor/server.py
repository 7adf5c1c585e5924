"""The supervisor's socket: answers requests, and tells every watcher when something changed.

The socket can be entered by its owner alone, and the kernel is asked who is at the other end. Any number
of clients may watch; one that reads slowly gets fewer snapshots, never a queue of old ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sqlite3
import time
from collections.abc import Iterable, Mapping
from typing import Any

from hitui import __version__
from hitui.adapters.gpus import open_source
from hitui.adapters.gpus.monitor import GpuMonitor
from hitui.adapters.own_code import code_at_first
from hitui.domain.foremost import foremost
from hitui.domain.gpus import GpuSnapshot
from hitui.domain.jobs import Ended, Ending, Job, JobsSnapshot, Queued
from hitui.domain.waits import NOT_KNOWN
from hitui.errors import HituiError, SupervisorError
from hitui.paths import RuntimePaths
from hitui.supervisor import snapshots, wire
from hitui.supervisor.bulletin import Bulletin
from hitui.supervisor.client import peer_user
from hitui.supervisor.freeing import Freeing
from hitui.supervisor.history import Historian
from hitui.supervisor.keeper import Keeper
from hitui.supervisor.launches import Launches
from hitui.supervisor.notifier import Notifier
from hitui.supervisor.other_versions import check_known, of_another_version
from hitui.supervisor.queue_control import QueueControl, checked_group
from hitui.supervisor.reporting import Reporter
from hitui.supervisor.rows import End, with_wait
from hitui.supervisor.scheduler import Scheduler
from hitui.supervisor.store import Store
from hitui.supervisor.trouble import disk_trouble, note_error
from hitui.supervisor.watching import Watching

ENDED_JOBS = 200
"""How many ended jobs a snapshot holds; `jobs` with `all` names every one."""
SHORTEST_PUBLISH_SECONDS = 0.1
LONGEST_PUBLISH_SECONDS = 3.0
SHARE_OF_TELLING = 0.05
"""How much of a core telling one watcher takes."""


class Server:
    """One workspace's supervisor: queue, running jobs and their watchers."""

    def __init__(self, launches: Launches, paths: RuntimePaths, store: Store) -> None:
        self._launches = launches
        self._paths = paths
        self._store = store
        self._keeper = Keeper(store, paths, self._changed, launches.retry_rules)
        self._queue_control = QueueControl(store, self._keeper)
        self._scheduler = Scheduler(store, launches, self._keeper, paths, self._changed)
        self._watching = Watching(
            store, self._keeper, launches.watch_rules, launches.retry_rules, self._changed
        )
        self._historian = Historian(paths, launches.last_settings)
        self._notifier = Notifier(launches.root.name, launches.last_settings)
        store.listen(Reporter(store, self._historian, self._notifier).jobs_changed)
        self._freeing = Freeing(store, launches.last_settings, self._notifier, self._mind_monitor)
        self._bulletin = Bulletin(os.getpid(), code_at_first())
        self._news = True
        """Whether something changed of which the bulletin does not know."""
        self._watchers: set[asyncio.Event] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._monitor: GpuMonitor | None = None
        self._listener: asyncio.Server | None = None
        self._stopped = asyncio.Event()

    async def serve(self, listener: socket.socket) -> None:
        """Serves until `shut_down`; the jobs that run then go on without it."""
        await self._keeper.recover()
        await self.listen(listener)
        work = (self._scheduler.run(), self._watching.run(), self._historian.tend(), self._freeing.run())
        tasks = [asyncio.create_task(each) for each in work]
        self._notifier.check()
        self._changed()
        try:
            await self._stopped.wait()
        finally:
            for task in tasks:
                task.cancel()
            await self._keeper.close()
            await self._unlisten()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*tasks, *self._connections, return_exceptions=True)
            self._close_monitor()
            self._historian.close()
            self._notifier.close()

    async def listen(self, listener: socket.socket) -> None:
        """Takes connections from this socket, and no more from the one before it."""
        await self._unlisten()
        # Not `start_unix_server`: from Python 3.13 on it looks for the socket by the name it was bound to, which may
        # have been one for that moment only (`socket_address`).
        self._listener = await asyncio.start_server(self._connected, sock=listener, limit=wire.LONGEST_LINE)

    def shut_down(self) -> None:
        self._stopped.set()

    async def _unlisten(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _changed(self) -> None:
        """Something of the jobs changed: tell the watchers, look whether a job can start."""
        self._news = True
        for watcher in self._watchers:
            watcher.set()
        self._mind_monitor()
        self._scheduler.wake()
        self._watching.wake()

    def _mind_monitor(self) -> None:
        """GPUs are read only while someone watches, waits for a free one, or a job is there: an idle supervisor
        does nothing."""
        wanted = bool(self._watchers) or bool(self._store.active()) or self._freeing.wanted
        if wanted and self._monitor is None:
            loop = asyncio.get_running_loop()

            def publish(snapshot: GpuSnapshot) -> None:
                with contextlib.suppress(RuntimeError):  # the loop is closed: the supervisor ends
                    loop.call_soon_threadsafe(self._observe, snapshot)

            monitor = GpuMonitor(open_source)
            monitor.start(publish)
            self._monitor = monitor
        elif not wanted:
            self._close_monitor()

    def _observe(self, snapshot: GpuSnapshot) -> None:
        if self._monitor is not None:
            started = self._store.started()
            held = {uuid for job in started for uuid in job.gpus}
            snapshot = snapshot.without_own_locks(os.getpid(), held)
            self._scheduler.observe(snapshot)
            self._watching.observe(snapshot)
            self._freeing.observe(snapshot)
            self._historian.observe(snapshot, started)

    def _close_monitor(self) -> None:
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
            self._scheduler.forget()
            self._historian.flush()

    def _snapshot(self, ended: int | None = ENDED_JOBS) -> JobsSnapshot:
        return self._as_shown(self._store.jobs(ended))

    def _as_shown(self, jobs: Iterable[Job]) -> JobsSnapshot:
        waits = self._scheduler.waits
        shown = tuple(with_wait(self._keeper.shown(job), waits.get(job.id, NOT_KNOWN)) for job in jobs)
        return JobsSnapshot(shown, os.getpid(), self._store.queue(), code_at_first())

    def _renew_bulletin(self) -> None:
        if self._news:
            jobs = map(self._keeper.shown, self._store.jobs(ENDED_JOBS))
            self._bulletin.update(jobs, self._scheduler.waits, self._store.queue())
            # Not before: if the store cannot be read now, the next watcher is to ask it again.
            self._news = False

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if peer_user(writer.get_extra_info("socket")) == os.getuid():
                await self._converse(reader, writer)
        except (ConnectionError, ValueError, asyncio.CancelledError):
            # The client went away, sent what is no line of ours, or the supervisor ends.
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            message = wire.decode(line)
            if message.get("do") == "watch":
                await self._watch(reader, writer, changes=bool(message.get("changes")))
                return
            writer.write(wire.encode_told(await self._answer(message)))
            await writer.drain()
            if message.get("do") == "shut_down":
                self.shut_down()

    async def _answer(self, message: Mapping[str, Any]) -> Mapping[str, object]:
        try:
            return {"ok": True, **await self._do(message)}
        except HituiError as error:
            return wire.error_to_wire(error)
        except sqlite3.Error as error:
            note_error()
            return wire.error_to_wire(SupervisorError(disk_trouble(self._paths.database, error)))
        except Exception as error:  # noqa: BLE001 - a bad request must not end the supervisor
            note_error()
            return wire.error_to_wire(
                SupervisorError(f"{type(error).__name__}: {error}; see {self._paths.supervisor_log}")
            )

    async def _do(self, message: Mapping[str, Any]) -> Mapping[str, object]:
        if message.get("do") not in ("status", "shut_down", "jobs"):
            check_known(message)
        match message.get("do"):
            case "status" | "shut_down":
                return {
                    "pid": os.getpid(),
                    "version": __version__,
                    "code": code_at_first(),
                    "workspace": str(self._launches.root),
                    "active": len(self._store.active()),
                }
            case "jobs" if message.get("foremost"):
                found = foremost(self._store.active()).values()
                chosen = {job.id: job for each in found for job in each}
                return snapshots.whole(self._as_shown(chosen[job_id] for job_id in sorted(chosen)))
            case "jobs":
                return snapshots.whole(self._snapshot(None if message.get("all") else ENDED_JOBS))
            case "submit":
                return {"jobs": list(map(wire.job_to_wire, await self._submit(message)))}
            case "stop":
                ids = [int(job_id) for job_id in message["jobs"]]
                return {"jobs": list(map(wire.job_to_wire, self._stop(ids)))}
            case "pause" | "resume" | "limit" | "assign" | "prioritize" | "move" | "retry":
                if message.get("force"):
                    forced = [self._store.job(int(job_id)).request for job_id in message["jobs"]]
                    await asyncio.to_thread(self._launches.check_forced, forced)
                try:
                    jobs = self._queue_control.do(message)
                finally:
                    # Some of the jobs may have been changed before one was refused.
                    self._changed()
                return {"jobs": [wire.job_to_wire(self._keeper.shown(job)) for job in jobs]}
            case verb:
                raise of_another_version(str(verb))

    async def _submit(self, message: Mapping[str, Any]) -> tuple[Job, ...]:
        """Queues all of the requests or none."""
        requests = []
        # While GPUs are asked for they are read, as for a watcher.
        asking = asyncio.Event()
        self._watchers.add(asking)
        try:
            self._mind_monitor()
            for value in message["requests"]:
                request = await asyncio.to_thread(
                    self._launches.resolve, wire.request_from_wire(value), message["environment"]
                )
                await self._scheduler.check(request)
                requests.append(request)
        finally:
            self._watchers.discard(asking)
            self._mind_monitor()
        schedule = wire.schedule_from_wire(message.get("schedule", {}))
        checked_group(schedule.group)
        jobs = self._store.submit(requests, message["environment"], schedule)
        self._changed()
        return jobs

    def _stop(self, ids: list[int]) -> tuple[Job, ...]:
        jobs = [self._job(job_id) for job_id in ids]
        # First those that run: a full disk refuses to end the others, and must not keep these from stopping.
        try:
            for job in jobs:
                if not isinstance(job.state, (Queued, Ended)):
                    self._keeper.stop(job)
            for job in jobs:
                if isinstance(job.state, Queued):
                    self._store.end(job.id, End(Ending.STOPPED, "on request, before it started"))
        finally:
            self._changed()
        return tuple(map(self._job, ids))

    def _job(self, job_id: int) -> Job:
        return self._keeper.shown(self._store.job(job_id))

    async def _watch(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, changes: bool
    ) -> None:
        news = asyncio.Event()
        news.set()
        self._watchers.add(news)
        self._mind_monitor()
        telling = asyncio.create_task(self._tell(news, writer, changes))
        # A watcher says nothing more; what comes is the end of its connection.
        leaving = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({telling, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._watchers.discard(news)
            telling.cancel()
            leaving.cancel()
            await asyncio.gather(telling, leaving, return_exceptions=True)
            self._mind_monitor()

    async def _tell(self, news: asyncio.Event, writer: asyncio.StreamWriter, changes: bool) -> None:
        """Tells one watcher; one that did not ask for `changes` alone hears everything each time."""
        told: int | None = None
        while True:
            await news.wait()
            news.clear()
            begun = time.process_time()
            self._renew_bulletin()
            if self._bulletin.version != told:
                writer.write(self._bulletin.line(told if changes else None))
                told = self._bulletin.version
                await writer.drain()
            # Thousands of jobs may be megabytes each time.
            pause = (time.process_time() - begun) / SHARE_OF_TELLING
            await asyncio.sleep(max(SHORTEST_PUBLISH_SECONDS, min(LONGEST_PUBLISH_SECONDS, pause)))
