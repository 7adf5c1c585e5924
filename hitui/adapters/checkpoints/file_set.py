"""Counts files that appear against the `total` that a config declares: for programs that write one file for
each thing they have done."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

from hitui.adapters.checkpoints.reading import ReadContext, Reading, Signature, signature_of
from hitui.adapters.files.look import is_file
from hitui.domain.configs import Config, ConfigState
from hitui.domain.units import counted

DEFAULT_PATTERN = "*"


class FileSetReader:
    """Empty files do not count: they are made before they are written."""

    def __init__(self, context: ReadContext) -> None:
        self._context = context

    def fingerprint(self, config: Config) -> Hashable:
        return config, tuple(matching_files(self._context, config, DEFAULT_PATTERN))

    def read(self, config: Config, fingerprint: Hashable = None) -> Reading:
        declared = self._context.declared.get(config.name)
        total = declared.total if declared is not None else None
        files = matching_files(self._context, config, DEFAULT_PATTERN)
        written = [signature for _, signature in files if signature[1] > 0]
        done = len(written) if total is None else min(len(written), total)
        notes: tuple[str, ...] = ()
        if done < len(written):
            notes = (
                f"{counted(len(written), 'file')}, {len(written) - done} more than the total of {total}",
            )
        return Reading(
            ConfigState(
                config,
                scanned=True,
                unit="files",
                total=total,
                done=done,
                missing=total - done if total is not None else 0,
                updated=max((signature[2] for signature in written), default=0) / 1e9 or None,
                source=self._context.shown(config.output) if written else "",
                notes=notes,
            )
        )


def matching_files(context: ReadContext, config: Config, default: str) -> list[tuple[Path, Signature]]:
    """The files in the config's folders that its `pattern` matches, the newest last."""
    declared = context.declared.get(config.name)
    pattern = (declared.pattern if declared is not None else None) or default
    found: dict[Path, Signature] = {}
    for folder in config.folders:
        for path in Path(folder).glob(pattern):
            signature = signature_of(path)
            if signature is not None and is_file(path):
                found[path] = signature
    return sorted(found.items(), key=lambda item: (item[1][2], str(item[0])))
