"""Readers of results and checkpoints: one file a kind, one line here.

Another harness's results: a module with a class that keeps `reading.Reader`, and its line in `KINDS`; the
contract tests pick it up.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hitui.adapters.checkpoints.reading import ReadContext, Reader

KINDS: dict[str, str] = {
    "realhitbench": "hitui.adapters.checkpoints.realhitbench:RealHiTBenchReader",
    "hf_trainer": "hitui.adapters.checkpoints.hf_trainer:TrainerReader",
    "line_count": "hitui.adapters.checkpoints.line_count:LineCountReader",
    "file_set": "hitui.adapters.checkpoints.file_set:FileSetReader",
}
"""Kind of a config → the reader of its files, loaded when it is first asked for."""


def make_reader(kind: str, context: ReadContext) -> Reader:
    """The reader of one kind. Raises KeyError for a kind that is not in KINDS."""
    module, _, name = KINDS[kind].partition(":")
    reader: Reader = getattr(importlib.import_module(module), name)(context)
    return reader
