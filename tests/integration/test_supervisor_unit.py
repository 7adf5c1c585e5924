"""`hitui supervisor install` against a living systemd: started, killed and started again, stopped, gone."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

from tests.tools.eventually import eventually
from tests.tools.sandbox import Sandbox
from tests.tools.systemd_user import UserSystemd, user_systemd

HANG = "import signal\nwhile True:\n    signal.pause()\n"
SETTINGS = f"""
[gpus]
hold = "0s"
[runner.hang]
command = [{json.dumps(sys.executable)}, "hang.py", "{{output}}"]
min_free = "0B"
[[config]]
name = "hang"
kind = "line_count"
runner = "hang"
"""


def test_the_unit_keeps_a_supervisor_under_a_living_systemd(tmp_path: Path) -> None:
    workspace = tmp_path / "my 100% work"
    workspace.mkdir()
    (workspace / "hang.py").write_text(HANG)
    with Sandbox(tmp_path / "box", workspace) as sandbox:
        sandbox.settings(SETTINGS)
        sandbox.env["XDG_CONFIG_HOME"] = str(tmp_path / "config")
        with user_systemd(sandbox.env) as systemd:
            if systemd is None:
                as_systemd_would_start_it(sandbox)
            else:
                under_systemd(sandbox, systemd)


def as_systemd_would_start_it(sandbox: Sandbox) -> None:
    """The unit's own command, by whoever takes systemd's place."""
    text = sandbox.hitui("supervisor", "install", "--print").stdout
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    words = shlex.split(line.partition("=")[2].replace("%%", "%"))
    started = subprocess.Popen(words, cwd="/", env=sandbox.env, stdout=subprocess.DEVNULL)
    eventually(lambda: pid_in(sandbox.hitui("supervisor", "status").stdout) == started.pid, "it answers")
    sandbox.hitui("supervisor", "stop")
    # Restart=on-failure: one that was asked to end stays so.
    assert started.wait() == 0


def under_systemd(sandbox: Sandbox, systemd: UserSystemd) -> None:
    def hitui(*words: str) -> str:
        run = systemd.inside(sys.executable, "-m", "hitui", "-w", str(sandbox.workspace), *words)
        assert run.returncode == 0, run.stderr
        return run.stdout

    def answering() -> int:
        words = ("-m", "hitui", "-w", str(sandbox.workspace), "supervisor", "status")
        return pid_in(systemd.inside(sys.executable, *words).stdout)

    def state() -> dict[str, str]:
        shown = systemd.control("show", unit, "--property=ActiveState,SubState,MainPID,NRestarts,Result")
        return dict(line.partition("=")[::2] for line in shown.splitlines())

    def job() -> tuple[str, int]:
        (found,) = json.loads(hitui("jobs", "--json", "--all"))
        return found["state"], found.get("pid") or 0

    told = hitui("supervisor", "install")
    commands = [line.split() for line in told.splitlines() if line.startswith("    systemctl --user ")]
    assert [words[2] for words in commands] == ["daemon-reload", "enable"]
    for words in commands:
        systemd.control(*words[2:])
    unit = commands[1][-1]
    pid = eventually(answering, "it answers")
    first = state()
    assert (first["ActiveState"], first["SubState"], first["MainPID"]) == ("active", "running", str(pid))
    hitui("run", "hang")
    eventually(lambda: job()[0] == "running", "the job runs")
    runner = job()[1]

    systemd.control("kill", "--kill-who=main", "--signal=SIGKILL", unit)
    eventually(lambda: state()["NRestarts"] == "1" and state()["SubState"] == "running", "it is there again")
    again = eventually(answering, "it answers")
    assert (again, state()["MainPID"]) != (pid, str(pid))
    assert str(again) == state()["MainPID"]
    assert job() == ("running", runner)

    systemd.control("stop", unit)
    assert state()["ActiveState"] == "inactive"
    assert state()["Result"] == "success"
    assert not answering()
    # KillMode=process: the job went on.
    assert job() == ("running", runner)
    assert systemd.inside("kill", "-0", str(runner)).returncode == 0

    told = hitui("supervisor", "uninstall")
    for line in told.splitlines():
        if line.startswith("    systemctl --user "):
            systemd.inside(*line.split())
    assert systemd.inside("systemctl", "--user", "cat", unit).returncode != 0
    assert "hitui" not in systemd.control("list-unit-files", "--no-legend", "--type=service")
    hitui("stop", "1")
    eventually(lambda: job()[0] == "stopped", "the job has ended")
    hitui("supervisor", "stop")


def pid_in(status: str) -> int:
    """Pid of the supervisor that answers; 0: none does."""
    return int(status.partition("runs, pid ")[2].partition(",")[0] or 0)
