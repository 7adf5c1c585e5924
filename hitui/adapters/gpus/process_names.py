"""User and command of the processes that hold GPU memory, from /proc.

A driver gives pids only. A pid is looked up once: what was found holds while the process is the same.
Drivers in containers may give pids of another namespace: those are nobody here, and stay without user and
command.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from hitui.adapters.processes import Process, find_process, user_name
from hitui.domain.gpus import GpuProcess

COMMAND_LENGTH = 400
"""Characters of a command that are kept; some carry whole prompts."""


class _Known(NamedTuple):
    process: Process
    user: str | None
    command: str | None


class ProcessNames:
    """Names processes; made for one thread."""

    def __init__(
        self, proc: Path = Path("/proc"), find: Callable[[int], Process | None] = find_process
    ) -> None:
        self._proc = proc
        self._find = find
        self._known: dict[int, _Known] = {}
        self._users: dict[int, str] = {}

    def describe(self, pid: int) -> tuple[str | None, str | None]:
        """User and command; (None, None) when no such pid is here or its files may not be read."""
        process = self._find(pid)
        if process is None:
            self._known.pop(pid, None)
            return None, None
        known = self._known.get(pid)
        if known is None or known.process != process:
            words = self._words(pid)
            known = _Known(process, self._user(pid), self._name(pid) if words == "" else words)
            if words != "":
                self._known[pid] = known
        return known.user, known.command

    def forget_all_but(self, pids: Iterable[int]) -> None:
        """Drops what is known of processes that no GPU lists any more."""
        wanted = set(pids)
        self._known = {pid: known for pid, known in self._known.items() if pid in wanted}

    def _user(self, pid: int) -> str | None:
        try:
            status = (self._proc / str(pid) / "status").read_text(errors="replace")
        except OSError:
            return None
        line = next((line for line in status.splitlines() if line.startswith("Uid:")), None)
        if line is None:
            return None
        number = int(line.split()[1])
        name = self._users.get(number)
        if name is None:
            name = self._users[number] = user_name(number)
        return name

    def _words(self, pid: int) -> str | None:
        """Its command line; empty where it has none, or none yet."""
        try:
            words = (self._proc / str(pid) / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        except OSError:
            return None
        return printable(b" ".join(words).decode(errors="replace"))[:COMMAND_LENGTH]

    def _name(self, pid: int) -> str | None:
        try:
            name = (self._proc / str(pid) / "comm").read_bytes().strip()
        except OSError:
            return None
        return f"[{printable(name.decode(errors='replace'))}]"


def session_of(pid: int) -> int | None:
    """The session's id; None when no such pid is here."""
    try:
        return os.getsid(pid)
    except OSError:
        return None


def printable(text: str) -> str:
    """Control characters replaced by spaces: a process writes its own command line, escapes included."""
    return "".join(character if character.isprintable() else " " for character in text)


def merged(
    by_kind: Mapping[str, Iterable[tuple[int, int | None]]], names: ProcessNames
) -> tuple[GpuProcess, ...]:
    """One entry a pid from lists of (pid, bytes) by kind, largest first.

    A process that stands in several lists has the same memory in each, so the larger is taken.
    """
    kinds: dict[int, list[str]] = {}
    memory: dict[int, int | None] = {}
    for kind, entries in by_kind.items():
        for pid, held in entries:
            if kind not in kinds.setdefault(pid, []):
                kinds[pid].append(kind)
            known = memory.get(pid)
            memory[pid] = held if known is None else max(known, held or 0)
    described = [
        GpuProcess(pid, memory[pid], "+".join(kinds[pid]), *names.describe(pid), session_of(pid))
        for pid in kinds
    ]
    return tuple(sorted(described, key=lambda process: (-(process.memory or 0), process.pid)))
