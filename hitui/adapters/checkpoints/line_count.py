"""Counts the lines of JSONL files against the `total` that a config declares: any program that writes a
line for each thing it has done can be followed like that."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from pathlib import Path

from hitui.adapters.checkpoints.file_set import matching_files
from hitui.adapters.checkpoints.reading import ReadContext, Reading
from hitui.domain.configs import Config, ConfigState
from hitui.domain.units import counted

DEFAULT_PATTERN = "*.jsonl"
_CHUNK = 1024 * 1024
_TAIL = 256


class LineCountReader:
    """A line counts once its newline is there. Reads on from where it stopped, unless the file was written anew."""

    def __init__(self, context: ReadContext) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._counted: dict[Path, tuple[int, int, int, bytes]] = {}
        """File → its inode, how many bytes are counted, their lines, and the last of those bytes."""

    def fingerprint(self, config: Config) -> Hashable:
        return config, tuple(matching_files(self._context, config, DEFAULT_PATTERN))

    def read(self, config: Config, fingerprint: Hashable = None) -> Reading:
        declared = self._context.declared.get(config.name)
        total = declared.total if declared is not None else None
        lines, problems = 0, []
        files = matching_files(self._context, config, DEFAULT_PATTERN)
        for path, signature in files:
            try:
                lines += self._count(path, signature[0], signature[1])
            except OSError as error:
                problems.append(f"{self._context.shown(path)}: cannot be read: {error.strerror}")
        done = lines if total is None else min(lines, total)
        notes = (
            ()
            if done == lines
            else (f"{counted(lines, 'line')}, {lines - done} more than the total of {total}",)
        )
        shown = self._context.shown(files[-1][0]) if files else ""
        return Reading(
            ConfigState(
                config,
                scanned=True,
                unit="lines",
                total=total,
                done=done,
                missing=total - done if total is not None else 0,
                updated=max((signature[2] for _, signature in files), default=0) / 1e9 or None,
                source=shown + (f" and {len(files) - 1} more" if len(files) > 1 else ""),
                problems=tuple(problems),
                notes=notes,
            )
        )

    def _count(self, path: Path, inode: int, size: int) -> int:
        with self._lock:
            known_inode, offset, lines, tail = self._counted.get(path, (inode, 0, 0, b""))
        with path.open("rb") as file:
            file.seek(offset - len(tail))
            if known_inode != inode or size < offset or file.read(len(tail)) != tail:
                offset, lines, tail = 0, 0, b""
            file.seek(offset)
            while chunk := file.read(_CHUNK):
                lines += chunk.count(b"\n")
                offset += len(chunk)
                tail = (tail + chunk)[-_TAIL:]
        with self._lock:
            self._counted[path] = (inode, offset, lines, tail)
        return lines
