"""Less common ways out of the sandbox: what belongs to others, the kernel's own memory, what is left behind."""

from __future__ import annotations

import contextlib
import os
import pty
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hitui_runners.realhitbench.charts.guest import filter_program
from hitui_runners.realhitbench.charts.sandbox import NoSandbox, Sandbox, find_sandbox
from hitui_runners.realhitbench.charts.walls import BUBBLEWRAP, NAMESPACES, NONE, folders_of

from tests.runners.charts import SMALL, open_folder, run, sandbox, stub_python, workbook

__all__ = ["open_folder", "sandbox", "stub_python", "workbook"]

ALLOWED, REFUSED, ABSENT, KILLED = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
OWN = 4711
"""The process that the filter is made for."""
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NEVER = {
    "x86_64": (
        # socket, socketpair, ptrace, process_vm_readv and -writev, pidfd_open, pidfd_send_signal
        (41, 53, 101, 310, 311, 434, 424),
        # tkill, rt_sigqueueinfo, rt_tgsigqueueinfo, setsid, setpgid
        (200, 129, 297, 112, 109),
        # mount, umount2, pivot_root, chroot, unshare, setns, open_tree, move_mount, fsopen, mount_setattr
        (165, 166, 155, 161, 272, 308, 428, 429, 430, 442),
        # add_key, request_key, keyctl, perf_event_open, bpf, userfaultfd, io_uring_setup, io_setup, syslog
        (248, 249, 250, 298, 321, 323, 425, 206, 103),
        # memfd_create, memfd_secret, shmget, semget, msgget, mq_open
        (319, 447, 29, 64, 68, 240),
    ),
    "aarch64": (
        (198, 199, 117, 270, 271, 434, 424),
        (130, 138, 240, 157, 154),
        (40, 39, 41, 51, 97, 268, 428, 429, 430, 442),
        (217, 218, 219, 241, 280, 282, 425, 0, 116),
        (279, 447, 194, 190, 186, 180),
    ),
}
"""Numbers of system calls, by the kernel's tables."""


def answer(machine: str, number: int, *arguments: int, architecture: int = 0) -> int:
    """What the filter says of a system call, as the kernel would read it."""
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    call = struct.pack("=II7Q", number, architecture or ARCHITECTURES[machine], 0, *padded)
    steps = list(struct.iter_unpack("=HBBI", filter_program(machine, OWN)))
    held = place = 0
    while True:
        code, if_true, if_false, value = steps[place]
        place += 1
        if code == 0x06:
            return value
        if code == 0x20:
            (held,) = struct.unpack_from("=I", call, value)
        elif code == 0x54:
            held &= value
        else:
            holds = {0x15: held == value, 0x35: held >= value, 0x45: held & value != 0}[code]
            place += if_true if holds else if_false


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_refuses_what_walls_and_other_users_might_not(machine: str) -> None:
    other = machine == "aarch64"
    assert {answer(machine, number) for row in NEVER[machine] for number in row} == {REFUSED}
    # kill, tgkill, prlimit64
    for number in ((62, 129)[other], (234, 131)[other], (302, 261)[other]):
        assert (answer(machine, number, OWN), answer(machine, number, OWN + 1)) == (ALLOWED, REFUSED)
    assert [answer(machine, (62, 129)[other], pid) for pid in (0, 2**32 - 1)] == [REFUSED] * 2
    assert answer(machine, (302, 261)[other], 0) == ALLOWED
    # clone3 as if there were none; clone for a process, a thread, each kind of namespace, a sibling
    assert answer(machine, 435) == ABSENT
    clone = (56, 220)[other]
    assert [answer(machine, clone, flags) for flags in (17, 0x3D0F00)] == [ALLOWED] * 2
    for flag in (2**17, 2**25, 2**26, 2**27, 2**28, 2**29, 2**30, 2**15):
        assert answer(machine, clone, flag | 17) == REFUSED
    # mmap of memory that is shared, that is not, and of a file that is
    mmap = (9, 222)[other]
    assert [answer(machine, mmap, 0, 4096, 3, flags) for flags in (0x21, 0x23, 0x22, 0x01)] == [
        REFUSED,
        REFUSED,
        ALLOWED,
        ALLOWED,
    ]
    # prctl: a subreaper, a name; write
    assert [answer(machine, (157, 167)[other], option) for option in (36, 15)] == [REFUSED, ALLOWED]
    assert answer(machine, (1, 64)[other], 1) == ALLOWED
    # Calls of another kind have other numbers: those of 32 bits (i386, arm), and x32's.
    assert answer(machine, 20, architecture=0x40000003 if machine == "x86_64" else 0x40000028) == KILLED
    assert answer(machine, 0x40000000 | 41) == KILLED


def test_the_filter_of_another_machine_is_not_made_up() -> None:
    with pytest.raises(OSError, match="no list of system calls for riscv64"):
        filter_program("riscv64", OWN)


@pytest.mark.parametrize("kind", [BUBBLEWRAP, NAMESPACES, NONE])
def test_other_processes_get_no_signal(kind: str, stub_python: str, workbook: Path) -> None:
    kinds = () if kind == NONE else (kind,)
    walled = find_sandbox(stub_python, SMALL, kinds=kinds, without_walls=kind == NONE, needed=())
    code = """
    import ctypes, os, signal, time
    child = os.fork()
    if child == 0:
        time.sleep(1000)
    libc = ctypes.CDLL(None, use_errno=True)
    for pid in (os.getppid(), child, 1, -1, 0):
        try:
            # The kernel looks whether it may, and sends nothing.
            os.kill(pid, 0)
            print(pid)
        except OSError:
            pass
    machine = os.uname().machine == "aarch64"
    # tgkill, tkill, rt_sigqueueinfo, pidfd_open, prlimit64; and clone with a child that is its parent's sibling
    for number, words in (
        ((234, 131)[machine], (os.getppid(), os.getppid(), 0)),
        ((200, 130)[machine], (os.getppid(), 0)),
        ((129, 138)[machine], (os.getppid(), 0, ctypes.create_string_buffer(128))),
        (434, (os.getppid(), 0)),
        ((302, 261)[machine], (os.getppid(), 0, None, ctypes.create_string_buffer(16))),
        ((56, 220)[machine], (0x8000 | signal.SIGCHLD, 0, 0, 0, 0)),
    ):
        print(libc.syscall(number, *words), ctypes.get_errno())
    caught = []
    signal.signal(signal.SIGUSR1, lambda number, frame, caught=caught: caught.append(number))
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR1)
    print(len(caught))
    """
    assert run(walled, code, workbook).printed.splitlines() == ["-1 1"] * 6 + ["2"]


def test_there_is_no_terminal(stub_python: str, workbook: Path) -> None:
    code = (
        "import fcntl, os, sys, termios\n"
        "print(open('/proc/self/stat').read().rpartition(')')[2].split()[4])\n"
        "for path in ('/dev/tty', '/dev/console'):\n"
        "    try: print(fcntl.ioctl(os.open(path, os.O_RDWR), termios.TIOCSTI, b'x'))\n"
        "    except OSError: pass\n"
    )
    program = (
        "import sys; from pathlib import Path\n"
        "from hitui_runners.realhitbench.charts.sandbox import Limits, Program, Sandbox\n"
        "for kind in sys.argv[3:]:\n"
        "    ran = Sandbox(sys.argv[1], kind, Limits()).run(Program(sys.argv[2], Path('/dev/null')), 'line')\n"
        "    print(repr(ran.printed), ran.why)\n"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        words = [sys.executable, "-c", program, stub_python, code, BUBBLEWRAP, NAMESPACES, NONE]
        os.execv(sys.executable, words)
    said = b""
    # Until nobody has the other end any more.
    with contextlib.suppress(OSError):
        while True:
            said += os.read(terminal, 4096)
    os.close(terminal)
    os.waitpid(pid, 0)
    assert said.decode().split() == ["'0\\n'"] * 3


def test_memory_of_the_kernel_cannot_be_had(sandbox: Sandbox, workbook: Path) -> None:
    code = """
    import ctypes, mmap, os, socket
    libc = ctypes.CDLL(None, use_errno=True)
    context = ctypes.c_ulong()
    machine = os.uname().machine == "aarch64"
    # semget, msgget, io_setup
    for number, words in (
        ((64, 190)[machine], (0, 32000, 0o600)),
        ((68, 186)[machine], (0, 0o600)),
        ((206, 0)[machine], (16, ctypes.byref(context))),
    ):
        print(libc.syscall(number, *words), ctypes.get_errno())
    try:
        mmap.mmap(os.open("/dev/zero", os.O_RDWR), 2**20)
        print("zeros")
    except OSError:
        pass
    try:
        # One end could be sent to anybody's socket.
        socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        print("a pair")
    except PermissionError:
        pass
    """
    assert run(sandbox, code, workbook).printed.splitlines() == ["-1 1"] * 3


def test_the_number_of_temporary_files_has_a_limit(sandbox: Sandbox, workbook: Path) -> None:
    code = """
    import os
    number = 0
    while True:
        os.close(os.open(f"/tmp/{number}", os.O_CREAT | os.O_WRONLY))
        number += 1
    """
    ran = run(sandbox.with_limits(replace(sandbox.limits, files=2000)), code, workbook)
    assert (ran.ran, ran.why) == (False, "more files than allowed")


def test_folders_that_only_our_variables_and_editable_packages_name_are_not_shown(
    open_folder: Path, workbook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment, named, edited = (open_folder / name for name in ("environment", "named-packages", "edited"))
    named.mkdir()
    edited.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(named))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (packages,) = environment.glob("lib/python3*/site-packages")
    (packages / "ours.pth").write_text(f"{edited}\n")
    walled = find_sandbox(str(environment / "bin/python"), SMALL, kinds=(BUBBLEWRAP,), needed=())
    code = f"import os; print(os.listdir({str(open_folder)!r}))"
    assert run(walled, code, workbook).printed == "['environment']\n"


def test_an_environment_around_the_home_is_refused(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = open_folder / "around"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (environment / "home").mkdir()
    for home in (environment / "home", environment):
        monkeypatch.setenv("HOME", str(home))
        with pytest.raises(NoSandbox, match=r"around.* holds your home"):
            find_sandbox(str(environment / "bin" / "python"), SMALL, kinds=(BUBBLEWRAP,), needed=())
    # Beside it.
    monkeypatch.setenv("HOME", f"{environment}-home")
    assert str(environment) in folders_of(str(environment / "bin" / "python"))


def test_the_folder_of_a_program_without_walls_is_its_own_and_goes_whatever_is_in_it(
    stub_python: str, open_folder: Path, workbook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(open_folder))
    monkeypatch.setenv("PATH", str(tmp_path))
    alone = find_sandbox(stub_python, SMALL, kinds=(), without_walls=True, needed=())
    linked = tmp_path / "linked"
    linked.write_text("kept")
    linked.chmod(0o400)
    code = f"""
    import os
    print(oct(os.stat(".").st_mode & 0o777), os.stat(".").st_uid == os.getuid())
    os.symlink({str(linked)!r}, "file")
    os.symlink({str(tmp_path)!r}, "folder")
    os.mkdir("closed")
    os.chmod("closed", 0)
    for number in range(1100):
        os.mkdir("x")
        os.chdir("x")
    """
    ran = run(alone, code, workbook)
    # Nobody else can plant anything there.
    assert (ran.ran, ran.printed) == (True, "0o700 True\n")
    assert list(open_folder.iterdir()) == []
    assert (linked.read_text(), linked.stat().st_mode & 0o777) == ("kept", 0o400)


def test_a_program_that_becomes_another_is_ended_with_it(sandbox: Sandbox, workbook: Path) -> None:
    ran = run(sandbox, "import os\nos.execv('/usr/bin/true', ['true'])", workbook)
    assert (ran.ran, ran.why) == (False, "ended with status 0")


def test_memory_of_children_that_have_lost_their_parent_counts(stub_python: str, workbook: Path) -> None:
    alone = find_sandbox(stub_python, SMALL, kinds=(), without_walls=True, needed=())
    code = """
    import ctypes, os, time
    ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)
    for number in range(3):
        child = os.fork()
        if child == 0:
            if os.fork() == 0:
                kept = bytearray(b"x") * (400 * 2**20)
                time.sleep(1000)
            os._exit(0)
        os.waitpid(child, 0)
    time.sleep(1000)
    """
    ran = run(alone.with_limits(replace(SMALL, seconds=20)), code, workbook)
    assert (ran.ran, ran.why) == (False, "more memory than allowed")
