"""A queue of 10,000 jobs over 1,000 configs, and 64 runners that talk: limits and a reference for each.

Aims: a decision under 10 ms; `hitui ls` under 300 ms; the supervisor under 0.5 % of a core and 80 MiB while
nothing happens, under 5 % while 64 runners print 1,000 lines a second each (it never touches the lines).
"""

from __future__ import annotations

import asyncio
import compileall
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

import hitui
from hitui.domain.gpus import Gpu, GpuSnapshot
from hitui.domain.jobs import JobRequest
from hitui.paths import RuntimePaths
from hitui.services.jobs import JobsService
from hitui.settings import load_settings
from hitui.supervisor.keeper import Keeper
from hitui.supervisor.launches import Launches
from hitui.supervisor.scheduler import Scheduler
from hitui.supervisor.store import Store
from tests.tools.benchmark import harbours
from tests.tools.eventually import eventually
from tests.tools.sandbox import GIB, write_gpus

JOBS, CONFIGS, QUESTIONS, RUNNERS = 10_000, 1_000, 100, 64
NEEDS = 200
"""So many configs ask for another amount of GPU memory than all others."""
ON_ONE_CONFIG = 2_000
WATCHERS = 3
LINES_A_SECOND = 1_000
OBSERVED_SECONDS = 10.0
TALKING_SECONDS = int(OBSERVED_SECONDS) + 15
TALK = (
    "import sys, time\n"
    "begun = time.monotonic()\n"
    f"for tenth in range(1, {TALKING_SECONDS * 10} + 1):\n"
    f"    print('a line of a log\\n' * {LINES_A_SECOND // 10}, end='', flush=True)\n"
    "    time.sleep(max(0, begun + tenth / 10 - time.monotonic()))\n"
)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="hb-") as temporary, pytest.MonkeyPatch.context() as patch:
        folder = Path(temporary)
        for name in ("STATE_HOME", "RUNTIME_DIR", "CACHE_HOME"):
            (folder / name[0]).mkdir()
            patch.setenv(f"XDG_{name}", str(folder / name[0]))
        patch.setenv("HITUI_SIMULATED_GPUS", str(folder / "gpus"))
        patch.setenv("HITUI_GPU_LOCKS", str(folder / "locks"))
        write_gpus(folder / "gpus", 8)
        root = folder / "workspace"
        _make_workspace(root)
        _submit(folder)
        RuntimePaths.of(root).state.mkdir(parents=True)
        _decide(root)
        _write_settings(root, ["/bin/true"], _distinct_needs())
        _decide(root)
        _write_settings(root, ["/bin/true"])
        _list(root, "the supervisor down")
        _occupy(folder / "gpus")
        _idle(root, folder / "gpus")
        _talk(root, folder / "gpus")


def _make_workspace(root: Path) -> None:
    harbours(root, QUESTIONS)
    for number in range(CONFIGS):
        output = root / "result" / f"group{number // 10}" / f"text_html_{number}"
        output.mkdir(parents=True)
        results = [
            {"id": task, "Prediction": "[Final Answer]: 1", "ProcessingTime": 1.5}
            for task in range(1, QUESTIONS - number % 7)
        ]
        (output / "results.json").write_text(json.dumps({"results": results}))
    _write_settings(root, ["/bin/true"])


def _write_settings(root: Path, command: list[str], rest: str = "") -> None:
    (root / "hitui.toml").write_text(
        '[workspace]\nresults = ["result"]\nquestions = "questions.json"\ndata = "data"\nrunner = "x"\n'
        '[gpus]\nmin_free = "20GiB"\nhold = "0s"\n[queue]\nretries = 0\n'
        f"[runner.x]\ncommand = {json.dumps(command)}\n{rest}"
    )


def _requests() -> list[JobRequest]:
    names = [f"group{number // 10}/text_html_{number}" for number in range(CONFIGS)]
    return [JobRequest(names[number % CONFIGS], ids=(number // CONFIGS,)) for number in range(JOBS)]


def _distinct_needs() -> str:
    return "".join(
        f'[[config]]\nname = "group{number // 10}/text_html_{number}"\nmin_free = "{20 * 1024 + number}MiB"\n'
        for number in range(NEEDS)
    )


def _submit(folder: Path) -> None:
    """Many jobs on one config, each for a task of its own; the reference is half as many."""
    seconds = []
    for count in (ON_ONE_CONFIG // 2, ON_ONE_CONFIG):
        store = Store(folder / f"{count}.db")
        requests = [JobRequest("x", ids=(number,)) for number in range(count)]
        begun = time.perf_counter()
        store.submit(requests, {})
        seconds.append(time.perf_counter() - begun)
        store.close()
    print(
        f"{ON_ONE_CONFIG} jobs submitted on one config: {seconds[1] * 1000:.0f} ms, "
        f"{seconds[1] / seconds[0]:.1f} times half as many (aim: 2)"
    )


def _decide(root: Path) -> None:
    """The time of one look at a queue of which nothing can start; the reference only counts the jobs' groups."""
    paths = RuntimePaths.of(root)
    store = Store(paths.database)
    if not store.active():
        store.submit(_requests(), dict(os.environ))
    launches = Launches(root)
    keeper = Keeper(store, paths, lambda: None)
    scheduler = Scheduler(store, launches, keeper, paths, lambda: None)
    busy = tuple(
        Gpu(
            index=index,
            uuid=f"GPU-{index}",
            name="busy",
            memory_total=80 * GIB,
            memory_free=GIB,
            utilization=99,
        )
        for index in range(8)
    )

    async def look() -> list[float]:
        times = []
        for _ in range(8):
            scheduler.observe(GpuSnapshot(time.time(), "simulated", busy))
            begun = time.perf_counter()
            await scheduler.look()
            times.append(time.perf_counter() - begun)
        return times[1:]

    times = asyncio.run(look())
    reference = []
    for _ in range(7):
        begun = time.perf_counter()
        groups: dict[str, int] = {}
        for job in store.queued():
            groups[job.schedule.group] = groups.get(job.schedule.group, 0) + 1
        reference.append(time.perf_counter() - begun)
    decision, counting = statistics.median(times), statistics.median(reference)
    needs = len(set(launches.needs(store.queued()).values()))
    store.close()
    print(
        f"decision over {JOBS} jobs with {needs} distinct needs: {decision * 1000:.1f} ms (aim: < 10), "
        f"{decision / counting:.1f} times a loop that counts them"
    )


def _list(root: Path, beside: str) -> None:
    """The whole command, against an interpreter that does nothing."""
    compileall.compile_dir(Path(hitui.__file__).parent, quiet=1)
    command = [str(Path(sys.executable).with_name("hitui")), "-w", str(root), "ls"]
    listing = _fastest(command)
    bare = _fastest([sys.executable, "-c", "pass"])
    print(
        f"`hitui ls` of {CONFIGS} configs and {JOBS} queued jobs, {beside}: {listing * 1000:.0f} ms (aim: < 300), "
        f"{listing / bare:.1f} times a bare interpreter"
    )


def _fastest(command: list[str]) -> float:
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - begun)
    return min(times)


def _occupy(gpus: Path) -> None:
    known = json.loads((gpus / "gpus.json").read_text())
    for gpu in known["gpus"]:
        gpu |= {"memory_used": 79 * GIB, "utilization": 99}
    (gpus / "gpus.json").write_text(json.dumps(known))


def _idle(root: Path, gpus: Path) -> None:
    service = _service(root)
    pid = service.ensure_supervisor()
    # Its first look reads what each config needs.
    eventually(
        lambda: getattr(service.client.jobs().jobs[-1].state, "waits_for", ""), "the queue was looked at", 30
    )
    share, memory = _observe(pid)
    print(
        f"supervisor with {JOBS} queued jobs: {share:.2f} % of a core (aim: < 0.5), {memory:.0f} MiB (aim: < 80)"
    )
    over = threading.Event()
    varying = threading.Thread(target=_vary_use, args=(gpus, over))
    varying.start()
    share, memory = _observe(pid)
    print(f"  where all GPUs are used otherwise each second: {share:.2f} % of a core, {memory:.0f} MiB")
    watches = [service.client.open_watch() for _ in range(WATCHERS)]
    for watch in watches:
        threading.Thread(
            target=lambda snapshots: [None for _ in snapshots], args=(watch,), daemon=True
        ).start()
    share, memory = _observe(pid)
    print(f"  and {WATCHERS} screens watch that: {share:.2f} % of a core, {memory:.0f} MiB")
    for watch in watches:
        watch.close()
    over.set()
    varying.join()
    _list(root, "the supervisor up")
    service.client.shut_down()


def _vary_use(gpus: Path, over: threading.Event) -> None:
    for number in itertools.count():
        if over.wait(0.9):
            break
        known = json.loads((gpus / "gpus.json").read_text())
        for gpu in known["gpus"]:
            gpu["utilization"] = 90 + number % 10
        beside = gpus / "beside"
        beside.write_text(json.dumps(known))
        beside.replace(gpus / "gpus.json")


def _talk(root: Path, gpus: Path) -> None:
    """Runners that need no GPU, each printing into its own log until it has said all it has to say."""
    _write_settings(root, [sys.executable, "-S", "-c", TALK], 'min_free = "0B"\n')
    for path in RuntimePaths.of(root).state.glob("state.db*"):
        path.unlink()
    service = _service(root)
    pid = service.ensure_supervisor()
    service.submit([JobRequest(f"group{number // 10}/text_html_{number}") for number in range(RUNNERS)])

    def running() -> bool:
        return sum(job.word == "running" for job in service.client.jobs().jobs) == RUNNERS

    eventually(running, "all runners run", 60)
    share, memory = _observe(pid)
    together = running()
    eventually(lambda: not any(job.active for job in service.client.jobs().jobs), "all have ended", 120)
    said = RUNNERS * TALKING_SECONDS * LINES_A_SECOND
    lines = sum(len(Path(job.log).read_bytes().splitlines()) for job in service.client.jobs().jobs)
    service.client.shut_down()
    print(
        f"supervisor beside {RUNNERS} runners: {share:.2f} % of a core (aim: < 5), {memory:.0f} MiB; "
        f"{lines} of the {said} lines they printed are in their logs (aim: all)"
        + ("" if together else "; not all of them talked for as long as that was measured")
    )


def _service(root: Path) -> JobsService:
    return JobsService(load_settings(root, root / "hitui.toml"), RuntimePaths.of(root))


def _observe(pid: int) -> tuple[float, float]:
    """Percent of a core over some seconds, and MiB of resident memory, of a process."""
    before, begun = _cpu_seconds(pid), time.monotonic()
    time.sleep(OBSERVED_SECONDS)
    share = (_cpu_seconds(pid) - before) / (time.monotonic() - begun) * 100
    status = Path(f"/proc/{pid}/status").read_text()
    memory = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024
    return share, memory


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
