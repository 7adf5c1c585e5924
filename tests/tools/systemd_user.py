"""A living systemd of a user of its own, as `systemctl --user` has it: in namespaces, so that nothing outlives it.

It believes that it was started by a machine that systemd has booted (sd_booted(3)), and whatever is run `inside`
believes so too. Needs root, since a manager of units needs control groups.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hitui.adapters import processes
from tests.tools.eventually import eventually

_PROGRAM = "/lib/systemd/systemd"
_HIERARCHIES = (Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup"))
"""Where systemd keeps its groups, by version of cgroups(7)."""
_RUN = """
mount -t tmpfs tmpfs /run/systemd && mkdir /run/systemd/system && echo $$ > "$1/cgroup.procs" &&
"$2" --user --log-target=null
exit $?
"""


class UserSystemd:
    def __init__(self, pid: int, environment: Mapping[str, str]) -> None:
        self._pid = pid
        self._environment = environment

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end where this systemd is the user's."""
        enter = ["nsenter", "--target", str(self._pid), "--mount", "--pid", "--"]
        return subprocess.run([*enter, *command], env=dict(self._environment), capture_output=True, text=True)

    def control(self, *words: str) -> str:
        """What `systemctl --user` prints; its failure is the test's."""
        run = self.inside("systemctl", "--user", *words)
        assert run.returncode == 0, run.stderr
        return run.stdout.strip()


@contextmanager
def user_systemd(environment: Mapping[str, str]) -> Iterator[UserSystemd | None]:
    """One that runs in this environment, whose XDG_RUNTIME_DIR exists; None: none can be run here."""
    programs = (_PROGRAM, "nsenter", "unshare", "mount")
    group = _new_group() if all(map(shutil.which, programs)) else None
    if group is None:
        yield None
        return
    # The shell stays the first process of its namespace: as the first one systemd would be the machine's.
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    holder = subprocess.Popen(
        [*command, "sh", "-c", _RUN, "sh", str(group), _PROGRAM],
        env=dict(environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    socket = Path(environment["XDG_RUNTIME_DIR"]) / "systemd" / "private"
    try:
        eventually(lambda: socket.exists() or holder.poll() is not None, "systemd answers")
        if holder.poll() is not None:
            yield None
            return
        (pid,) = processes.children(holder.pid)
        yield UserSystemd(pid, environment)
    finally:
        if holder.poll() is None:
            holder.send_signal(signal.SIGKILL)
        holder.wait()
        eventually(lambda: _removed(group), f"{group} is empty")


def _new_group() -> Path | None:
    for home in _HIERARCHIES:
        group = home / f"hitui-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / "cgroup.procs").exists():
            return group
        group.rmdir()
    return None


def _removed(group: Path) -> bool:
    try:
        for folder in sorted(group.rglob("*/"), reverse=True):
            folder.rmdir()
        group.rmdir()
    except OSError:
        # A process of it is just about to end.
        return False
    return True
