"""Says which folders changed: by inotify where it sees, by looking once a second where it does not.

inotify sees no change that another machine makes on a network file system, and a user has only so many
watches. What is said is a hint: the one who is told looks for himself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from hitui.adapters.files.look import Identity, identity_of, is_dir

POLL_SECONDS = 1.0
_MOST_WATCHES = 400
"""Folders; each costs a thread of watchdog, which sleeps."""
_UNSEEN_FILE_SYSTEMS = {
    "9p", "afs", "beegfs", "ceph", "cifs", "cvmfs", "davfs", "fhgfs", "glusterfs", "gpfs", "lustre",
    "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "pvfs2", "smb3", "smbfs", "vboxsf", "virtiofs", "wekafs",
}  # fmt: skip
_IGNORED_EVENTS = {"opened", "closed_no_write"}

# Without a handler its complaints about a race at the end would be printed over the screen.
logging.getLogger("watchdog").addHandler(logging.NullHandler())

Relevant = Callable[[str], bool]
"""Whether a file of that name matters."""


class Watcher:
    """Calls `on_change` with the folders in which something changed, from threads of its own."""

    def __init__(
        self,
        on_change: Callable[[frozenset[Path]], None],
        relevant: Relevant,
        make_observer: Callable[[], Any] = Observer,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._on_change = on_change
        self._relevant = relevant
        self._make_observer = make_observer
        self._poll_seconds = poll_seconds
        self._observer: Any = None
        self._poller: _Poller | None = None
        self._handler = _Handler(on_change, relevant)
        self._watches: dict[Path, tuple[Any, Identity | None]] = {}
        """Folder → its watch, and which folder that path was when the watch began."""

    @property
    def polls(self) -> bool:
        """True when inotify is not used."""
        return self._poller is not None

    def watch(self, folders: Iterable[Path]) -> bool:
        """From now on watches these folders, each by itself, not what lies deeper in them.

        A folder that another one has replaced is watched anew: a watch stays with the folder that it began
        with, wherever that went. True when some were added: what came into them before that moment was not
        said.
        """
        wanted = tuple(dict.fromkeys(folders))
        if self._poller is None:
            self._drop_replaced()
        added = not set(wanted) <= self._watches.keys()
        if self._poller is None and not self._observe(wanted):
            self._stop_observer()
            self._poller = _Poller(self._on_change, self._relevant, self._poll_seconds)
            self._poller.start()
        if self._poller is not None:
            added = self._poller.follow(wanted)
        return added

    def close(self) -> None:
        self._stop_observer()
        if self._poller is not None:
            self._poller.stop()

    def _observe(self, folders: Sequence[Path]) -> bool:
        """Watches the folders by inotify; False when that is blind here, or the system allows no more of it.

        Each folder is scheduled by itself: watchdog's own recursion warns and loses folders when some are
        made and removed quickly, and would enter environments and hidden folders.
        """
        new = [folder for folder in folders if folder not in self._watches]
        if len(folders) > _MOST_WATCHES or any(not inotify_sees(folder) for folder in new):
            return False
        try:
            if self._observer is None:
                self._observer = self._make_observer()
                self._observer.daemon = True
                self._observer.start()
            for folder in self._watches.keys() - set(folders):
                self._unwatch(folder)
            for folder in new:
                # Before the watch begins: if it is replaced in between, the next call sees it.
                identity = identity_of(folder)
                with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                    self._watches[folder] = self._observer.schedule(self._handler, str(folder)), identity
        except OSError:
            return False
        return True

    def _drop_replaced(self) -> None:
        """Gives up the watches of folders that went, though another of that name may be there now."""
        # A new folder often gets the inode of the one that was just removed, so the events count as well.
        gone = self._handler.take_gone()
        for folder, (_, identity) in tuple(self._watches.items()):
            if str(folder) in gone or identity_of(folder) != identity:
                self._unwatch(folder)

    def _unwatch(self, folder: Path) -> None:
        # Of a removed folder watchdog has given the watch up already.
        with contextlib.suppress(KeyError):
            self._observer.unschedule(self._watches.pop(folder)[0])

    def _stop_observer(self) -> None:
        observer, self._observer = self._observer, None
        self._watches.clear()
        if observer is not None and observer.is_alive():
            observer.stop()
            observer.join(timeout=2)


class _Handler(FileSystemEventHandler):
    def __init__(self, on_change: Callable[[frozenset[Path]], None], relevant: Relevant) -> None:
        self._on_change = on_change
        self._relevant = relevant
        self._lock = threading.Lock()
        self._gone: set[str] = set()

    def take_gone(self) -> set[str]:
        """Folders that were removed or renamed since the last call."""
        with self._lock:
            gone, self._gone = self._gone, set()
        return gone

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in _IGNORED_EVENTS:
            return
        if event.is_directory and event.event_type == "modified":
            return
        if event.is_directory and event.event_type in ("deleted", "moved"):
            with self._lock:
                self._gone.add(os.fsdecode(event.src_path))
        paths = [Path(os.fsdecode(path)) for path in (event.src_path, event.dest_path) if path]
        folders = frozenset(path.parent for path in paths if event.is_directory or self._relevant(path.name))
        if folders:
            self._on_change(folders)


class _Poller(threading.Thread):
    """Lists the folders again and again; nothing but names, inodes, sizes and times."""

    def __init__(
        self, on_change: Callable[[frozenset[Path]], None], relevant: Relevant, seconds: float
    ) -> None:
        super().__init__(name="folder poller", daemon=True)
        self._on_change = on_change
        self._relevant = relevant
        self._seconds = seconds
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._seen: dict[Path, object] = {}

    def follow(self, folders: Sequence[Path]) -> bool:
        """Looks at what is new among the folders at once; True when there was any."""
        with self._lock:
            new = {folder: self._look(folder) for folder in folders if folder not in self._seen}
            self._seen = {folder: new[folder] if folder in new else self._seen[folder] for folder in folders}
        return bool(new)

    def stop(self) -> None:
        self._stopped.set()

    def run(self) -> None:
        while not self._stopped.wait(self._seconds):
            with self._lock:
                seen = {folder: self._look(folder) for folder in self._seen}
                changed = frozenset(folder for folder in seen if self._seen[folder] != seen[folder])
                self._seen = seen
            if changed:
                self._on_change(changed)

    def _look(self, folder: Path) -> object:
        found = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if is_dir(entry.path):
                        found.append((entry.name, entry.inode(), 0, 0))
                    elif self._relevant(entry.name):
                        with contextlib.suppress(OSError):
                            status = entry.stat()
                            found.append((entry.name, status.st_ino, status.st_size, status.st_mtime_ns))
        except OSError as error:
            return error.errno
        return sorted(found)


def inotify_sees(path: Path, mounts: Path = Path("/proc/mounts")) -> bool:
    """Whether changes by others in `path` come as inotify events: not so on network file systems.

    `mounts` has the format of proc(5): device, mount point, type, … with \\040 for a space.
    """
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return True
    real = str(path.resolve())
    best, kind = "", ""
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        # Of two mounts on one point the later one is seen.
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind not in _UNSEEN_FILE_SYSTEMS and not kind.startswith("fuse.")
