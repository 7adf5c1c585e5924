"""All configs of the workspace, kept up to date: what the screen shows and the commands list.

A thread discovers, reads the configs in parallel and publishes rows as they fill in; then it reads again
what the watcher names, and `hitui.toml` when that changes. Losing an event costs half a minute at most: everything is looked at again then.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.adapters.checkpoints.relevance import relevant_names
from hitui.domain.configs import Config, ConfigState
from hitui.domain.tasks import Task
from hitui.services.followed_settings import FollowedSettings
from hitui.services.scores import Scores, read_scores
from hitui.settings import Settings

if TYPE_CHECKING:
    from hitui.adapters.files.watch import Watcher
    from hitui.services.results import Result

PUBLISH_SECONDS = 0.1
"""At most one snapshot in this time."""
_SETTLE_SECONDS = 0.1
_LOOK_AGAIN_SECONDS = 30.0
_DISCOVER_SECONDS = 1.0
_INPUTS_SECONDS = 1.0
_MOST_READERS = 8
_BATCH_SECONDS = 0.05
"""How long a reader collects before it tells: each telling costs as much as reading a small config."""
_LEAST_SHARE = 0.5
"""A reader that computes less of its time than this waits for the disk."""
_MOST_LOOKS = 4

_Batch = tuple[list[ConfigState], bool]
"""Configs that were read, and whether reading them was rather waiting for the disk."""


class WorkspaceSnapshot(msgspec.Struct, frozen=True):
    """All configs at one moment."""

    configs: tuple[ConfigState, ...] = ()
    """By name; those not read yet have `scanned` False."""
    scanning: bool = True
    """True while some config was never read."""
    problems: tuple[str, ...] = ()
    """One line each, about the workspace as a whole."""
    settings: Settings | None = None
    """Those by which the configs were found; None: nobody said."""


class WorkspaceService:
    """Live after `start`; without it, `scan_once` reads everything in the caller's thread."""

    def __init__(self, settings: Settings, keep_readings_in: Path | None = None) -> None:
        self.catalogue = Catalogue(settings, keep_readings_in)
        self._settings = settings
        self._followed = FollowedSettings(settings)
        self._keep_readings_in = keep_readings_in
        self._states: dict[str, ConfigState] = {}
        self._latest = WorkspaceSnapshot()
        self._publish: Callable[[WorkspaceSnapshot], None] | None = None
        self._published_at = self._discovered_at = self._inputs_at = 0.0
        self._trouble: tuple[str, ...] = ()
        self._wishes: queue.SimpleQueue[frozenset[Path] | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._relevant = relevant_names(settings)
        self._watcher: Watcher | None = None

    @property
    def latest(self) -> WorkspaceSnapshot:
        return self._latest

    def start(self, publish: Callable[[WorkspaceSnapshot], None]) -> None:
        """Begins to scan and to watch; `publish` is called from another thread."""
        # What only lists need not load it.
        from hitui.adapters.files.watch import Watcher

        self._publish = publish
        self._watcher = Watcher(self._wishes.put, lambda name: self._relevant(name))
        self._thread = threading.Thread(target=self._run, name="workspace", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        self._wishes.put(None)
        if self._watcher is not None:
            self._watcher.close()
        if self._thread is not None:
            self._thread.join(timeout=2)

    def rescan(self) -> None:
        """Discovers and looks at everything again, soon."""
        self._wishes.put(None)

    def tasks(self, name: str) -> tuple[Task, ...]:
        """The tasks of one config. Raises NoSuchName."""
        return self.catalogue.read(self.catalogue.find(name)).tasks

    def results(self, name: str) -> Mapping[str, Result]:
        """Everything of one config that has a result or should have one, by its id as text.

        Raises NoSuchName, and WorkspaceError where a file cannot be read.
        """
        from hitui.services.results import read_results

        return read_results(self.catalogue.read(self.catalogue.find(name)))

    def scores(self, name: str) -> Scores | None:
        """What `hitui score` made of one config; None: nothing yet. Raises NoSuchName."""
        return read_scores(Path(self.catalogue.find(name).output))

    def scan_once(self) -> WorkspaceSnapshot:
        """Everything, read now."""
        self.catalogue.refresh()
        self._states = {}
        self._read(self.catalogue.configs)
        return self._compose(scanning=False)

    def _run(self) -> None:
        self._guarded(self._rediscover)
        while not self._stopped.is_set():
            changed = self._wait_for_changes()
            if not self._stopped.is_set():
                self._guarded(partial(self._follow, changed))

    def _guarded(self, work: Callable[[], None]) -> None:
        """The thread must outlive a disk or a file that fails in a way that nobody foresaw."""
        try:
            work()
            if self._trouble:
                self._trouble = ()
                self._announce(at_once=True)
        except Exception as error:  # noqa: BLE001 - without the thread the screen would stand still unsaid
            where, wrong = self._settings.root, f"{type(error).__name__}: {error}"
            if isinstance(error, OSError):
                where, wrong = error.filename or where, error.strerror or wrong
            self._trouble = (f"{where}: {wrong}; looked at again within {_LOOK_AGAIN_SECONDS:.0f} s",)
            self._announce(at_once=True)

    def _follow(self, changed: frozenset[Path] | None) -> None:
        now = time.monotonic()
        if self._followed.look() and self._take_settings():
            return
        if self.catalogue.roots_changed():
            # inotify says nothing of a folder above whose place is taken by another, and nothing is sure now.
            self._rediscover()
            return
        if now - self._inputs_at > _INPUTS_SECONDS:
            self._inputs_at = now
            if self.catalogue.refresh_inputs():
                self._read_changed(self.catalogue.configs)
        if changed is None or now - self._discovered_at > _LOOK_AGAIN_SECONDS:
            self._rediscover()
            return
        known = self._config_folders()
        if any(str(folder) not in known for folder in changed):
            # A checkpoint of gigabytes is minutes of events; the walk need not follow each.
            if not self._stopped.wait(max(0.0, self._discovered_at + _DISCOVER_SECONDS - now)):
                self._rediscover()
        elif changed:
            self._read_changed(
                config
                for config in self.catalogue.configs
                if any(str(folder) in config.folders for folder in changed)
            )

    def _take_settings(self) -> bool:
        """Goes on by what `hitui.toml` says now, and says what is wrong with it; whether all was looked at anew."""
        others = self._followed.latest != self._settings
        if others:
            self._settings = self._followed.latest
            self._relevant = relevant_names(self._settings)
            self.catalogue = Catalogue(self._settings, self._keep_readings_in)
            self._rediscover()
        self._announce(at_once=True)
        return others

    def _wait_for_changes(self) -> frozenset[Path] | None:
        """The folders that changed (maybe none), or None when everything is to be looked at."""
        try:
            wishes = [self._wishes.get(timeout=_INPUTS_SECONDS)]
        except queue.Empty:
            return frozenset()
        # A program that writes a file causes several events: they are answered together.
        self._stopped.wait(_SETTLE_SECONDS)
        while not self._wishes.empty():
            wishes.append(self._wishes.get())
        changed: set[Path] = set()
        for wish in wishes:
            if wish is None:
                return None
            changed |= wish
        return frozenset(changed)

    def _rediscover(self) -> None:
        self._discovered_at = time.monotonic()
        self.catalogue.refresh()
        # What came into a new folder before it was watched is found by looking once more.
        for _ in range(_MOST_LOOKS):
            if self._watcher is None or not self._watcher.watch(self._watched_folders()):
                break
            self.catalogue.refresh()
        configs = self.catalogue.configs
        self._states = {
            config.name: replace(self._states.get(config.name, ConfigState(config)), config=config)
            for config in configs
        }
        self._announce()
        self._read_changed(configs)

    def _read_changed(self, configs: Iterable[Config]) -> None:
        changed = [config for config in configs if self.catalogue.changed(config)]
        self._read(changed)
        self._announce(at_once=True)

    def _read(self, configs: Iterable[Config]) -> None:
        """Reads configs in threads; rows are announced as they come in.

        One thread parses as fast as several, since only one at a time does; more are started while those that
        there are wait for the disk. Raises what ended one of them.
        """
        todo = deque(configs)
        expected = len(todo)
        batches: queue.SimpleQueue[_Batch | Exception] = queue.SimpleQueue()
        readers, wait_for_disk = 0, True
        while expected and not self._stopped.is_set():
            if wait_for_disk and todo and readers < _MOST_READERS:
                # Daemons: a file on a hanging disk must not keep the program from ending.
                threading.Thread(
                    target=self._read_from, args=(todo, batches), name=f"reader {readers}", daemon=True
                ).start()
                readers += 1
            try:
                batch = batches.get(timeout=2 * _BATCH_SECONDS)
            except queue.Empty:
                wait_for_disk = True
                continue
            if isinstance(batch, Exception):
                raise batch
            states, wait_for_disk = batch
            expected -= len(states)
            self._states.update((state.name, state) for state in states)
            self._announce()

    def _read_from(self, todo: deque[Config], batches: queue.SimpleQueue[_Batch | Exception]) -> None:
        """Takes configs until none is left; says with each batch whether it rather waited than computed."""
        try:
            while todo and not self._stopped.is_set():
                batches.put(self._read_batch(todo))
        except Exception as error:  # noqa: BLE001 - what was taken would be waited for without an end
            batches.put(error)

    def _read_batch(self, todo: deque[Config]) -> _Batch:
        states: list[ConfigState] = []
        begun, computed = time.monotonic(), time.thread_time()
        while todo and time.monotonic() - begun < _BATCH_SECONDS:
            try:
                config = todo.popleft()
            except IndexError:
                break
            states.append(self.catalogue.read(config).state)
        share = (time.thread_time() - computed) / max(time.monotonic() - begun, 1e-9)
        return states, share < _LEAST_SHARE

    def _compose(self, scanning: bool) -> WorkspaceSnapshot:
        states = tuple(self._states[name] for name in sorted(self._states))
        wrong = (self._followed.problem,) if self._followed.problem else ()
        problems = (*self._trouble, *wrong, *self.catalogue.problems)
        self._latest = WorkspaceSnapshot(states, scanning, problems, self._settings)
        return self._latest

    def _announce(self, at_once: bool = False) -> None:
        if self._publish is None:
            return
        now = time.monotonic()
        if not at_once and now - self._published_at < PUBLISH_SECONDS:
            return
        before = self._latest
        snapshot = self._compose(scanning=not all(state.scanned for state in self._states.values()))
        if snapshot != before or not self._published_at:
            self._published_at = now
            self._publish(snapshot)

    def _watched_folders(self) -> list[Path]:
        """The workspace itself, and every folder of the trees in which configs lie."""
        root = self._settings.root
        trees = {root} if root in map(Path, self._config_folders()) else self._trees()
        return [
            folder
            for folder in self.catalogue.folders
            if folder == root or any(folder.is_relative_to(tree) for tree in trees)
        ]

    def _config_folders(self) -> set[str]:
        return {folder for config in self.catalogue.configs for folder in config.folders}

    def _trees(self) -> set[Path]:
        """The results folders, and what lies at the top of the workspace and holds configs."""
        root = self._settings.root
        trees = {self._settings.path(text) for text in self._settings.workspace.results}
        for folder in map(Path, self._config_folders()):
            if folder.is_relative_to(root):
                trees.add(root / folder.relative_to(root).parts[0])
            else:
                trees.add(folder)
        return trees
