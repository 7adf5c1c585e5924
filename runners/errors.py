"""What ends a run: one line for stderr and an exit status; and the words of other errors, for such a line."""

from __future__ import annotations

import errno
import os

_STAYS = frozenset((
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENAMETOOLONG,
))  # fmt: skip
"""What the system says of a path until someone changes something. A disk that is full, or fails, is not among it."""
_MAY_PASS = ("CUDA", "NCCL", *map(os.strerror, (errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EMFILE)))
"""How libraries word what is the fault of a GPU or of the machine."""


class RunnerError(Exception):
    """The run cannot go on; the message says what, where, and the mend."""

    exit_status = 1
    """Of the evaluation program, where this ends it."""


class SetupError(RunnerError):
    """It would fail the same way until a person changes something: a library, a model folder, a list, an option."""

    exit_status = 78
    """EX_CONFIG of sysexits.h."""


class EngineLost(RunnerError):
    """The engine can answer nothing any more, of no config."""


def setup_error(message: str, error: Exception) -> RunnerError:
    """What to raise where `error` keeps a run from beginning: a SetupError, unless it may be gone at the next try."""
    if isinstance(error, OSError) and error.errno is not None:
        stays = error.errno in _STAYS
    elif isinstance(error, ImportError):
        # It may name a library of CUDA's.
        stays = True
    else:
        stays = not isinstance(error, MemoryError) and not any(words in str(error) for words in _MAY_PASS)
    return (SetupError if stays else RunnerError)(message)


def words_of(error: BaseException, at_most: int = 300) -> str:
    """What an error says, on one line of so many characters; its type where it says nothing."""
    return " ".join(str(error).split())[:at_most] or type(error).__name__
