"""Runs a program with a small disk of its own in place of a folder: `small_disk.py FOLDER BYTES PROGRAM…`.

In new user and mount namespaces, so that nobody else sees the mount and it ends with the program. Exit status 77
where this kernel or container does not allow that.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
NOT_ALLOWED = 77


def main(folder: str, size: str, *program: str) -> None:
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0:
        sys.exit(NOT_ALLOWED)
    try:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            Path("/proc/self", name).write_text(text, encoding="ascii")
    except OSError:
        sys.exit(NOT_ALLOWED)
    # Not to be seen outside of the namespace.
    private = libc.mount(None, b"/", None, 0x44000, None)
    if private != 0 or libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, f"size={size}".encode()) != 0:
        sys.exit(NOT_ALLOWED)
    os.execv(program[0], program)


if __name__ == "__main__":
    main(*sys.argv[1:])
