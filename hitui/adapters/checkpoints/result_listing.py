"""Which result files lie in the folders of a config, and what has the name of one and is none."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hitui.adapters.checkpoints.reading import Signature, signature_in

RESULT_NAME = re.compile(r"(checkpoint(_\w+)?\.json|results.*\.jsonl?)")
"""Files of results, as a whole match: checkpoint.json, checkpoint_batch.json, results_20260203.json, …"""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def is_result_file(name: str) -> bool:
    return RESULT_NAME.fullmatch(name) is not None


class Listing(NamedTuple):
    """What was found in some folders. Equal as long as nothing changed."""

    files: tuple[tuple[str, Signature], ...]
    """Path and signature of regular files, those that count less first: by modification time, then path."""
    unlisted: tuple[tuple[str, str], ...]
    """Folders that are there but cannot be listed, with the reason."""
    no_files: tuple[tuple[str, str], ...]
    """Path of what has a wanted name and is no regular file, with what is wrong and the mend."""

    def without(self, name: str) -> Listing:
        """What there is besides the entries of that name."""
        end = f"/{name}"
        return Listing(
            tuple([file for file in self.files if not file[0].endswith(end)]),
            self.unlisted,
            tuple([entry for entry in self.no_files if not entry[0].endswith(end)]),
        )


def list_files(folders: Sequence[str], wanted: Callable[[str], bool]) -> Listing:
    """The entries of `folders` with wanted names. None is opened: a pipe would be waited for for ever."""
    found: dict[str, Signature] = {}
    unlisted: list[tuple[str, str]] = []
    no_files: dict[str, str] = {}
    for folder in folders:
        try:
            with os.scandir(folder) as entries:
                chosen = [entry for entry in entries if wanted(entry.name)]
            for entry in chosen:
                looked = _look(entry)
                if isinstance(looked, str):
                    no_files[entry.path] = looked
                elif looked is not None:
                    found[entry.path] = looked
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            unlisted.append((folder, error.strerror or str(error)))
    return Listing(tuple(sorted(found.items(), key=later)), tuple(unlisted), tuple(sorted(no_files.items())))


def later(file: tuple[str, Signature]) -> tuple[int, str]:
    return file[1][2], file[0]


def result_files(folders: Sequence[str]) -> tuple[tuple[str, Signature], ...]:
    """The result files in `folders` that are regular files, as `Listing.files`."""
    return list_files(folders, is_result_file).files


def _look(entry: os.DirEntry[str]) -> Signature | str | None:
    """The signature of a regular file, what is wrong with anything else; None: it has just gone.

    Raises OSError where the folder does not let its entries be looked at.
    """
    try:
        status = entry.stat()
    except OSError as error:
        try:
            target = os.readlink(entry.path)  # noqa: PTH115 - shown as it stands in the link
        except OSError:
            if isinstance(error, FileNotFoundError):
                return None
            # It is no link, so the trouble is the folder's.
            raise error from None
        reason = "which is not there" if isinstance(error, FileNotFoundError) else error.strerror
        return f"is a link to {target}, {reason}: bring that back (is its disk mounted?), or remove the link"
    if stat.S_ISREG(status.st_mode):
        return signature_in(status)
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no regular file")
    return f"is {kind} with the name of a results file: put the file back there, or rename it"
