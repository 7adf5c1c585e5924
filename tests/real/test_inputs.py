"""Prompts of the real tables, in every format: within the budget, 99 % of it at least, header rows kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hitui_runners.engines.base import Prompt
from hitui_runners.engines.headers import header_rows
from hitui_runners.engines.inputs import PromptInputs, length
from hitui_runners.engines.processors import load_processor
from hitui_runners.realhitbench.questions import TABLE_FORMATS

from tests.tools.real_data import real_data

SOURCE = real_data()
pytestmark = [
    pytest.mark.real,
    pytest.mark.model,
    pytest.mark.skipif(SOURCE is None, reason="the real benchmark's folder is absent"),
]
BUDGET = 30_000
BYTES, STEP = 400_000, 150
"""Of the tables that are no larger, which takes seconds more, each so many-th by size is cut."""


@pytest.fixture(scope="module")
def inputs(tiny_model: Path) -> Iterator[PromptInputs]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield PromptInputs(load_processor(tiny_model), BUDGET, None)


@pytest.mark.parametrize("table_format", TABLE_FORMATS)
def test_real_tables_are_cut_to_the_budget(inputs: PromptInputs, table_format: str) -> None:
    assert SOURCE is not None
    sizes = {file: file.stat().st_size for file in (SOURCE / "data" / table_format).iterdir()}
    files = sorted(
        (file for file in sizes if sizes[file] <= BYTES), key=lambda file: (-sizes[file], file.name)
    )
    cut = 0
    for file in files[::STEP]:
        table = file.read_text(encoding="utf-8", errors="replace")
        start, end = header_rows(table, table_format)
        for budget in (2000, BUDGET):
            recovery: dict[str, object] = {}
            prompt = Prompt(
                1,
                "A table.\n\n",
                table,
                "\n\nHow many?",
                "How many?",
                table_format=table_format,
                max_input_tokens=budget,
            )
            ids = inputs.of(prompt, None, recovery)
            if not recovery:
                continue
            cut += 1
            assert 0.99 * budget <= length(ids) <= budget, (file.name, budget)
            # A character has no more than two of this small vocabulary's tokens, but rarely more than one.
            if end - start < budget / 2:
                assert table[start:end] in inputs._tokenizer.decode(ids["input_ids"][0]), (file.name, budget)
    assert cut > 2
