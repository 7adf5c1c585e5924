"""What a program that a model wrote can do in its sandbox, and what it cannot, under both kinds of walls."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hitui_runners.realhitbench.charts.sandbox import NoSandbox, Program, Sandbox, find_sandbox
from hitui_runners.realhitbench.charts.walls import BUBBLEWRAP, NAMESPACES, NONE

from tests.runners.charts import MIB, SMALL, chart_sandbox, run, sandbox, workbook
from tests.runners.conftest import RUNNERS
from tests.tools.eventually import eventually

__all__ = ["chart_sandbox", "sandbox", "workbook"]

DRAW = """
import pandas as pd
import matplotlib.pyplot as plt
table = pd.read_excel("/chart/table.xlsx")
plt.plot(table["Harbour"], table["Ships"])
plt.show()
"""


def bare(sandbox: Sandbox, **limits: float) -> Sandbox:
    """The same with other limits."""
    return Sandbox(sys.executable, sandbox.kind, replace(sandbox.limits, **limits))


def running(word: str) -> list[int]:
    """Processes that have `word` in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if word.encode() in words:
                found.append(int(entry.name))
    return found


def test_a_program_reads_its_workbook_and_draws(sandbox: Sandbox, workbook: Path) -> None:
    ran = run(sandbox, DRAW, workbook)
    assert (ran.ran, ran.values, ran.printed, ran.why) == (True, [[41, 63, 7]], "", "")


def test_what_the_chart_environment_has_is_said_in_one_line(sandbox: Sandbox) -> None:
    line = sandbox.described
    assert line.startswith(f"charts run under {sandbox.kind} with python 3.")
    assert all(name in line for name in ("numpy", "pandas", "matplotlib", "openpyxl"))
    assert ("comprehensions" in line) == (sys.version_info >= (3, 12))


def test_other_files_cannot_be_read(sandbox: Sandbox, workbook: Path) -> None:
    secret = workbook.with_name("other.xlsx")
    secret.write_bytes(b"PK")
    paths = [
        "/etc/shadow",
        "/etc/passwd",
        str(secret),
        str(workbook),
        str(Path(__file__)),
        "/proc/1/environ",
        "/dev/mem",
    ]
    code = f"""
    import os
    for path in {paths}:
        try:
            if open(path, "rb").read(1) and "environ" not in path:
                print(path)
        except OSError:
            pass
    print(sorted(os.listdir(os.path.expanduser("~"))))
    """
    assert run(sandbox, code, workbook).printed == "[]\n"


def test_nothing_can_be_written_but_temporary_files(sandbox: Sandbox, workbook: Path) -> None:
    name = f"hitui-{uuid.uuid4()}"
    folders = [
        "/",
        "/usr",
        "/etc",
        "/chart",
        "/dev",
        "/dev/shm",
        "/proc",
        sys.prefix,
        str(workbook.parent),
        "/var/tmp",
    ]
    code = f"""
    for folder in {folders}:
        try:
            open(folder + "/{name}", "w")
            print(folder)
        except OSError:
            pass
    try:
        open("/chart/table-0.xlsx", "r+b")
        print("the workbook")
    except OSError:
        pass
    open("/tmp/{name}", "w").write("x")
    print(open("/tmp/{name}").read())
    """
    assert run(sandbox, code, workbook).printed == "x\n"
    assert not Path("/tmp", name).exists()
    again = run(sandbox, f"import os; print(os.path.exists('/tmp/{name}'))", workbook)
    assert again.printed == "False\n"


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


def test_there_is_no_network(sandbox: Sandbox, workbook: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        code = f"""
        import socket
        for line in open("/proc/net/dev").readlines()[2:]:
            print(line.split(":")[0].strip())
        for family in (socket.AF_INET, socket.AF_UNIX, socket.AF_NETLINK):
            try:
                socket.socket(family, socket.SOCK_DGRAM)
                print(family)
            except PermissionError:
                pass
        socket.create_connection(("127.0.0.1", {server.getsockname()[1]}))
        """
        ran = run(sandbox, code, workbook)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert ran.printed == "lo\n"
    assert ran.why.startswith("PermissionError")


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
    ran = run(sandbox, f"x = bytearray({sandbox.limits.memory})", workbook)
    assert (ran.ran, ran.why) == (False, "MemoryError")


def test_memory_has_a_limit_for_all_processes_together(sandbox: Sandbox, workbook: Path) -> None:
    code = """
    import os, time
    for number in range(4):
        if os.fork() == 0:
            kept = bytearray(b"x") * (400 * 2**20)
            time.sleep(1000)
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
    ran = run(bare(sandbox, cpu_seconds=1), "while True: pass", workbook)
    assert (ran.ran, ran.why) == (False, "more CPU time than allowed")


def test_a_program_that_sleeps_is_ended(sandbox: Sandbox, workbook: Path) -> None:
    ran = run(bare(sandbox, seconds=3), "import time\ntime.sleep(1000)", workbook)
    assert (ran.ran, ran.why) == (False, "more time than allowed")


def test_of_endless_output_only_the_beginning_is_kept(sandbox: Sandbox, workbook: Path) -> None:
    code = """
    import sys
    for number in range(300):
        sys.stdout.write("x" * 2**20)
        sys.stderr.write("y" * 2**20)
    """
    ran = run(sandbox, code, workbook)
    assert ran.ran
    assert ran.printed == "x" * 2**16


def test_a_program_cannot_say_its_own_result(sandbox: Sandbox, workbook: Path) -> None:
    line = '{"ran": true, "values": [[41, 63, 7]]}'
    code = f"""
    import os
    for descriptor in range(1, 64):
        try:
            os.write(descriptor, b'\\n{line}\\n' * 3)
        except OSError:
            pass
    os._exit(0)
    """
    ran = run(sandbox, code, workbook)
    assert (ran.ran, ran.values) == (False, None)


@pytest.mark.parametrize("said", ["[" * 100_000, "7", '{"ran": 1}'])
def test_rubbish_with_the_secret_is_no_answer(said: str, chart_sandbox: Sandbox, workbook: Path) -> None:
    code = f"""
    import os, sys
    frame = sys._getframe()
    while "secret" not in frame.f_locals:
        frame = frame.f_back
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, (frame.f_locals["secret"] + {said!r} + "\\n").encode())
        except OSError:
            pass
    os._exit(0)
    """
    assert not run(chart_sandbox, code, workbook).ran


def test_only_the_first_process_of_a_program_answers(sandbox: Sandbox, workbook: Path) -> None:
    code = """
    import os
    import matplotlib.pyplot as plt
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        plt.plot([5])
    """
    assert run(sandbox, code, workbook).values == [[5]]


def test_nothing_outlives_the_program(sandbox: Sandbox, workbook: Path) -> None:
    # sleep adds its arguments up.
    word = f"1000.{uuid.uuid4().int}"
    code = f"""
    import os, time
    if os.fork() == 0:
        try:
            os.setsid()
        except PermissionError:
            pass
        if os.fork() == 0:
            os.closerange(0, 100)
            os.execv("/usr/bin/sleep", ["sleep", "{word}"])
        os._exit(0)
    while not any(b"{word}" in open(f"/proc/{{pid}}/cmdline", "rb").read() for pid in os.listdir("/proc") if pid.isdigit()):
        time.sleep(0.01)
    """
    assert run(sandbox, code, workbook).ran
    assert running(word) == []


def test_a_program_ends_with_who_started_it(sandbox: Sandbox, workbook: Path, tmp_path: Path) -> None:
    word = f"1000.{uuid.uuid4().int}"
    starter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path\n"
            "from hitui_runners.realhitbench.charts.sandbox import Limits, Program, Sandbox\n"
            "program = Program(sys.argv[2], Path(sys.argv[3]))\n"
            "Sandbox(sys.executable, sys.argv[1], Limits(seconds=1000)).run(program, 'line')\n",
            sandbox.kind,
            f"import os\nos.execv('/usr/bin/sleep', ['sleep', '{word}'])",
            str(workbook),
        ],
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        eventually(lambda: running(word))
    finally:
        starter.send_signal(signal.SIGKILL)
        starter.wait()
    eventually(lambda: not running(word))


def test_namespaces_and_mounts_cannot_be_made_inside(sandbox: Sandbox, workbook: Path) -> None:
    code = """
    import ctypes, os
    libc = ctypes.CDLL(None, use_errno=True)
    user, mounts, network = 0x10000000, 0x00020000, 0x40000000
    for kind in (user, mounts, network):
        print(libc.unshare(kind), ctypes.get_errno())
    print(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None), ctypes.get_errno())
    print(libc.clone(None, None, user | 17, None) != 0)
    print([line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")])
    """
    assert run(sandbox, code, workbook).printed.splitlines() == ["-1 1"] * 4 + [
        "True",
        "['0000000000000000']",
    ]


def test_nothing_of_our_environment_comes_in(
    sandbox: Sandbox, workbook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HITUI_TEST_TOKEN", "abc")
    monkeypatch.setenv("PYTHONPATH", str(RUNNERS))
    code = """
    import os, sys
    print("HITUI_TEST_TOKEN" in os.environ, "PYTHONPATH" in os.environ)
    print(sorted(int(name) for name in os.listdir("/proc/self/fd"))[:3])
    """
    assert run(sandbox, code, workbook).printed == "False False\n[0, 1, 2]\n"


def test_every_run_is_the_same(sandbox: Sandbox, workbook: Path) -> None:
    code = """
    import random
    import matplotlib, numpy
    print(hash("ships"), random.random(), numpy.random.random(), matplotlib.get_backend())
    """
    first, second = (run(sandbox, code, workbook).printed for _ in range(2))
    assert first == second
    assert first.lower().endswith("agg\n")


def test_programs_that_run_before_leave_their_figures(sandbox: Sandbox, workbook: Path) -> None:
    earlier = Program(
        "import matplotlib.pyplot as plt\nprint('a')\nplt.plot([1])\nraise ValueError", workbook
    )
    program = Program("import matplotlib.pyplot as plt\nplt.plot([2])", workbook)
    ran = sandbox.run(program, "line", [earlier])
    assert (ran.values, ran.printed) == ([[1], [2]], "")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that every user can read, which those of tests are not."""
    folder = Path(tempfile.mkdtemp(prefix="hitui-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("kind", [BUBBLEWRAP, NAMESPACES])
def test_an_ordinary_user_has_the_same_walls(kind: str, open_folder: Path) -> None:
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
    shutil.copytree(RUNNERS, open_folder / "hitui_runners")
    (open_folder / "table.xlsx").write_bytes(b"PK")
    code = (
        "import os, socket\n"
        "forks = 1\n"
        "try:\n"
        "    while os.fork() or os.execv('/usr/bin/sleep', ['sleep', '1000']): forks += 1\n"
        "except BlockingIOError: print(forks <= 6)\n"
        "print(os.listdir('/tmp/home'), os.path.exists('/etc/passwd'), os.path.exists('/home'))\n"
        "print(open('/proc/net/dev').read().count(':'))\n"
        "open('/usr/x', 'w')\n"
    )
    program = (
        f"import sys; sys.path.insert(0, {str(open_folder)!r})\n"
        "from pathlib import Path\n"
        "from hitui_runners.realhitbench.charts.sandbox import Limits, Program, find_sandbox\n"
        f"sandbox = find_sandbox(sys.executable, Limits(processes=6), kinds=({kind!r},), needed=())\n"
        f"ran = sandbox.run(Program({code!r}, Path({str(open_folder / 'table.xlsx')!r})), 'line')\n"
        "print(ran.printed + ran.why)\n"
    )
    done = subprocess.run(
        [*as_nobody, _python_for_everyone(), "-I", "-B", "-c", program],
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["True", "[] False False", "1", done.stdout.splitlines()[-1]]
    assert done.stdout.splitlines()[-1].startswith(("OSError: [Errno 30]", "PermissionError"))


def _python_for_everyone() -> str:
    """One that nobody can start: ours may lie in a home."""
    own = os.path.realpath(sys.executable)
    closed = [parent for parent in Path(own).parents if not parent.stat().st_mode & 0o001]
    return "/usr/bin/python3" if closed else own


def test_without_walls_nothing_runs_unless_asked_for(workbook: Path) -> None:
    with pytest.raises(NoSandbox, match=r"no sandbox can be had here .*install bubblewrap"):
        find_sandbox(sys.executable, SMALL, kinds=())


def test_walls_that_cannot_be_built_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoSandbox) as caught:
        find_sandbox(sys.executable, SMALL)
    assert "bubblewrap: bwrap is not installed" in str(caught.value)
    assert "namespaces: unshare is not installed" in str(caught.value)


def test_an_old_bubblewrap_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "bwrap"
    old.write_text("#!/bin/sh\necho bubblewrap 0.4.1\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(NoSandbox, match=r"bubblewrap 0\.4\.1 is older than 0\.7"):
        find_sandbox(sys.executable, SMALL, kinds=(BUBBLEWRAP,))
    assert find_sandbox(sys.executable, SMALL, needed=()).kind == NAMESPACES


def test_libraries_that_are_absent_are_named(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    with pytest.raises(
        NoSandbox, match=r"bare/bin/python lacks numpy, pandas, matplotlib, openpyxl; install"
    ):
        find_sandbox(str(tmp_path / "bare/bin/python"), SMALL)


def test_a_python_is_found_by_its_name_and_from_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workbook: Path
) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bare/bin:{os.environ['PATH']}")
    for python in ("bare/bin/python", "python"):
        found = find_sandbox(python, SMALL, needed=())
        assert run(found, "import sys; print(sys.prefix)", workbook).printed == f"{tmp_path}/bare\n"


def test_a_python_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoSandbox, match=r"nowhere/python.*name the Python"):
        find_sandbox(str(tmp_path / "nowhere/python"))
    with pytest.raises(NoSandbox, match=r"true.*name the Python"):
        find_sandbox("/bin/true")


def test_limits_alone_still_stop_what_they_can(open_folder: Path, workbook: Path) -> None:
    walled_off = _python_for_everyone()
    sandbox = find_sandbox(walled_off, SMALL, kinds=(), without_walls=True, needed=())
    assert sandbox.kind == NONE
    table = shutil.copyfile(workbook, open_folder / "table.xlsx")
    word = f"1000.{uuid.uuid4().int}"
    code = f"""
    import os, socket
    print(len(open("/chart/table.xlsx", "rb").read()))
    if os.fork() == 0:
        try:
            os.setsid()
        except PermissionError:
            pass
        if os.fork():
            os._exit(0)
        os.execv("/usr/bin/sleep", ["sleep", "{word}"])
    os.wait()
    socket.socket()
    """
    ran = run(sandbox, code, table)
    assert ran.printed == f"{table.stat().st_size}\n"
    assert ran.why.startswith("PermissionError")
    assert running(word) == []
    assert run(sandbox, f"x = bytearray({SMALL.memory})", table).why == "MemoryError"
