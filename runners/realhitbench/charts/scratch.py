"""Keeps the folder of a program that runs without walls: `python -I -S scratch.py`, with a pipe as stdin.

It makes the folder, says where, and is told a line with the number of the program's group of processes, or 0 once
that has ended. When the pipe ends, for which it is enough that whoever held it was killed, that group is killed and
the folder goes. Behind walls there is no folder, and the kernel ends what is inside.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

_GONE_SECONDS = 10.0
"""Killed processes may still write until they are gone."""


@contextlib.contextmanager
def scratch_folder() -> Iterator[tuple[str, Callable[[int], None]]]:
    """A folder of this user's alone, and what is to be called with each number. Raises OSError."""
    keeper = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # Ctrl-C is not for it.
        start_new_session=True,
    )
    with keeper:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        folder = os.fsdecode(keeper.stdout.readline().removesuffix(b"\n"))
        if not folder:
            raise OSError(f"no temporary folder can be made in {tempfile.gettempdir()}")
        descriptor = keeper.stdin.fileno()
        yield folder, lambda group: _tell(descriptor, group)


def _tell(descriptor: int, group: int) -> None:
    os.write(descriptor, b"%d\n" % group)


def main() -> None:
    """Makes the folder, waits, clears up."""
    folder = tempfile.mkdtemp(prefix="hitui-chart-")
    try:
        sys.stdout.buffer.write(os.fsencode(folder) + b"\n")
        sys.stdout.buffer.flush()
        group = 0
        for line in sys.stdin:
            group = int(line)
        end = time.monotonic() + _GONE_SECONDS
        with contextlib.suppress(ProcessLookupError):
            while group and time.monotonic() < end:
                os.killpg(group, 9)
                time.sleep(0.01)
    finally:
        _remove(folder)


def _remove(folder: str) -> None:
    """Whatever is in it, with rights or without, and however deep."""
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    for name, *options in (("chmod", "-R", "u+rwX"), ("rm", "-rf")):
        program = shutil.which(name) or shutil.which(name, path=os.defpath)
        if program is not None and os.path.lexists(folder):
            words = [program, *options, "--", folder]
            subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
