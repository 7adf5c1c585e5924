"""What `hitui score` wrote of a config, for whoever shows it."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import msgspec

from hitui.adapters.files.look import is_file
from hitui.decoding import json_decoder

NAME = "scores.json"
VERDICTS = "verdicts.jsonl"
"""What judges said, which the scores take in."""
_LARGEST = 64 * 1024 * 1024
"""Bytes; larger is nothing that hitui wrote."""


class Scores(msgspec.Struct, frozen=True):
    """The means over all questions, and what is in none of them."""

    means: dict[str, float]
    """By metric, in percent."""
    charts_unscored: int = 0
    unjudged: int = 0
    written: float = 0.0
    """When the results were read that it was made of, in seconds since the epoch."""
    judged: float | None = None
    """When the newest verdict came; None: there are none."""

    def older_than(self, updated: float | None) -> tuple[str, ...]:
        """What came after it. `updated`: when the newest result came."""
        came = {"results": updated, "verdicts": self.judged}
        return tuple(what for what, at in came.items() if at is not None and self.written < at)


class _Counts(msgspec.Struct):
    charts_unscored: int = 0
    unjudged: int = 0


class _Aggregates(msgspec.Struct):
    overall: dict[str, float] = {}


class _File(msgspec.Struct):
    written_by: str
    aggregate_metrics: _Aggregates
    counts: dict[str, _Counts] = {}
    sources: list[str] = []
    """Of which files, as seen from its folder."""


def read_scores(output: Path) -> Scores | None:
    """The scores beside the results in a config's folder; None: there are none that hitui wrote and can be read."""
    path = output / NAME
    try:
        written = path.stat().st_mtime
    except OSError:
        return None
    found = _read(path)
    if found is None:
        return None
    counts = found.counts.get("Overall", _Counts())
    try:
        judged = (output / VERDICTS).stat().st_mtime
    except OSError:
        judged = None
    return Scores(found.aggregate_metrics.overall, counts.charts_unscored, counts.unjudged, written, judged)


def is_made_of(path: Path, results: Collection[Path]) -> bool:
    """Whether scores that hitui wrote are those of one of these files of results."""
    found = _read(path)
    return found is not None and any(
        Path(os.path.normpath(path.parent / source)) in results for source in found.sources
    )


def _read(path: Path) -> _File | None:
    """None: it is none that hitui wrote, or cannot be read."""
    try:
        if not is_file(path) or path.stat().st_size > _LARGEST:
            return None
        found = json_decoder(_File)(path.read_bytes())
    except (OSError, msgspec.MsgspecError, ValueError):
        # It is made anew at any time; nothing is lost with it.
        return None
    return found if found.written_by == "hitui" else None
