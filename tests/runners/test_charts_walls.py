"""Which walls and which Python are found for charts, and what is said where there are none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from hitui_runners.realhitbench.charts.environment import ChartPython, find_chart_python
from hitui_runners.realhitbench.charts.sandbox import NoSandbox, find_sandbox
from hitui_runners.realhitbench.charts.walls import BUBBLEWRAP, NAMESPACES, NONE

from tests.runners.charts import SMALL, open_folder, python_for_everyone, run, running, stub_python, workbook
from tests.runners.conftest import RUNNERS

__all__ = ["open_folder", "stub_python", "workbook"]


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
        "print(open('/proc/self/status').read().partition('CapEff:')[2].split()[0])\n"
        "for path in ('/proc/1/mem', '/proc/1/x', '/dev/x', '/dev/shm/x', '/x'):\n"
        "    try: open(path, 'r+b' if path.endswith('mem') else 'w'); print(path)\n"
        "    except OSError: pass\n"
        "open('/usr/x', 'w')\n"
    )
    program = (
        f"import sys; sys.path.insert(0, {str(open_folder)!r})\n"
        "from pathlib import Path\n"
        "from hitui_runners.realhitbench.charts.sandbox import Limits, Program, find_sandbox\n"
        f"sandbox = find_sandbox(sys.executable, Limits(processes=6), kinds=({kind!r},), needed=())\n"
        f"ran = sandbox.run(Program({code!r}, Path({str(open_folder / 'table.xlsx')!r})), 'line')\n"
        "print(ran.printed + ran.why)\n"
        "few = sandbox.with_limits(Limits(files=100))\n"
        'code = \'number = 0\\nwhile True: open(f"/tmp/{number}", "w"); number += 1\'\n'
        f"print(few.run(Program(code, Path({str(open_folder / 'table.xlsx')!r})), 'line').why)\n"
    )
    done = subprocess.run(
        [*as_nobody, python_for_everyone(), "-I", "-B", "-c", program],
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    forks, seen, networks, rights, why, files = done.stdout.splitlines()
    assert [forks, seen, networks, files] == ["True", "[] False False", "1", "more files than allowed"]
    assert int(rights, 16) == 0
    assert why.startswith(("OSError: [Errno 30]", "PermissionError"))


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


def test_what_lies_where_somebody_scores_is_not_run(
    monkeypatch: pytest.MonkeyPatch, stub_python: str, tmp_path: Path, workbook: Path
) -> None:
    for name in ("json", "platform"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    assert find_chart_python([stub_python]).path == stub_python
    assert run(find_sandbox(sys.executable, SMALL, needed=()), "print(1)", workbook).printed == "1\n"


def test_a_python_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoSandbox, match=r"nowhere/python.*name the Python"):
        find_sandbox(str(tmp_path / "nowhere/python"))
    with pytest.raises(NoSandbox, match=r"true.*name the Python"):
        find_sandbox("/bin/true")


def test_of_several_pythons_the_first_with_the_libraries_is_used(
    stub_python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What only our own variables bring is not there inside.
    (packages,) = Path(stub_python).parents[1].glob("l*/python3*/*-packages")
    monkeypatch.setenv("PYTHONPATH", str(packages))
    program = tmp_path / "talks"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    counts = tmp_path / "counts"
    counts.write_text("#!/bin/sh\necho 7\n")
    counts.chmod(0o755)
    others = [str(tmp_path / "absent"), str(program), "/bin/false", str(counts), python_for_everyone()]
    found = find_chart_python([*others, stub_python, sys.executable])
    assert found.path == stub_python
    assert found.versions["pandas"] == "2.2.3"
    with pytest.raises(NoSandbox) as caught:
        find_chart_python(others[:4])
    assert str(caught.value) == (
        f"no Python for charts: {others[0]}: No such file or directory; {program}: is no Python; "
        f"/bin/false: ends with 1; {counts}: is no Python; install numpy, pandas, matplotlib, openpyxl there, or name another ([charts] python)"
    )


@pytest.mark.parametrize(
    ("versions", "others"),
    [
        ({"python": "3.11.7", "numpy": "1.26.4", "pandas": "2.2.0", "matplotlib": "3.9.0"}, False),
        ({"python": "3.11.7", "numpy": "2.0.0", "pandas": "2.2.0", "matplotlib": "3.9.0"}, True),
        ({"python": "3.12.1", "numpy": "1.26.4", "pandas": "2.2.0", "matplotlib": "3.9.0"}, True),
    ],
)
def test_libraries_of_other_versions_than_the_benchmarks_are_told(
    versions: dict[str, str], others: bool
) -> None:
    line = ChartPython("python", versions).described
    assert line.startswith(", ".join(f"{name} {version}" for name, version in versions.items()))
    assert ("others let a few programs end otherwise" in line) == others


def test_limits_alone_still_stop_what_they_can(open_folder: Path, workbook: Path) -> None:
    walled_off = python_for_everyone()
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
    killed = run(sandbox, "import os\nos.kill(os.getpid(), 9)", table)
    assert (killed.why, killed.settled) == ("more CPU time than allowed", False)
