"""The dashboard in a real terminal multiplexer, on the made-up workspace, with real jobs."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitui.demo.workspace import create_workspace
from tests.tools.eventually import eventually
from tests.tools.sandbox import Sandbox
from tests.tools.tmux import Tmux


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    create_workspace(tmp_path / "workspace")
    with Sandbox(tmp_path, tmp_path / "workspace") as made:
        yield made


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    with Tmux(tmp_path) as made:
        yield made


def start(
    tmux: Tmux, sandbox: Sandbox, columns: int, rows: int, term: str = "tmux-256color", **others: str
) -> None:
    env = {name: value for name, value in sandbox.env.items() if name != "NO_COLOR"}
    env = {**env, "TERM": term, "LANG": "C.UTF-8", **others}
    tmux.start([sys.executable, "-m", "hitui", "-w", str(sandbox.workspace)], env, columns, rows)


@pytest.mark.parametrize("term", ["screen-256color", "tmux-256color", "xterm", "dumb"])
def test_it_shows_everything_in_every_kind_of_terminal(tmux: Tmux, sandbox: Sandbox, term: str) -> None:
    start(tmux, sandbox, 80, 24, term)
    tmux.shows("hitui", "GPUs · simulated", "free for jobs", "demo_text/text_html", "16 to rerun", "q quit")
    if term == "dumb":
        assert tmux.colours() <= {"", "0", "1", "4", "7", "39", "49"}
    tmux.keys("q")
    tmux.shows("EXIT 0")
    assert tmux.modes() == ("0", "0", "1")


def test_no_color_sends_no_colour(tmux: Tmux, sandbox: Sandbox) -> None:
    start(tmux, sandbox, 120, 30, NO_COLOR="1")
    tmux.shows("16 to rerun")
    assert tmux.colours() <= {"", "0", "1", "4", "7", "39", "49"}


def test_resizing_and_detaching_lose_nothing(tmux: Tmux, sandbox: Sandbox) -> None:
    start(tmux, sandbox, 80, 24, COLUMNS="80", LINES="24")
    tmux.shows("16 to rerun")
    tmux.resize(250, 60)
    tmux.shows("not started, 181 to run")
    tmux.resize(50, 12)
    tmux.shows("hitui needs 60x15, here are 50x12")
    tmux.resize(120, 40)
    tmux.shows("not started, 181 to run")
    with subprocess.Popen(
        ["tmux", "-L", tmux._socket, "-C", "attach"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as client:
        assert client.stdin is not None
        eventually(lambda: tmux.tmux("list-clients"), "attached")
        client.stdin.write("detach-client\n")
        client.stdin.flush()
        client.wait(20)
    tmux.keys("Down")
    tmux.shows("▸  demo_pic/mix_csv", "16 to rerun")


def test_r_reruns_what_is_missing_and_it_outlives_the_screen(tmux: Tmux, sandbox: Sandbox) -> None:
    start(tmux, sandbox, 120, 40)
    tmux.shows("16 to rerun")
    # In one burst, as a paste or a script sends it: `x` and `l` are letters here and no wishes.
    tmux.keys("/", *"text_html", "Enter")
    tmux.shows("1 of 10")
    tmux.keys("r")
    tmux.shows("Rerun what is pending", "16 tasks in 1 job", "Enter start 1 job")
    tmux.keys("Enter")
    tmux.shows("▶ GPU ")
    os.kill(tmux.program(), signal.SIGKILL)
    tmux.shows("EXIT 137")

    def answered() -> bool:
        rows = {row["name"]: row for row in sandbox.json("ls")}
        row = rows["demo_text/text_html"]
        return row["state"] != "running" and row["done"] + row["errors"] == row["total"] - row["blocked"]

    eventually(answered, "the job goes on without a screen", deadline=120)


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131), (signal.SIGUSR1, 138)],
)
def test_a_signal_leaves_the_terminal_clean(
    tmux: Tmux, sandbox: Sandbox, number: signal.Signals, status: int
) -> None:
    start(tmux, sandbox, 100, 30)
    tmux.shows("16 to rerun")
    assert tmux.modes() == ("1", "1", "0")
    os.kill(tmux.program(), number)
    tmux.shows(f"EXIT {status}")
    assert tmux.modes() == ("0", "0", "1")


def test_closing_the_window_ends_the_screen(tmux: Tmux, sandbox: Sandbox) -> None:
    # A hangup races with the continuation that the kernel sends behind it: once would prove little.
    for _ in range(3):
        start(tmux, sandbox, 100, 30)
        tmux.shows("16 to rerun")
        program = tmux.program()
        tmux.tmux("kill-server")
        eventually(lambda program=program: not Path(f"/proc/{program}").exists(), "the screen is gone")


def test_a_terminal_that_vanishes_without_a_signal_ends_the_screen(sandbox: Sandbox) -> None:
    terminal, ours = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    env = {**sandbox.env, "TERM": "xterm-256color"}
    argv = [sys.executable, "-m", "hitui", "-w", str(sandbox.workspace)]
    # A session of its own without a controlling terminal gets no SIGHUP.
    with subprocess.Popen(
        argv, stdin=ours, stdout=ours, stderr=ours, env=env, start_new_session=True
    ) as program:
        os.close(ours)
        seen = b""
        while b"Configs" not in seen:
            seen += os.read(terminal, 65536)
        os.close(terminal)
        assert program.wait(60) == 129


def test_without_a_terminal_it_says_what_prints_without_one(sandbox: Sandbox) -> None:
    run = sandbox.hitui()
    assert run.returncode == 1
    assert (
        run.stderr == "hitui: the dashboard needs a terminal; `hitui ls` and `hitui jobs` print without one\n"
    )


def test_bad_settings_are_one_line(tmux: Tmux, sandbox: Sandbox) -> None:
    sandbox.settings("[gpus]\nexlude = [1]\n")
    start(tmux, sandbox, 120, 20)
    tmux.shows("did you mean 'exclude'?", "EXIT 1")
    assert "Traceback" not in tmux.screen()


def test_suspending_gives_the_terminal_back_and_takes_it_again(tmux: Tmux, sandbox: Sandbox) -> None:
    start(tmux, sandbox, 100, 30)
    tmux.shows("16 to rerun")
    program = tmux.program()
    tmux.keys("C-z")
    status = Path(f"/proc/{program}/status")
    eventually(lambda: "State:\tT (stopped)" in status.read_text(), "stopped")
    assert tmux.modes() == ("0", "0", "1")
    os.kill(program, signal.SIGCONT)
    tmux.shows("16 to rerun")
    tmux.keys("Down")
    tmux.shows("▸  demo_pic/mix_csv")


def test_the_demo_without_a_terminal_says_so_and_does_not_wait(sandbox: Sandbox) -> None:
    demo = sandbox.hitui("demo", "--folder", str(sandbox.workspace / "demo"))
    assert demo.returncode == 1
    assert demo.stderr.startswith("hitui: the dashboard needs a terminal")
