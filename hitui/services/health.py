"""Is everything here that hitui needs: Python, driver, terminal, folders. One finding each, with its mend.

`health_workspace` asks the same of a workspace. Nothing is changed by looking.
"""

from __future__ import annotations

import locale
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from importlib import metadata
from pathlib import Path

import msgspec

from hitui.adapters.files.look import identity_of, is_dir
from hitui.adapters.files.watch import inotify_sees
from hitui.domain.gpus import GpuSnapshot
from hitui.paths import RuntimePaths, gpu_lock_home

PACKAGES = ("textual", "nvidia-ml-py", "watchdog", "msgspec", "psutil")
LOW_SPACE = 1024**3
"""Bytes free below which a disk is called nearly full."""
WATCHES_WANTED, INSTANCES_WANTED = 8192, 128
"""Below these inotify limits, which other programs of the same user share, watching may fail."""
_DRIVER_NODE = Path("/dev/nvidiactl")
_INOTIFY = Path("/proc/sys/fs/inotify")
_TERM_256 = ("256color", "kitty", "alacritty", "foot", "ghostty", "wezterm", "direct")


class Level(str, Enum):
    OK = "ok"
    WARN = "warn"
    """It works, with something missing or slower."""
    FAIL = "fail"
    """Something that hitui is for will not work."""


class Finding(msgspec.Struct, frozen=True):
    """One line."""

    name: str
    level: Level
    what: str
    mend: str = ""
    """What to do; empty when all is well."""


def ok(name: str, what: str) -> Finding:
    return Finding(name, Level.OK, what)


def warn(name: str, what: str, mend: str) -> Finding:
    return Finding(name, Level.WARN, what, mend)


def fail(name: str, what: str, mend: str) -> Finding:
    return Finding(name, Level.FAIL, what, mend)


def worst(findings: tuple[Finding, ...]) -> Level:
    order = list(Level)
    return max((finding.level for finding in findings), key=order.index, default=Level.OK)


def examine_python() -> Iterator[Finding]:
    yield ok("python", f"{platform.python_version()} ({sys.executable})")
    versions, absent = [], []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            absent.append(package)
    if absent:
        yield fail("packages", f"not installed: {', '.join(absent)}", f"pip install {' '.join(absent)}")
    else:
        yield ok("packages", ", ".join(versions))


def examine_gpus(
    snapshot: GpuSnapshot, exclude: frozenset[int], driver_node: Path = _DRIVER_NODE
) -> Iterator[Finding]:
    """The driver and each GPU with a fault; `exclude` from the settings."""
    if snapshot.error is not None:
        # A machine that never had a driver is a laptop; one whose driver is broken is a fault.
        here = snapshot.source == "simulated" or driver_node.exists()
        what, _, mend = snapshot.error.partition("; ")
        if here:
            yield fail("driver", what, mend or "see dmesg and nvidia-smi")
        else:
            yield warn("driver", what, f"{mend}; without one, `hitui demo` simulates GPUs")
        return
    # Simulated GPUs may call their driver that as well.
    yield ok("driver", " ".join(dict.fromkeys(filter(None, (snapshot.source, snapshot.driver)))))
    whole = [gpu for gpu in snapshot.gpus if gpu.mig_index is None]
    names = sorted({gpu.name for gpu in whole if gpu.name})
    if whole:
        yield ok("GPUs", f"{len(whole)} ({', '.join(names)})" if names else f"{len(whole)}")
    else:
        yield warn("GPUs", "the driver lists none", "look whether the container was given its GPUs")
    for gpu in snapshot.gpus:
        if gpu.error is not None:
            what, _, mend = gpu.error.partition("; ")
            yield warn(f"GPU {gpu.label}", what, mend or "see dmesg and nvidia-smi")
    absent = sorted(exclude - {gpu.index for gpu in whole})
    if absent:
        numbers = ", ".join(map(str, absent))
        yield warn(
            "GPUs", f"[gpus] exclude names GPU {numbers}, which is not there", "correct it in hitui.toml"
        )


def examine_terminal(environment: Mapping[str, str], is_terminal: bool) -> Iterator[Finding]:
    """What the screen will look like, from TERM, COLORTERM and the locale."""
    if not is_terminal:
        yield ok("terminal", "none here; the commands print without one, the dashboard needs one")
        return
    term = environment.get("TERM", "")
    in_tmux = "TMUX" in environment
    true_colour = environment.get("COLORTERM", "") in ("truecolor", "24bit")
    if term in ("", "dumb", "unknown"):
        yield fail(
            "terminal", f"TERM={term or '(unset)'} can draw no screen", "set TERM to what your terminal is"
        )
    elif any(mark in term for mark in _TERM_256):
        colours = "true colour" if true_colour else "256 colours"
        yield ok("terminal", f"TERM={term}{' in tmux' if in_tmux else ''}, {colours}")
    elif in_tmux:
        mend = "in ~/.tmux.conf: set -g default-terminal tmux-256color"
        yield warn("terminal", f"TERM={term} in tmux, 16 colours", mend)
    else:
        yield warn("terminal", f"TERM={term}, 16 colours", "set TERM=xterm-256color if your terminal can")
    encoding = locale.getpreferredencoding(False)
    if encoding.upper().replace("-", "") == "UTF8":
        yield ok("locale", encoding)
    else:
        yield warn("locale", f"{encoding}: bars and signs may show wrongly", "set LANG=C.UTF-8")


def examine_state(paths: RuntimePaths) -> Iterator[Finding]:
    """Where the supervisor keeps its queue, its socket and the locks on GPUs."""
    yield _folder("state folder", paths.state, "set XDG_STATE_HOME to a local folder that you can write")
    mend = "set XDG_RUNTIME_DIR to a local folder that you can write"
    runtime = _folder("runtime folder", paths.runtime, mend)
    if runtime.level is Level.FAIL and not paths.has_runtime_home:
        runtime = _folder("runtime folder", paths.socket_elsewhere.parent, mend)
    yield runtime
    yield _folder("GPU locks", gpu_lock_home(), "set HITUI_GPU_LOCKS to a folder that all users can write")


def examine_watching(inotify: Path = _INOTIFY) -> Iterator[Finding]:
    """How many files the kernel lets this user watch."""
    limits = {}
    for name in ("max_user_watches", "max_user_instances"):
        try:
            limits[name] = int((inotify / name).read_text())
        except (OSError, ValueError):
            yield warn("inotify", f"{inotify / name} cannot be read", "changes are found by polling")
            return
    wanted = {"max_user_watches": WATCHES_WANTED, "max_user_instances": INSTANCES_WANTED}
    low = [name for name, limit in limits.items() if limit < wanted[name]]
    text = ", ".join(f"{name} {limit}" for name, limit in limits.items())
    if low:
        orders = " ".join(f"fs.inotify.{name}={wanted[name]}" for name in low)
        yield warn("inotify", f"{text}: low, other programs use them too", f"sysctl {orders}")
    else:
        yield ok("inotify", text)


def nearest_folder(path: Path) -> Path:
    """`path`, or the nearest folder above it that exists and can be looked at."""
    while identity_of(path) is None and path != path.parent:
        path = path.parent
    return path


def space_left(folder: Path) -> int | None:
    """Free bytes for this user; None when it cannot be told."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _folder(name: str, path: Path, mend: str) -> Finding:
    """Whether a folder that must be local can be written, or made."""
    folder = nearest_folder(path)
    if not is_dir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        return fail(name, f"{path} cannot be written", mend)
    if not inotify_sees(folder):
        return fail(name, f"{path} lies on a network file system, where locks and databases fail", mend)
    left = space_left(folder)
    if left is not None and left < LOW_SPACE:
        return warn(name, f"{path}: only {left // 1024**2} MiB left on its disk", "make room there")
    return ok(name, str(path))
