"""Each limit of a chart's program, in every kind of sandbox: what breaks it ends, and nothing is left of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hitui_runners.realhitbench.charts.sandbox import Sandbox

from tests.runners.charts import (
    MIB,
    open_folder,
    run,
    sandbox,
    stub_python,
    workbook,
)

__all__ = ["open_folder", "sandbox", "stub_python", "workbook"]


def with_limits(sandbox: Sandbox, **limits: float) -> Sandbox:
    return sandbox.with_limits(replace(sandbox.limits, **limits))


def test_temporary_files_have_a_limit_each_and_together(sandbox: Sandbox, workbook: Path) -> None:
    code = """
    written = 0
    for number in range(100):
        with open(f"/tmp/{number}", "wb", buffering=0) as file:
            try:
                while True:
                    written += file.write(b"x" * 2**20)
            except OSError as error:
                if number == 0:
                    print(written // 2**20)
                elif error.errno == 28:
                    break
    print(written // 2**20)
    """
    each, together = run(sandbox, code, workbook).printed.split()
    assert int(each) * MIB == sandbox.limits.file_size
    assert sandbox.limits.file_size < int(together) * MIB <= sandbox.limits.scratch


def test_forks_without_end_come_to_one(sandbox: Sandbox, workbook: Path) -> None:
    code = """
    import os, time
    count = 1
    while True:
        try:
            if os.fork() == 0:
                time.sleep(1000)
        except BlockingIOError:
            break
        count += 1
    print(count)
    """
    ran = run(sandbox, code, workbook)
    assert ran.ran
    assert 1 < int(ran.printed) <= sandbox.limits.processes
    bomb = run(sandbox, "import os\nwhile True:\n    os.fork()", workbook)
    assert (bomb.ran, bomb.why.split(":")[0]) == (False, "BlockingIOError")


def test_memory_has_a_limit_for_each_process(sandbox: Sandbox, workbook: Path) -> None:
    code = f"""
    import resource
    for kind in ("AS", "CPU", "FSIZE", "NPROC", "NOFILE", "CORE"):
        print(*resource.getrlimit(getattr(resource, "RLIMIT_" + kind)))
    x = bytearray({sandbox.limits.memory})
    """
    ran = run(sandbox, code, workbook)
    assert (ran.ran, ran.why) == (False, "MemoryError")
    # None can be raised; who ignores the signal at the end of its CPU time is killed a second later.
    assert ran.printed.splitlines() == [
        f"{sandbox.limits.memory} {sandbox.limits.memory}",
        f"{sandbox.limits.cpu_seconds} {sandbox.limits.cpu_seconds + 1}",
        f"{sandbox.limits.file_size} {sandbox.limits.file_size}",
        f"{sandbox.limits.processes} {sandbox.limits.processes}",
        "128 128",
        "0 0",
    ]


def test_memory_has_a_limit_for_all_processes_together(sandbox: Sandbox, workbook: Path) -> None:
    code = """
    import os, threading, time
    def take(os=os, time=time):
        # The kernel tells of the children of each thread apart.
        for number in range(3):
            if os.fork() == 0:
                kept = bytearray(b"x") * (400 * 2**20)
                time.sleep(1000)
        time.sleep(1000)
    threading.Thread(target=take).start()
    time.sleep(1000)
    """
    ran = run(sandbox, code, workbook)
    assert (ran.ran, ran.why) == (False, "more memory than allowed")


def test_memory_that_no_process_is_charged_for_cannot_be_had(sandbox: Sandbox, workbook: Path) -> None:
    code = """
    import mmap, os
    for take, words in ((os.memfd_create, ("x",)), (mmap.mmap, (-1, 2**20))):
        try:
            take(*words)
            print(take)
        except OSError as error:
            print(error.errno)
    """
    assert run(sandbox, code, workbook).printed == "1\n1\n"


def test_a_loop_without_end_is_ended(sandbox: Sandbox, workbook: Path) -> None:
    ran = run(with_limits(sandbox, cpu_seconds=1), "while True: pass", workbook)
    assert (ran.ran, ran.why) == (False, "more CPU time than allowed")


def test_a_program_that_sleeps_is_ended(sandbox: Sandbox, workbook: Path) -> None:
    ran = run(with_limits(sandbox, seconds=2), "import time\ntime.sleep(1000)", workbook)
    assert (ran.ran, ran.why) == (False, "more time than allowed")


def test_of_endless_output_only_the_beginning_is_kept(sandbox: Sandbox, workbook: Path) -> None:
    code = """
    import sys
    for number in range(64):
        sys.stdout.write("x" * 2**20)
        sys.stderr.write("y" * 2**20)
    """
    ran = run(sandbox, code, workbook)
    assert ran.ran
    assert ran.printed == "x" * 2**16
