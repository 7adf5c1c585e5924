"""The sandbox in which the programs of Visualization answers run, each in one of its own.

What it promises: no network, nothing to read but the system's programs, the chart environment and one workbook,
nothing to write but a folder in memory with a size, limits on time, memory, processes and files, and nothing left
at the end, nor when this process is killed. It does not promise anything against a hole in the kernel. Where no walls
can be had, programs do not run, unless `without_walls` says that limits and closed system calls alone shall do: the
user's files can be read then.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import secrets
import shutil
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hitui_runners.realhitbench.charts import walls
from hitui_runners.realhitbench.charts.scratch import scratch_folder
from hitui_runners.realhitbench.charts.walls import BUBBLEWRAP, NAMESPACES, NONE, Inside, Opened
from hitui_runners.realhitbench.charts.watching import OVERTIME, STOPPED, Ended, mind

WORKBOOK = "/chart/table.xlsx"
"""What stands for its workbook in a program's code."""
_GUEST_FILE = Path(__file__).with_name("guest.py")
LIBRARIES = ("numpy", "pandas", "matplotlib", "openpyxl")
"""What chart programs use."""
_NOBODY = 65534
_FIRST_FREE_USER, _FREE_USERS = 2_000_000_000, 100_000_000
"""Numbers of users that are given to nobody."""
_KEPT_RESULT = 4 * 2**20
_KEPT_PRINTED = 64 * 1024
_KEPT_COMPLAINTS = 4 * 1024


class NoSandbox(Exception):
    """Programs cannot be run here; the message says why, and what to do."""


class SandboxBroke(Exception):
    """A program was not run, for a reason that is not its own; the message says which."""


@dataclass(frozen=True)
class Limits:
    """Of one program."""

    cpu_seconds: int = 15
    """Of each of its processes, the imports included."""
    seconds: float = 60.0
    """On the clock."""
    memory: int = 2 * 2**30
    """Bytes: address space of each process, and what all hold together."""
    processes: int = 16
    file_size: int = 64 * 2**20
    scratch: int = 256 * 2**20
    """Bytes in the temporary folder."""
    files: int = 10_000
    """In the temporary folder; each takes memory of the kernel's, however short it is."""


@dataclass(frozen=True)
class Program:
    """What is run."""

    code: str
    """Reads its workbook at `WORKBOOK`."""
    workbook: Path


@dataclass(frozen=True)
class Ran:
    """What became of one program."""

    ran: bool
    """To its end, without an exception."""
    values: Any = None
    """What is on its chart, as lists of numbers; None: `why` says why not."""
    printed: str = ""
    """The beginning of its stdout."""
    why: str = ""
    settled: bool = True
    """Whether it would end so again; not where the clock ended it, or something from outside."""


class Sandbox:
    """Runs programs. Made by `find_sandbox`; may be used by several threads."""

    def __init__(self, python: str, kind: str, limits: Limits) -> None:
        """Raises OSError and ValueError where the interpreter cannot be asked where it lives."""
        self.kind = kind
        self.limits = limits
        self.versions: Mapping[str, str | None] = {}
        self._inside = Inside(python, walls.folders_of(python), limits.scratch)
        self._fonts: Mapping[str, str] = {}
        self._stop = threading.Event()

    def with_limits(self, limits: Limits) -> Sandbox:
        """The same with others, of which what was read inside holds too; `stop` ends the programs of both."""
        other = copy.copy(self)
        other.limits = limits
        return other

    def stop(self) -> None:
        """Ends what runs, and lets nothing run any more; who waits for a program gets SandboxBroke."""
        self._stop.set()

    def look_inside(self) -> None:
        """Reads the versions, and what matplotlib needs to know of the fonts. Raises SandboxBroke."""
        # Whatever is imported for the first time takes its time.
        patient = replace(self.limits, cpu_seconds=120, seconds=300.0)
        ended, answer = self._answer(patient, [])
        if answer is None:
            raise SandboxBroke(_ending(ended))
        self.versions = answer["versions"]
        self._fonts = answer["fonts"]

    def run(self, program: Program, kind: str, before: Sequence[Program] = ()) -> Ran:
        """Runs a program, and reads from its chart what `kind` names: line, bar, scatter or pie.

        `before`: programs that run first in the same process, and whose figures stay open. Raises OSError where a
        workbook cannot be read, and SandboxBroke.
        """
        ended, answer = self._answer(self.limits, [*before, program], kind)
        printed = ended.printed.decode(errors="replace")
        if answer is None:
            settled = ended.overrun != OVERTIME and _signal_of(ended) != signal.SIGKILL
            return Ran(False, printed=printed, why=_ending(ended), settled=settled)
        return Ran(answer.get("ran") is True, answer.get("values"), printed, str(answer.get("why", "")))

    def _answer(
        self, limits: Limits, programs: Sequence[Program], kind: str = ""
    ) -> tuple[Ended, dict[str, Any] | None]:
        """How it ended, and what the guest says; None: it could not say it any more. Raises SandboxBroke."""
        secret = secrets.token_hex(32)
        inside = [f"/chart/table-{number}.xlsx" for number in range(len(programs))]
        user = _ordinary_user()
        with contextlib.ExitStack() as kept:
            folder, tell = "/", lambda group: None
            if self.kind == NONE:
                folder, tell = kept.enter_context(scratch_folder())
                inside = [f"{folder}/table-{number}.xlsx" for number in range(len(programs))]
                for path, program in zip(inside, programs, strict=True):
                    shutil.copyfile(program.workbook, path)
                    os.chmod(path, 0o444)  # noqa: PTH101
                if user is not None:
                    # Only now: whoever can write there could have made the workbook's name a link to anything.
                    os.chown(folder, user, user)
            codes = [
                program.code.replace(WORKBOOK, path) for path, program in zip(inside, programs, strict=True)
            ]
            job = {
                "secret": secret,
                "limits": asdict(limits),
                "user": user,
                "code": codes[-1] if codes else None,
                "kind": kind,
                "before": codes[:-1],
                "fonts": self._fonts,
            }
            shown = dict(zip(inside, (program.workbook for program in programs), strict=True))
            ended = self._run(limits, json.dumps(job).encode(), shown, folder, tell)
        if ended.overrun == STOPPED:
            raise SandboxBroke("it was asked to stop")
        lines = [line for line in ended.result.split(b"\n") if line.startswith(secret.encode())]
        if not lines:
            said = " ".join(ended.complaints.decode(errors="replace").split())[-300:]
            raise SandboxBroke(said or _ending(ended))
        if len(lines) != 2 or ended.overrun is not None:
            return ended, None
        try:
            answer = json.loads(lines[1][len(secret) :])
        except (ValueError, RecursionError):
            # A program that has found the secret can say anything.
            return ended, None
        return ended, answer if isinstance(answer, dict) else None

    def _run(
        self,
        limits: Limits,
        job: bytes,
        workbooks: Mapping[str, Path],
        folder: str,
        tell: Callable[[int], None],
    ) -> Ended:
        files: dict[str, int] = {}
        pipe: tuple[int, ...] = ()
        try:
            for place, path in {walls.GUEST: _GUEST_FILE, **workbooks}.items():
                files[place] = os.open(path, os.O_RDONLY)
            read_end, write_end = pipe = os.pipe()
            words = walls.command(self.kind, self._inside, Opened(files, write_end))
        except OSError:
            for descriptor in (*files.values(), *pipe):
                os.close(descriptor)
            raise
        return mind(
            words,
            job=job,
            environment=walls.environment(self.kind, folder),
            folder=folder,
            result=read_end,
            handed=(write_end, *files.values()),
            seconds=limits.seconds,
            memory=limits.memory,
            processes=limits.processes,
            files=limits.files,
            keep={"result": _KEPT_RESULT, "printed": _KEPT_PRINTED, "complaints": _KEPT_COMPLAINTS},
            stop=self._stop,
            tell=tell,
        )


def find_sandbox(
    python: str,
    limits: Limits = Limits(),
    *,
    kinds: Sequence[str] = (BUBBLEWRAP, NAMESPACES),
    without_walls: bool = False,
    needed: Sequence[str] = LIBRARIES,
) -> Sandbox:
    """The best sandbox that this machine has for programs of that interpreter.

    `kinds`: what is tried, in this order. `without_walls`: where none of these is to be had, limits alone do.
    Raises NoSandbox.
    """
    # Inside it has the same path, but not the same folder to start from.
    python = os.path.abspath(shutil.which(python) or python)  # noqa: PTH100 - a link of an environment stays one
    reasons: list[str] = []
    for kind in (*kinds, *([NONE] if without_walls else [])):
        why = walls.absent(kind)
        if why is None:
            try:
                sandbox = Sandbox(python, kind, limits)
            except (OSError, ValueError) as error:
                raise NoSandbox(f"{python}: {error}; name the Python of the chart environment") from error
            try:
                sandbox.look_inside()
            except (SandboxBroke, OSError) as error:
                why = str(error)
            else:
                absent = [name for name in needed if sandbox.versions[name] is None]
                if absent:
                    raise NoSandbox(
                        f"{python} lacks {', '.join(absent)}; install that there: {' '.join(LIBRARIES)}"
                    )
                return sandbox
        reasons.append(f"{kind}: {why}")
    raise NoSandbox(f"no sandbox can be had here ({'; '.join(reasons)}); install bubblewrap 0.7 or newer")


def _ordinary_user() -> int | None:
    """Whom root's guests become; None: who runs this is one.

    Each is another, where all can be had, because the number of processes is counted by user.
    """
    if os.geteuid() != 0:
        return None
    free = Path("/proc/self/uid_map").read_text().split()[-1] == "4294967295"
    return _FIRST_FREE_USER + secrets.randbelow(_FREE_USERS) if free else _NOBODY


def _ending(ended: Ended) -> str:
    """Why there is no answer."""
    if ended.overrun is not None:
        return f"more {ended.overrun} than allowed"
    number = _signal_of(ended)
    if number in (signal.SIGXCPU, signal.SIGKILL):
        return "more CPU time than allowed"
    return f"ended by signal {number}" if number > 0 else f"ended with status {ended.status}"


def _signal_of(ended: Ended) -> int:
    """The signal that ended it; zero or less: none did. Both kinds of walls tell of one as shells do."""
    return -ended.status if ended.status < 0 else ended.status - 128
