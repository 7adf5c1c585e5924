"""The command lines that put walls around a program: bubblewrap's, those of unshare(1), or, if so allowed, none.

Inside: the system's programs and the chart environment, read-only; `/tmp` with a size, which is all that can be
written, and gone afterwards; an empty home in it; the workbook in `/chart`; no network, no other
process. What the process itself can be told not to do (limits, system calls) is `guest`'s part, and all there is
without walls.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BUBBLEWRAP, NAMESPACES, NONE = "bubblewrap", "namespaces", "limits alone"
GUEST = "/chart/guest.py"
OLDEST_BUBBLEWRAP = (0, 7)
"""The first that limits the size of a folder in memory."""

_HERE = Path(__file__).resolve().parent
_COVERED = "/sys"
"""A folder of every system, from which nothing is shown inside: the one that is built there is mounted over it, where
nobody outside sees it."""
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/fonts",
    "/etc/localtime",
    "/etc/alternatives",
)
ENVIRONMENT = {
    "HOME": "/tmp/home",
    "TMPDIR": "/tmp",
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "MPLBACKEND": "Agg",
    "MPLCONFIGDIR": "/tmp/matplotlib",
    "PYTHONHASHSEED": "0",
    "PYTHONNOUSERSITE": "1",
    "PYTHONIOENCODING": "utf-8",
    "PYTHONWARNINGS": "ignore",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TZ": "UTC",
}


@dataclass(frozen=True)
class Inside:
    """What a sandbox shows of this machine."""

    python: str
    """The chart environment's interpreter."""
    folders: tuple[str, ...]
    """What that needs, and can be read."""
    scratch: int
    """Bytes that may be written."""


@dataclass(frozen=True)
class Opened:
    """Descriptors that the command inherits."""

    files: Mapping[str, int]
    """What is copied in, by where it is then."""
    result: int


def absent(kind: str) -> str | None:
    """Why this kind of walls cannot be tried here, in a few words; None: it can."""
    for program in {BUBBLEWRAP: ("bwrap",), NAMESPACES: ("unshare", "setpriv")}.get(kind, ()):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if kind == BUBBLEWRAP:
        answer = subprocess.run([_program("bwrap"), "--version"], capture_output=True, text=True)
        found = re.search(r"(\d+)\.(\d+)", answer.stdout)
        if found is None or (int(found[1]), int(found[2])) < OLDEST_BUBBLEWRAP:
            return f"{answer.stdout.strip() or 'bwrap'} is older than {'.'.join(map(str, OLDEST_BUBBLEWRAP))}"
    return None


def command(kind: str, inside: Inside, opened: Opened) -> list[str]:
    """What to run."""
    if kind == BUBBLEWRAP:
        return [*_bubblewrap(inside, opened), *_guest(inside, GUEST, opened)]
    if kind == NAMESPACES:
        return _namespaces(inside, opened)
    return _guest(inside, str(_HERE / "guest.py"), opened)


def environment(kind: str, folder: str) -> dict[str, str]:
    """The variables that the command is given. `folder`: without walls, where it may write."""
    if kind == NONE:
        return {name: re.sub(r"^/tmp\b", lambda _: folder, value) for name, value in ENVIRONMENT.items()}
    return ENVIRONMENT


def folders_of(python: str) -> tuple[str, ...]:
    """The folders that an interpreter lives in, without those that every sandbox shows. Raises OSError, ValueError.

    It is asked itself, outside of any sandbox: it is the user's own.
    """
    question = (
        "import json, os, sys; real = os.path.realpath(sys.executable); "
        "print(json.dumps([sys.prefix, sys.base_prefix, sys.exec_prefix, "
        "os.path.dirname(os.path.dirname(real)), *(p for p in sys.path[1:] if os.path.isdir(p))]))"
    )
    try:
        # Inside there are none of the user's variables, PYTHONPATH neither; and nothing is taken from where he is.
        words = [python, "-E", "-s", "-c", question]
        answer = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd="/")
    except subprocess.TimeoutExpired as error:
        raise ValueError("it does not answer") from error
    if answer.returncode != 0:
        raise ValueError((answer.stderr.strip().splitlines() or [f"it ends with {answer.returncode}"])[-1])
    prefixes = json.loads(answer.stdout)[:4]
    # What is installed so that it can be edited lies in somebody's own folder.
    packages = [path for path in json.loads(answer.stdout)[4:] if path.endswith("-packages")]
    found = sorted({form for path in prefixes + packages for form in (path, os.path.realpath(path))}, key=len)
    kept: list[str] = []
    home = os.path.realpath(Path.home())
    for path in found:
        shown = any(path == other or path.startswith(f"{other}/") for other in (*_SYSTEM, *kept))
        if path not in ("/", "/tmp") and not shown:
            if home == path or home.startswith(f"{path}/"):
                raise ValueError(f"its folder {path} holds your home")
            kept.append(path)
    return tuple(kept)


def _guest(inside: Inside, guest: str, opened: Opened) -> list[str]:
    return [inside.python, "-s", "-B", guest, str(opened.result)]


def _bubblewrap(inside: Inside, opened: Opened) -> list[str]:
    words = [_program("bwrap"), "--die-with-parent", "--new-session", "--clearenv"]
    words += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    words += ["--cap-drop", "ALL"]
    if os.geteuid() == 0:
        # Root needs no user namespace, and would be root to the kernel in one too; the guest becomes nobody.
        words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        words += ["--unshare-user"]
    for name, value in ENVIRONMENT.items():
        words += ["--setenv", name, value]
    links, folders = _system()
    for path, target in links.items():
        words += ["--symlink", target, path]
    # Over the first process, which is bubblewrap's own: an ordinary user could write its own program into its memory,
    # for no limit and no filter to see. Of /dev/zero memory can be had that no process is charged for.
    words += [
        "--proc",
        "/proc",
        "--tmpfs",
        "/proc/1",
        "--remount-ro",
        "/proc/1",
        "--dev",
        "/dev",
        "--ro-bind",
        "/dev/null",
        "/dev/zero",
        "--remount-ro",
        "/dev",
    ]
    words += ["--perms", "1777", "--size", str(inside.scratch), "--tmpfs", "/tmp"]
    made = {"/", "/tmp"}
    for path in (*folders, *inside.folders, GUEST):
        # bubblewrap makes what lies above for its own user alone.
        for above in [str(parent) for parent in reversed(Path(path).parents)]:
            if above not in made:
                words += ["--perms", "0755", "--dir", above]
                made.add(above)
        if path != GUEST:
            words += ["--ro-bind", path, path]
    for path, descriptor in opened.files.items():
        words += ["--perms", "0444", "--ro-bind-data", str(descriptor), path]
    return [*words, "--remount-ro", "/", "--chdir", "/tmp", "--"]


def _namespaces(inside: Inside, opened: Opened) -> list[str]:
    root = os.geteuid() == 0
    links, folders = _system()
    plan = {
        "root": _COVERED,
        "root_outside": root,
        "links": links,
        "folders": [*folders, *inside.folders],
        "files": dict(opened.files),
        "scratch": inside.scratch,
        "environment": ENVIRONMENT,
        "words": _guest(inside, GUEST, opened),
        "result": opened.result,
    }
    # unshare ends what is inside when it ends itself, and itself with whoever started it.
    words = [_program("setpriv"), "--pdeathsig", "KILL", _program("unshare")]
    words += [] if root else ["--user", "--map-root-user"]
    words += ["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child=KILL", "--"]
    return [*words, inside.python, "-s", "-B", str(_HERE / "enclosure.py"), json.dumps(plan)]


def _system() -> tuple[dict[str, str], tuple[str, ...]]:
    """The links and the folders and files of this system that every sandbox shows."""
    links = {path: str(Path(path).readlink()) for path in _SYSTEM if Path(path).is_symlink()}
    folders = [path for path in _SYSTEM if path not in links and Path(path).is_dir()]
    return links, (*folders, *(path for path in _ETC if Path(path).exists()))


def _program(name: str) -> str:
    """Its whole path. Raises FileNotFoundError."""
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed")
    return found
