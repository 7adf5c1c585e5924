"""What the supervisor says of errors that it survives."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import sys
import time
import traceback
from pathlib import Path

_NO_LOCKS = frozenset({errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})
"""What file systems say that lock no files, or, as NFS, none that are open for reading alone."""


def note_error() -> None:
    """Writes the exception at hand into the supervisor's log. A log that takes no more is no reason to fail."""
    with contextlib.suppress(OSError):
        traceback.print_exc(file=sys.stderr)


def note(line: str) -> None:
    """Writes one line into the supervisor's log."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        sys.stderr.flush()


def disk_trouble(path: Path, error: OSError | sqlite3.Error) -> str:
    """One line for a file of the state folder that could not be used, with the mend."""
    if isinstance(error, OSError):
        where, what = error.filename or path, error.strerror or str(error)
    else:
        where, what = path, str(error)
    # An operational error is the disk's, any other of SQLite's the content's.
    lies_in_disk = isinstance(error, (OSError, sqlite3.OperationalError))
    mend = "make room there and see that it can be written" if lies_in_disk else "move it away to begin anew"
    if isinstance(error, OSError) and error.errno in _NO_LOCKS:
        what, mend = f"no locks ({what})", "as on a network file system: set XDG_STATE_HOME to a local folder"
    return f"{where}: the jobs cannot be kept there: {what}; {mend}"
