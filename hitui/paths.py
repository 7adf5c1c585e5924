"""Where runtime state lies: on local disk, by the XDG folders, one folder a workspace.

Results lie in the workspace; nothing here does, because workspaces lie on network file systems where
SQLite's write-ahead log and sockets do not work.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

SETTINGS_NAME = "hitui.toml"


def state_home() -> Path:
    """`$XDG_STATE_HOME/hitui`, by default `~/.local/state/hitui`."""
    return (_named("XDG_STATE_HOME") or _home() / ".local" / "state") / "hitui"


def config_home() -> Path:
    """`$XDG_CONFIG_HOME`, by default `~/.config`: of all programs, systemd's user units among them."""
    return _named("XDG_CONFIG_HOME") or _home() / ".config"


def cache_home() -> Path:
    """`$XDG_CACHE_HOME/hitui`, by default `~/.cache/hitui`: what may be removed at any time."""
    return (_named("XDG_CACHE_HOME") or _home() / ".cache") / "hitui"


def kept_readings_home() -> Path:
    """Folder of what was read of results files, of all workspaces."""
    return cache_home() / "readings"


def chart_scores_file() -> Path:
    """What is remembered of charts that were scored, of all workspaces."""
    return cache_home() / "charts.jsonl"


def runtime_home() -> Path:
    """`$XDG_RUNTIME_DIR/hitui`; without that variable a folder of this user in the temporary folder."""
    runtime = _named("XDG_RUNTIME_DIR")
    return runtime / "hitui" if runtime else _own_temporary_folder()


def gpu_lock_home() -> Path:
    """Folder of the locks on GPUs that every hitui on this machine respects, whatever `TMPDIR` says, which each user sets as
    he likes; those on simulated GPUs, which have the same names for everybody, lie beside them."""
    simulated = _named("HITUI_SIMULATED_GPUS")
    beside = Path("/tmp/hitui-gpu-locks") if simulated is None else simulated / "locks"
    return _named("HITUI_GPU_LOCKS") or beside


def _named(variable: str) -> Path | None:
    """The folder that a variable names; None where it is unset, or relative and so to be passed over: it would be
    another one for each process that works elsewhere."""
    folder = os.environ.get(variable, "")
    return Path(folder) if folder.startswith("/") else None


def _home() -> Path:
    """The user's home; without one, as in a container that runs as a bare number, his temporary folder."""
    try:
        return Path.home()
    except RuntimeError:
        return _own_temporary_folder()


def _own_temporary_folder() -> Path:
    return _temporary_folder() / f"hitui-{os.getuid()}"


def _temporary_folder() -> Path:
    # Imported here, as in `RuntimePaths.of`: the first paint of the screen needs no runtime file.
    import tempfile

    return Path(tempfile.gettempdir())


class RuntimePaths(msgspec.Struct, frozen=True):
    """The runtime files of one workspace."""

    state: Path
    runtime: Path

    @classmethod
    def of(cls, workspace: Path) -> RuntimePaths:
        import hashlib

        real = workspace.resolve()
        digest = hashlib.sha256(os.fsencode(real)).hexdigest()[:12]
        return cls(state_home() / f"{real.name or 'root'}-{digest}", runtime_home() / digest)

    @property
    def database(self) -> Path:
        return self.state / "state.db"

    @property
    def supervisor_lock(self) -> Path:
        return self.state / "supervisor.lock"

    @property
    def supervisor_log(self) -> Path:
        return self.state / "supervisor.log"

    @property
    def socket(self) -> Path:
        return self.runtime / "supervisor.sock"

    @property
    def has_runtime_home(self) -> bool:
        """Not where what `$XDG_RUNTIME_DIR` names is not there, as before the first login and after the last one."""
        return os.path.lexists(self.runtime.parent.parent)

    @property
    def socket_elsewhere(self) -> Path:
        """Where the supervisor listens when there is no runtime home, and none can be made."""
        return _own_temporary_folder() / self.runtime.name / self.socket.name

    @property
    def socket_link(self) -> Path:
        """Leads to the socket of the supervisor that runs, also for whoever has another `$XDG_RUNTIME_DIR`."""
        return self.state / self.socket.name

    @property
    def sharers(self) -> str:
        """Whose jobs may share a GPU: this user's of this workspace."""
        return f"{os.getuid()}-{self.runtime.name}"

    def job(self, job_id: int) -> Path:
        """Folder of one job: its specification, log, event lines and how it ended."""
        return self.state / "jobs" / str(job_id)


def is_absent(path: Path) -> bool:
    """Whether there is surely nothing at `path`, no link either; not where it cannot be looked at."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def find_workspace(start: Path) -> tuple[Path, Path | None]:
    """The workspace that `start` belongs to, and its settings file.

    That is the nearest folder at or above `start` with a `hitui.toml`; without one, `start` itself. Above it, none counts
    that a stranger laid into a folder that all may write: who works below /tmp would run his commands.
    """
    start = start.resolve()
    for folder in (start, *start.parents):
        candidate = folder / SETTINGS_NAME
        if os.path.lexists(candidate) and (folder == start or not _is_a_strangers(candidate)):
            return folder, candidate
    return start, None


def _is_a_strangers(file: Path) -> bool:
    """Whether it lies where all may write, and is neither this user's, nor root's, nor that of the folder's owner."""
    try:
        owner, folder = file.lstat().st_uid, file.parent.stat()
    except OSError:
        return False
    return bool(folder.st_mode & stat.S_IWOTH) and owner not in (os.getuid(), 0, folder.st_uid)
