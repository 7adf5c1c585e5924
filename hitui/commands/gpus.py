"""`hitui gpus`: the GPUs as the driver sees them, and which of them jobs may use."""

from __future__ import annotations

import argparse
import json
import queue
import shutil
import sys
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from hitui.commands.saying import warn
from hitui.domain.claims import Claim
from hitui.domain.gpus import Gpu, GpuProcess, GpuSnapshot
from hitui.domain.jobs import JobsSnapshot
from hitui.domain.placement import GpuRules, Need, hindrance
from hitui.domain.waiting_words import gibibytes
from hitui.errors import HituiError
from hitui.factory import Services, build_services
from hitui.supervisor.needs import gpu_rules

READ_TIMEOUT = 10.0
"""Seconds until one reading is given up."""
_HOME_AND_CLEAR = "\x1b[H\x1b[J"
_NAME_WIDTH = 18


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="print one object; with --watch one line a reading"
    )
    parser.add_argument("--watch", action="store_true", help="read again each second, until Ctrl-C")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=READ_TIMEOUT,
        metavar="SECONDS",
        help="give a driver that does not answer up after this long (default: %(default)g)",
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when a driver (or a simulation) answered, 1 with one line on stderr when none did."""
    services = build_services(arguments.workspace)
    if arguments.watch:
        _watch(services, arguments.json)
    snapshot = services.gpus.read_once(arguments.timeout)
    described = _describe(services, snapshot)
    if arguments.json:
        print(json.dumps(described, indent=2))
    elif snapshot.error is None:
        print("\n".join(table(snapshot, described)))
    if snapshot.error is not None:
        warn(snapshot.error)
        return 1
    return 0


def _watch(services: Services, as_json: bool) -> None:
    """Prints every reading; ends by KeyboardInterrupt, or when nobody reads what it prints."""
    redraw = sys.stdout.isatty() and not as_json
    readings: queue.SimpleQueue[GpuSnapshot] = queue.SimpleQueue()
    services.gpus.start(readings.put)
    try:
        while True:
            snapshot = readings.get()
            described = _describe(services, snapshot)
            lines = [json.dumps(described)] if as_json else [*table(snapshot, described), ""]
            if redraw:
                lines = [_HOME_AND_CLEAR + lines[0], *lines[1:]]
            print("\n".join(lines), flush=True)
    finally:
        services.gpus.close()


def _describe(services: Services, snapshot: GpuSnapshot) -> dict[str, Any]:
    try:
        jobs = services.jobs.read_once()
    except HituiError as error:
        # Who holds a GPU is then not known; what the driver says of it still is.
        warn(error)
        jobs = JobsSnapshot()
    return as_object(snapshot, jobs, services.settings.gpus.min_free_bytes, gpu_rules(services.settings))


def as_object(snapshot: GpuSnapshot, jobs: JobsSnapshot, needed: int, rules: GpuRules) -> dict[str, Any]:
    """What `--json` prints. Memory in bytes, power in watts, temperature in °C, time since the epoch.

    `free_for_jobs` is of this moment, for a job that needs `needed` free bytes; the hold time is not
    waited for. `not_free_because` says why not; `lock` whose hitui's lock stands on it, where it is none of ours and can
    be seen. `jobs` are all that are on it, `held_by` the first of them.
    """
    return {
        "source": snapshot.source,
        "driver": snapshot.driver,
        "taken_at": snapshot.taken_at,
        "error": snapshot.error,
        "gpus": [_gpu_object(gpu, jobs, needed, rules) for gpu in snapshot.gpus],
    }


def _gpu_object(gpu: Gpu, jobs: JobsSnapshot, needed: int, rules: GpuRules) -> dict[str, Any]:
    holders = [job.id for job in jobs.holders_of(gpu.uuid)] if gpu.uuid else []
    claims = {gpu.uuid: [Claim(number) for number in holders]}
    reason = hindrance(gpu, Need(needed), rules, claims)
    # That of a job of ours is told by the job.
    lock = None if holders else gpu.lock
    return {
        "index": gpu.index,
        "uuid": gpu.uuid,
        "name": gpu.name,
        "memory_total": gpu.memory_total,
        "memory_used": gpu.memory_used,
        "memory_free": gpu.memory_free,
        "utilization": gpu.utilization,
        "temperature": gpu.temperature,
        "power": gpu.power,
        "power_limit": gpu.power_limit,
        "processes": [_process_object(process) for process in gpu.processes],
        "mig_index": gpu.mig_index,
        "mig_parent": gpu.mig_parent,
        "mig_enabled": gpu.mig_enabled,
        "held_by": holders[0] if holders else None,
        "jobs": holders,
        "free_for_jobs": not reason,
        "not_free_because": reason or None,
        "lock": None
        if lock is None
        else {"pid": lock.pid, "user": lock.user, "workspace": lock.workspace or None},
        "error": gpu.error,
    }


def _process_object(process: GpuProcess) -> dict[str, Any]:
    return {
        "pid": process.pid,
        "memory": process.memory,
        "kind": process.kind,
        "user": process.user,
        "command": process.command,
    }


def table(snapshot: GpuSnapshot, described: dict[str, Any]) -> list[str]:
    """Lines: the GPUs, then the processes on them; an error or a simulation is said above."""
    lines = []
    if snapshot.error is not None:
        lines.append(snapshot.error)
    elif snapshot.source != "nvml":
        lines.append(f"these GPUs are {snapshot.source}")
    if not snapshot.gpus:
        return lines or ["the driver lists no GPU"]
    headings = ("GPU", "name", "memory used", "util", "temp", "power", "for jobs")
    rows = [
        _gpu_row(gpu, entry["not_free_because"])
        for gpu, entry in zip(snapshot.gpus, described["gpus"], strict=True)
    ]
    lines += _aligned([headings, *rows], right=(0, 2, 3, 4, 5))
    processes = [
        (gpu.label, str(process.pid), process.user or "?", _size(process.memory), process.command or "?")
        for gpu in snapshot.gpus
        for process in gpu.processes
    ]
    if processes:
        lines += ["", *_aligned([("GPU", "pid", "user", "memory", "command"), *processes], right=(0, 1, 3))]
    return _cut(lines)


def _gpu_row(gpu: Gpu, reason: str | None) -> tuple[str, ...]:
    # A MIG device stands behind its GPU, so of its name only the profile is new.
    name = gpu.name.removeprefix("NVIDIA ") if gpu.mig_index is None else gpu.name[gpu.name.find("MIG ") :]
    name = name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 1] + "…"
    if gpu.error is not None and gpu.silent:
        return (gpu.label, name, gpu.error)
    used, total = _gib(gpu.memory_used), _gib(gpu.memory_total)
    return (
        gpu.label,
        name,
        f"{used}/{total} GiB",
        "-" if gpu.utilization is None else f"{gpu.utilization}%",
        "-" if gpu.temperature is None else f"{gpu.temperature}°C",
        "-" if gpu.power is None else f"{gpu.power:.0f} W",
        gpu.error or _short(reason),
    )


def _short(reason: str | None) -> str:
    if reason is None:
        return "free"
    return f"only {reason[4:]} free" if reason.startswith("has ") else reason.removeprefix("is ")


def _gib(size: int | None) -> str:
    return "?" if size is None else f"{size / 1024**3:.1f}"


def _size(size: int | None) -> str:
    return "?" if size is None else gibibytes(size)


def _aligned(rows: Sequence[Sequence[str]], right: Iterable[int]) -> list[str]:
    """Columns two spaces apart; a row that is shorter ends in free text and widens no column."""
    count = max(len(row) for row in rows)
    widths = [max(len(row[column]) for row in rows if len(row) == count) for column in range(count)]
    widths[:2] = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = []
    for row in rows:
        cells = [
            cell
            if column == len(row) - 1
            else cell.rjust(widths[column])
            if column in right
            else cell.ljust(widths[column])
            for column, cell in enumerate(row)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _cut(lines: list[str]) -> list[str]:
    """On a terminal, lines that fit it; into a file or pipe, whole ones."""
    if not sys.stdout.isatty():
        return lines
    width = shutil.get_terminal_size().columns
    return [line if len(line) <= width else line[: width - 1] + "…" for line in lines]


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    # A thread waits no longer than that; NaN is above nothing.
    if not 0 < seconds <= threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"a number of seconds above 0 is expected, not {text!r}")
    return seconds
