"""The scores of a unit on disk: `scores.json` beside the results, which stay as they are.

    {"written_by": "hitui", "sources": [paths as seen from here], "libraries": {name: version},
     "chart_libraries": {name: version}, where charts were run,
     "aggregate_metrics": {"by_question_type": {type: {metric: mean}}, "overall": {metric: mean}},
     "counts": {row: {"results", "failed", "unjudged", "unscored", "charts", "charts_run", "charts_unscored"}},
     "notes": [lines], "metrics": {id: {metric: score}}, "charts": {id: why its ECR or Pass is false}}

The same results give the same file, byte for byte; its time is that at which they were read, so that whatever came
later, while it was made too, is newer. Its name is none of a file of results.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from hitui_runners.errors import RunnerError
from hitui_runners.look import is_file
from hitui_runners.realhitbench.aggregates import OVERALL, Row
from hitui_runners.realhitbench.rescoring import Sample
from hitui_runners.realhitbench.results import MARK, encode
from hitui_runners.realhitbench.units import Unit

_PARTIAL = ".hitui-part"
LIBRARIES = ("rouge-score", "sacrebleu")
"""Of which the versions are written down: their scores may change with them."""
_COUNTS = ("results", "failed", "unjudged", "unscored", "charts", "charts_run", "charts_unscored")


def report_of(
    unit: Unit, rows: Mapping[str, Row], notes: Sequence[str], chart_libraries: Mapping[str, str]
) -> dict[str, Any]:
    """All of a unit's scores but those of each result."""
    ran = OVERALL in rows and rows[OVERALL].charts_run > 0
    return {
        "sources": [os.path.relpath(path, unit.scores.parent) for path in unit.files],
        "libraries": _versions(),
        **({"chart_libraries": dict(chart_libraries)} if ran else {}),
        "aggregate_metrics": {
            "by_question_type": {name: row.rounded() for name, row in rows.items() if name != OVERALL},
            "overall": rows[OVERALL].rounded() if rows else {},
        },
        "counts": {name: {key: getattr(row, key) for key in _COUNTS} for name, row in rows.items()},
        "notes": list(notes),
    }


def write_scores(path: Path, report: Mapping[str, Any], samples: Sequence[Sample], read_at: int) -> bool:
    """Writes the scores, whole or not at all; False: they stood there already. Raises RunnerError.

    `read_at`: when the results were read, in nanoseconds since the epoch.
    """
    metrics = {str(sample.task): dict(sample.metrics) for sample in samples}
    charts = {str(sample.task): sample.why for sample in samples if sample.run and sample.why}
    content = encode({**MARK, **report, "metrics": metrics, "charts": charts}, indent=1)
    partial = path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}{_PARTIAL}")
    try:
        # All results of a config may lie in other folders than its own.
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            # A pipe would be waited for without an end.
            before = path.read_bytes() if is_file(path) else b""
            if before == content:
                # Where that is not allowed they look older than they are, which costs a call at most.
                with contextlib.suppress(OSError):
                    os.utime(path, ns=(read_at, read_at))
                return False
            if not _is_ours(before):
                raise RunnerError(
                    f"{path}: was not written by hitui and is left as it is; move it away, then score again"
                )
        _clear(partial)
        try:
            with partial.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.utime(partial, ns=(read_at, read_at))
            partial.replace(path)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise RunnerError(
            f"{path}: cannot be written: {error.strerror}; nothing was changed, make room or make the folder writable"
        ) from error
    return True


def _clear(partial: Path) -> None:
    """Removes what is half written where this process will write, and where killed ones of this machine did."""
    start = partial.name.removesuffix(f"{os.getpid()}{_PARTIAL}")
    for path in partial.parent.glob(f"*{_PARTIAL}"):
        number = path.name.removeprefix(start).removesuffix(_PARTIAL)
        if path.name.startswith(start) and number.isdecimal() and (path == partial or not _runs(int(number))):
            with contextlib.suppress(OSError):
                path.unlink()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        # Someone else's.
        return True
    return True


def _is_ours(content: bytes) -> bool:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(data, dict) and data.get("written_by") == MARK["written_by"]


def _versions() -> dict[str, str]:
    versions = {}
    for library in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[library] = metadata.version(library)
    return versions
