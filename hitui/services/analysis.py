"""The missing-task report over all configs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import msgspec

from hitui.adapters.checkpoints import skip_ids
from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.adapters.checkpoints.skip_ids import SkipReport
from hitui.adapters.files.look import is_dir
from hitui.domain.configs import Config, ConfigState

_AND_MORE = re.compile(r" and \d+ more$")
"""How `ConfigState.source` ends where several files were read."""


class Analysis(msgspec.Struct, frozen=True):
    """The report on one config."""

    state: ConfigState
    report: SkipReport
    path: Path
    """Where `write` puts it: beside the results."""


def analyze(catalogue: Catalogue, configs: Iterable[Config] | None = None) -> tuple[Analysis, ...]:
    """Reports on every config that has tasks and results (of `configs`, or all).

    Not on those of whose files none can be read, or of which only an earlier report is there: a report made
    of them would say less than what is there.
    """
    now = datetime.now().astimezone().isoformat()
    analyses = []
    for config in catalogue.configs if configs is None else configs:
        reading = catalogue.read(config)
        state = reading.state
        if config.kind != "realhitbench" or state.total is None or state.updated is None:
            continue
        if Path(state.source).name == skip_ids.NAME:
            continue
        folder = next((Path(text) for text in config.folders if is_dir(text)), None)
        if folder is None:
            continue
        group, _, _ = config.name.rpartition("/")
        questions = catalogue.questions_file
        metadata = skip_ids.Metadata(
            result_file=_AND_MORE.sub("", state.source),
            config=group or config.name,
            modality=config.modality,
            format=config.table_format,
            analysis_time=now,
            master_task_list=catalogue.shown(questions) if questions else None,
        )
        report = skip_ids.make_report(reading.tasks, metadata)
        analyses.append(Analysis(state, report, folder / skip_ids.NAME))
    return tuple(analyses)
