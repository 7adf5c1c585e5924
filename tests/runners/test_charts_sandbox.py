"""What a program that a model wrote can do in its sandbox, and what it cannot, under both kinds of walls."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from hitui_runners.realhitbench.charts.sandbox import Program, Sandbox
from hitui_runners.realhitbench.charts.walls import BUBBLEWRAP, NAMESPACES, NONE

from tests.runners.charts import (
    descriptors,
    full_sandbox,
    open_folder,
    run,
    running,
    sandbox,
    stub_python,
    workbook,
)
from tests.runners.conftest import RUNNERS
from tests.tools.eventually import eventually

__all__ = ["full_sandbox", "open_folder", "sandbox", "stub_python", "workbook"]

DRAW = """
import pandas as pd
import matplotlib.pyplot as plt
table = pd.read_excel("/chart/table.xlsx")
plt.plot(table["Harbour"], table["Ships"])
plt.show()
"""


def test_a_program_reads_its_workbook_and_draws(full_sandbox: Sandbox, workbook: Path) -> None:
    ran = run(full_sandbox, DRAW, workbook)
    assert (ran.ran, ran.values, ran.printed, ran.why) == (True, [[41, 63, 7]], "", "")


def test_other_files_cannot_be_read(sandbox: Sandbox, workbook: Path) -> None:
    secret = workbook.with_name("other.xlsx")
    secret.write_bytes(b"PK")
    paths = [
        "/etc/shadow",
        "/etc/passwd",
        # What was the root before might still lie over the one that was built.
        "/../etc/passwd",
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
    # The first process there, and this one.
    print(sum(map(str.isdecimal, os.listdir("/proc"))))
    """
    assert run(sandbox, code, workbook).printed == "[]\n2\n"


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
        str(workbook.parent),
        "/var/tmp",
    ]
    code = f"""
    import sys
    for folder in [*{folders}, sys.prefix]:
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
    for line in open("/proc/self/mountinfo"):
        place, options = line.split()[4:6]
        if not place.startswith("/dev/") and "ro" not in options.split(","):
            print(place)
        if "nosuid" not in options:
            print("suid", place)
    # Where a program is when it starts.
    open("{name}", "w").write("x")
    print(open("/tmp/{name}").read())
    """
    assert sorted(run(sandbox, code, workbook).printed.split()) == ["/proc", "/tmp", "x"]
    assert not Path("/tmp", name).exists()
    again = run(sandbox, f"import os; print(os.path.exists('/tmp/{name}'))", workbook)
    assert again.printed == "False\n"


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


@pytest.mark.parametrize(
    "said", ["[" * 100_000, "7", '{"ran": 1}'], ids=["nested", "a number", "another shape"]
)
def test_rubbish_with_the_secret_is_no_answer(said: str, sandbox: Sandbox, workbook: Path) -> None:
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
    assert not run(sandbox, code, workbook).ran


def test_only_the_first_process_of_a_program_answers(sandbox: Sandbox, workbook: Path) -> None:
    code = """
    import atexit, os
    import matplotlib.pyplot as plt
    # Neither of the two calls it.
    atexit.register(os.write, 1, b"at the end")
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        plt.plot([5])
    """
    ran = run(sandbox, code, workbook)
    assert (ran.values, ran.printed) == ([[5]], "")


def test_nothing_outlives_the_program(sandbox: Sandbox, workbook: Path) -> None:
    # sleep adds its arguments up.
    word = f"1000.{uuid.uuid4().int}"
    code = f"""
    import os
    # It is closed, and so read to its end, when the last child has become another program.
    told, started = os.pipe()
    if os.fork() == 0:
        try:
            os.setsid()
        except PermissionError:
            pass
        if os.fork() == 0:
            os.closerange(0, told)
            os.closerange(started + 1, 100)
            os.execv("/usr/bin/sleep", ["sleep", "{word}"])
        os._exit(0)
    os.close(started)
    os.read(told, 1)
    """
    assert run(sandbox, code, workbook).ran
    assert running(word) == []


def test_a_python_that_was_built_for_an_older_linux_will_do(
    sandbox: Sandbox, workbook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    assert run(sandbox, "print(7)", workbook).printed == "7\n"


def test_what_cannot_be_run_leaves_no_descriptor(
    sandbox: Sandbox, workbook: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = descriptors()
    with pytest.raises(FileNotFoundError):
        run(sandbox, "", tmp_path / "absent.xlsx")
    # What builds the walls was there when they were looked for.
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError):
        run(sandbox, "", workbook)
    assert descriptors() <= before


@pytest.mark.parametrize("kind", [BUBBLEWRAP, NAMESPACES, NONE])
def test_of_a_program_whose_starter_is_killed_nothing_is_left(
    kind: str, stub_python: str, workbook: Path, open_folder: Path
) -> None:
    word = f"1000.{uuid.uuid4().int}"
    starter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path\n"
            "from hitui_runners.realhitbench.charts.sandbox import Limits, Program, Sandbox\n"
            "program = Program(sys.argv[3], Path(sys.argv[4]))\n"
            "Sandbox(sys.argv[1], sys.argv[2], Limits(seconds=1000)).run(program, 'line')\n",
            stub_python,
            kind,
            f"import os\nos.fork()\nos.execv('/usr/bin/sleep', ['sleep', '{word}'])",
            str(workbook),
        ],
        env={**os.environ, "TMPDIR": str(open_folder)},
    )
    try:
        eventually(lambda: len(running(word)) == 2)
    finally:
        starter.send_signal(signal.SIGKILL)
        starter.wait()
    eventually(lambda: not running(word))
    eventually(lambda: not list(open_folder.iterdir()))


def test_namespaces_and_mounts_cannot_be_made_inside(sandbox: Sandbox, workbook: Path) -> None:
    code = """
    import ctypes, os
    libc = ctypes.CDLL(None, use_errno=True)
    user, mounts, network = 0x10000000, 0x00020000, 0x40000000
    for kind in (user, mounts, network):
        print(libc.unshare(kind), ctypes.get_errno())
    print(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None), ctypes.get_errno())
    print(libc.syscall((56, 220)[os.uname().machine == "aarch64"], user | 17, 0, 0, 0, 0), ctypes.get_errno())
    print([line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")])
    """
    kinds = ("ipc", "mnt", "net", "pid", "uts")
    code += f"""
    for kind in {kinds}:
        print(os.readlink("/proc/self/ns/" + kind))
    """
    said = run(sandbox, code, workbook).printed.splitlines()
    assert said[:6] == ["-1 1"] * 5 + ["['0000000000000000']"]
    assert len(said) == 11
    assert not {str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in kinds} & set(said)


def test_nothing_of_root_is_left_to_its_programs(sandbox: Sandbox, workbook: Path) -> None:
    code = """
    import os
    open("/chart/table.xlsx")
    print(*os.getresuid(), *os.getresgid(), *os.getgroups())
    """
    is_root, groups = os.getuid() == 0, os.getgroups()
    mask = os.umask(0o077)
    if is_root:
        os.setgroups([0, 4])
    try:
        ran = run(sandbox, code, workbook)
    finally:
        os.umask(mask)
        if is_root:
            os.setgroups(groups)
    numbers = ran.printed.split()
    # An ordinary user stays who he is.
    assert ran.ran
    assert not is_root or (len(numbers), len(set(numbers)), "0" in numbers) == (6, 1, False)
    # One that others run as too counts their processes, wherever there are others to be had.
    all_users = Path("/proc/self/uid_map").read_text().split()[-1] == "4294967295"
    assert not is_root or not all_users or "65534" not in numbers


def test_nothing_of_our_environment_comes_in(
    sandbox: Sandbox, workbook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HITUI_TEST_TOKEN", "abc")
    monkeypatch.setenv("PYTHONPATH", str(RUNNERS))
    code = """
    import os, sys
    print("HITUI_TEST_TOKEN" in os.environ, "PYTHONPATH" in os.environ)
    print(any(map(os.path.exists, map("{}/guest.py".format, sys.path))))
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            open_file = os.readlink("/proc/self/fd/" + name)
        except FileNotFoundError:
            continue
        # Through one of ours the workbook itself could be written.
        if int(name) < 3 or open_file.startswith("/") and open_file != "/dev/null":
            print(name)
    """
    assert run(sandbox, code, workbook).printed == "False False\nFalse\n0\n1\n2\n"


def test_every_run_is_the_same(full_sandbox: Sandbox, workbook: Path) -> None:
    code = """
    import random
    import matplotlib, numpy
    print(hash("ships"), random.random(), numpy.random.random(), matplotlib.get_backend())
    """
    first, second = (run(full_sandbox, code, workbook).printed for _ in range(2))
    assert first == second
    assert first.lower().endswith("agg\n")


def test_programs_that_run_before_leave_their_figures(sandbox: Sandbox, workbook: Path) -> None:
    earlier = Program(
        "import matplotlib.pyplot as plt\nprint('a')\nplt.plot([1])\nraise ValueError", workbook
    )
    program = Program("import matplotlib.pyplot as plt\nplt.plot([2])", workbook)
    ran = sandbox.run(program, "line", [earlier])
    assert (ran.values, ran.printed) == ([[1], [2]], "")
