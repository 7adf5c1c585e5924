"""The supervisor as a unit of the user's systemd, so that it is there again after a restart of the machine.

Quoting follows systemd.syntax(7) and systemd.service(5) ("Command lines"): words in double quotes with C escapes,
`%` doubled because it begins a specifier; `$` begins a variable in a command line, which the prefix `:` turns off.
A unit starts the program itself, with its arguments as a list; no shell is in between.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hitui.adapters.files.atomic import write_atomically
from hitui.errors import SupervisorError, WorkspaceError
from hitui.paths import RuntimePaths, config_home
from hitui.supervisor.__main__ import FOREGROUND

BOOTED = Path("/run/systemd/system")
"""Is there where systemd started the machine: sd_booted(3)."""
MARK = "# Written by hitui supervisor install; hitui supervisor uninstall removes it."
VARIABLES = (
    "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "TMPDIR", "HITUI_GPU_LOCKS", "HITUI_SIMULATED_GPUS",
    "LD_LIBRARY_PATH", "PYTHONPATH",
)  # fmt: skip
"""What decides where runtime files lie and which driver is loaded: it must be the same for whoever asks the
supervisor. Jobs run in the environment of whoever submitted them."""
_LONGEST_NAME = 80


def systemd_runs() -> bool:
    return BOOTED.is_dir()


def unit_path(workspace: Path) -> Path:
    """The unit's file: `hitui-NAME-DIGEST.service`, as the workspace's state folder is called."""
    name = RuntimePaths.of(workspace).state.name
    plain, _, digest = name.rpartition("-")
    # Units have ASCII names without most punctuation; the digest tells workspaces apart.
    plain = re.sub(r"[^A-Za-z0-9_.]", "_", plain)[:_LONGEST_NAME]
    return config_home() / "systemd" / "user" / f"hitui-{plain}-{digest}.service"


def unit_text(workspace: Path, environment: Mapping[str, str]) -> str:
    """The unit of a workspace. Raises SupervisorError for names that a unit cannot hold."""
    words = _command(workspace, FOREGROUND)
    if set(words[0]) & set("\"'\\") or not words[0].isprintable():
        raise SupervisorError(
            f"{_printable(words[0])}: systemd starts no program with quotes or backslashes in its path;"
            " put the environment of hitui into another folder"
        )
    # An older systemd does not know the prefix, so it stands only where it is needed.
    prefix = ":" if any("$" in word for word in words) else ""
    lines = [
        MARK,
        "[Unit]",
        f"Description=hitui supervisor of {_specifier_free(_printable(str(workspace)))}",
        # One that is refused, as by a job store of a newer hitui, is not started for ever.
        "StartLimitIntervalSec=300",
        "StartLimitBurst=5",
        "",
        "[Service]",
        f"ExecStart={prefix}{' '.join(map(quoted, words))}",
        "WorkingDirectory=/",
        *(f"Environment={quoted(f'{name}={value}')}" for name, value in _kept(environment).items()),
        # A shell that has no such folder makes supervisors that have none either.
        *(["UnsetEnvironment=XDG_RUNTIME_DIR"] if "XDG_RUNTIME_DIR" not in environment else []),
        "Restart=on-failure",
        "RestartSec=5",
        # The jobs go on when the supervisor ends, and do not take it along when memory runs out.
        "KillMode=process",
        "OOMPolicy=continue",
        "TasksMax=infinity",
        "",
        "[Install]",
        "WantedBy=default.target",
        "",
    ]
    return "\n".join(lines)


def install(workspace: Path, environment: Mapping[str, str]) -> Path:
    """Writes the unit and returns its file. Raises SupervisorError when that cannot be done."""
    path = unit_path(workspace)
    text = unit_text(workspace, environment)
    _check_ours(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    except WorkspaceError as error:
        raise SupervisorError(str(error)) from error
    except OSError as error:
        raise SupervisorError(
            f"{error.filename or path}: the unit cannot be written: {error.strerror}; "
            "`hitui supervisor install --print` prints it"
        ) from error
    return path


def uninstall(workspace: Path) -> Path | None:
    """Removes the unit, enabled or not, and returns what its file was; None: there is none.

    Raises SupervisorError when it cannot be removed, or is someone else's.
    """
    path = unit_path(workspace)
    if not os.path.lexists(path):
        return None
    _check_ours(path)
    enabled = path.parent / "default.target.wants" / path.name
    try:
        if enabled.is_symlink():
            enabled.unlink()
        path.unlink()
    except OSError as error:
        raise SupervisorError(f"{path}: cannot be removed: {error.strerror}") from error
    return path


def commands_after_install(path: Path) -> tuple[str, ...]:
    """What a person is to run so that the unit starts with the machine."""
    return (
        "systemctl --user daemon-reload",
        f"systemctl --user enable --now {path.name}",
        # Without it systemd ends everything of a user who has logged out.
        "loginctl enable-linger",
    )


def commands_after_uninstall(path: Path) -> tuple[str, ...]:
    return (f"systemctl --user stop {path.name}", "systemctl --user daemon-reload")


def cron_line(workspace: Path, environment: Mapping[str, str]) -> str:
    """The line of a crontab that starts the supervisor with the machine; `%` is a line's end to cron: crontab(5).

    Raises SupervisorError for names that one line cannot hold.
    """
    variables = [f"{name}={shlex.quote(value)}" for name, value in _kept(environment).items()]
    line = "@reboot " + " ".join((*variables, shlex.join(_command(workspace))))
    if "\n" in line:
        raise SupervisorError(
            f"{_printable(line)}: a crontab takes no name with a line end; rename what has it"
        )
    return line.replace("%", r"\%")


def quoted(word: str) -> str:
    """One word of a unit's list, as systemd reads it back; specifiers and C escapes are taken care of."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    escaped = "".join(
        char if char.isprintable() else "".join(f"\\x{byte:02x}" for byte in char.encode())
        for char in escaped
    )
    return f'"{_specifier_free(escaped)}"'


def _command(workspace: Path, *options: str) -> Sequence[str]:
    folder = str(workspace)
    try:
        folder.encode()
    except UnicodeEncodeError as error:
        raise SupervisorError(
            f"{_printable(folder)}: the folder's name is no UTF-8 text; rename it to run anything in it"
        ) from error
    return (sys.executable, "-m", "hitui.supervisor", *options, folder)


def _kept(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: environment[name] for name in VARIABLES if environment.get(name)}


def _specifier_free(text: str) -> str:
    return text.replace("%", "%%")


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() and char != "\\" else "?" for char in text)


def _check_ours(path: Path) -> None:
    try:
        ours = not os.path.lexists(path) or path.read_text(encoding="utf-8").startswith(MARK)
    except (OSError, UnicodeDecodeError):
        ours = False
    if not ours:
        raise SupervisorError(f"{path}: is not hitui's; move it away, or print the unit with --print")
