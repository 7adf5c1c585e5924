"""The launcher: starts one runner, records how it ended, ends its whole process tree. It has no other work.

Run as `python -I -S launcher.py JOB_FOLDER` with the standard library alone, in a session of its own, so
that neither screen nor supervisor is needed by a running job. Files in the job's folder, each replaced
atomically:

    spec.json      read: argv, environment, cwd, log, marker, grace (seconds)
    launcher.json  written first: pid, start_time, place (where pids mean this)
    runner.json    written by the runner's process before it becomes the runner: pid, start_time, started
    exit.json      status, signal, error, started, ended, ran (seconds by a clock that nobody sets),
                   peak_memory (bytes), out_of_memory, swept, outlived, left

`exit.json` is written as soon as the runner has ended and again, with `swept`, once nothing of its process
tree is left; `outlived` counts the processes that had to be ended for that though nobody asked for a stop,
`left` those that would not end. SIGTERM stops the job: SIGTERM to the tree, the grace, SIGKILL. SIGINT cuts the grace short.
Standard output is closed when the runner has been started, which is how the supervisor hears of it. The
locks on job and GPUs are inherited descriptors: they stand for as long as launcher or runner live.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from typing import Any

if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120

from hitui.adapters import processes

SAMPLE_SECONDS = 2.0
OUTLIVE_SECONDS = 0.5
"""How long helpers of a runner have to see that it has ended, and to end by themselves."""
LEFTOVER_GRACE = 3.0
"""Seconds that processes which outlive their runner have between SIGTERM and SIGKILL."""
PR_SET_CHILD_SUBREAPER = 36
SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP}


def memory_kills() -> int:
    """How many processes the kernel has ended for lack of memory since it was started; 0 where it does not say."""
    try:
        with open("/proc/vmstat", "rb") as file:  # noqa: PTH123
            return next((int(line.split()[1]) for line in file if line.startswith(b"oom_kill ")), 0)
    except OSError:
        return 0


def write_json(folder: str, name: str, value: dict[str, Any]) -> None:
    """Replaces a file of the job's folder atomically; only its owner can read it."""
    beside = f"{folder}/{name}.{os.getpid()}"
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(value, file)
    os.replace(beside, f"{folder}/{name}")  # noqa: PTH105


class Launcher:
    """One job, from the fork to the last process of its tree."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        with open(f"{folder}/spec.json", encoding="utf-8") as file:  # noqa: PTH123
            self.spec = json.load(file)
        self.runner = 0
        self.ended = False
        self.hurry = False
        self.stopping = False
        self.stop_asked = False
        self.record: dict[str, Any] = {
            "status": None,
            "signal": None,
            "error": None,
            "swept": False,
            "outlived": 0,
            "left": 0,
        }
        self.peak = 0
        self.started = 0.0
        self.kills = memory_kills()

    def run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self._write_own_pid()
        self._start()
        next_sample = 0.0
        while not self.ended:
            if self.stopping:
                self._end_tree(float(self.spec["grace"]))
                # What even SIGKILL does not end hangs in the kernel; the job lives until that lets go.
                self.stopping = False
                continue
            if time.monotonic() >= next_sample:
                self._sample()
                next_sample = time.monotonic() + SAMPLE_SECONDS
            self._pause(SAMPLE_SECONDS)
        self.record["outlived"] = self._outlived()
        left = self._end_tree(float(self.spec["grace"]) if self.stopping else LEFTOVER_GRACE)
        # The sum over the tree is sampled; the runner's own highest the kernel knows, in KiB.
        usage = os.wait4(self.runner, os.WNOHANG)[2]
        self.record.update(swept=True, left=left, peak_memory=max(self.peak, usage.ru_maxrss * 1024))
        # Without this record nobody knows how the job ended: a full disk is waited out.
        while not self._write_record() and os.path.isdir(self.folder):  # noqa: PTH112
            signal.sigtimedwait(SIGNALS, SAMPLE_SECONDS)

    def _write_record(self) -> bool:
        try:
            write_json(self.folder, "exit.json", self.record)
        except OSError:
            return False
        return True

    def _write_own_pid(self) -> None:
        own = processes.find_process(os.getpid())
        write_json(
            self.folder,
            "launcher.json",
            {
                "pid": os.getpid(),
                "start_time": own.start_time if own else 0,
                "place": processes.place(),
            },
        )

    def _start(self) -> None:
        started_read, started_write = os.pipe()
        self.record["started"] = time.time()
        self.started = time.monotonic()
        self.runner = os.fork()
        if self.runner == 0:
            self._become_runner()
        # Whatever of the tree loses its parent becomes our child and is found at the end.
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        os.close(started_write)
        # The write end closes itself when the runner's program is executed.
        os.read(started_read, 1)
        os.close(started_read)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 1)
        os.close(nothing)

    def _become_runner(self) -> None:
        """In the child: writes who it is, then becomes the runner. Never returns."""
        try:
            os.setsid()
            spec = self.spec
            log = os.open(spec["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.chdir(spec["cwd"])
            own = processes.find_process(os.getpid())
            write_json(
                self.folder,
                "runner.json",
                {
                    "pid": os.getpid(),
                    "start_time": own.start_time if own else 0,
                    "started": self.record["started"],
                },
            )
            # Python ignores these; a runner must find them as any program does.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, set())
            os.execvpe(spec["argv"][0], spec["argv"], spec["environment"])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is why the job did not start
            where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
            reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
            self.record.update(error=f"{where}{reason}", status=127, ended=time.time())
            write_json(self.folder, "exit.json", self.record)
        finally:
            os._exit(127)

    def _pause(self, seconds: float) -> None:
        """Waits for a signal, at most `seconds`, and takes note of it and of children that ended."""
        information = signal.sigtimedwait(SIGNALS, seconds)
        number = information.si_signo if information else 0
        if number == signal.SIGTERM:
            self.stopping = self.stop_asked = True
        elif number == signal.SIGINT:
            self.stopping = self.stop_asked = self.hurry = True
        self._take_note_of_the_end()
        for pid in processes.children(os.getpid()):
            if pid != self.runner:
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    continue

    def _take_note_of_the_end(self) -> None:
        """Records how the runner ended. It stays a zombie, so that its pid, the session's, is not reused."""
        if self.ended:
            return
        how = os.waitid(os.P_PID, self.runner, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if how is None:
            return
        self.ended = True
        try:
            with open(f"{self.folder}/exit.json", encoding="utf-8") as file:  # noqa: PTH123
                self.record = json.load(file)
        except OSError:
            exited = how.si_code == os.CLD_EXITED
            self.record["status" if exited else "signal"] = how.si_status
            self.record["ended"] = time.time()
            self.record["ran"] = time.monotonic() - self.started
            # Between the last sample and now, so that it is hardly anyone else's.
            killed = how.si_code == os.CLD_KILLED and how.si_status == signal.SIGKILL
            self.record["out_of_memory"] = killed and not self.stop_asked and memory_kills() > self.kills
        self.record["peak_memory"] = self.peak or None
        self._write_record()

    def _members(self) -> set[processes.Process]:
        own = processes.find_process(os.getpid())
        return processes.members(self.spec["marker"], [own] if own else [], [self.runner])

    def _outlived(self) -> int:
        """How many processes go on although the runner has ended and nobody asked for a stop."""
        deadline = time.monotonic() + OUTLIVE_SECONDS
        while not self.stop_asked and (living := self._members()):
            if time.monotonic() > deadline:
                return len(living)
            self._pause(0.02)
        return 0

    def _end_tree(self, grace: float) -> int:
        return processes.end_all(self._members, grace, pause=self._pause, hurry=lambda: self.hurry)

    def _sample(self) -> None:
        self.kills = memory_kills()
        self.peak = max(self.peak, sum(map(processes.resident_bytes, processes.children(os.getpid()))))


if __name__ == "__main__":
    Launcher(sys.argv[1]).run()
