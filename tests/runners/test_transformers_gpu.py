"""The engine on a GPU whose memory really runs out: torch gives this process a small part of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hitui_runners.engines.base import Answer, Prompt, Reply, TaskFailed
from hitui_runners.engines.batch_budget import BatchBudget
from hitui_runners.engines.transformers import TransformersEngine

from tests.tools.memory_limit import gpu_memory

pytestmark = [pytest.mark.model, pytest.mark.gpu]
NEW_TOKENS = 6
ROWS = 48


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[TransformersEngine]:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU here")
    folder: Path = request.getfixturevalue("middle_model")
    made = TransformersEngine(folder, 100_000, NEW_TOKENS, None, share_prefixes=False)
    made.load()
    yield made
    made.close()


def asked(number: int, rows: int) -> Prompt:
    table = "".join(f"Harbour {number}-{row},{number * 37 % 101 + row}\n" for row in range(rows))
    question = f"How many boats lie in Harbour {number}?"
    return Prompt(number, "A table follows.\n\n", table, f"\n\nQuestion: {question}", question)


def peak(work: Callable[[], object]) -> tuple[int, int]:
    """Bytes of the GPU without which `work` cannot be done, since its tensors fill them, and with which it can: so many
    torch has held."""
    import torch

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    work()
    return int(torch.cuda.max_memory_allocated()), int(torch.cuda.max_memory_reserved())


def together(engine: TransformersEngine, prompts: Sequence[Prompt]) -> list[Answer]:
    engine._budget = engine._turns._budget = BatchBudget(engine._model, 100_000, NEW_TOKENS)
    answers = {
        prompt.task_id: answer for came in engine.answer_all(deque(prompts)) for prompt, answer in came
    }
    return [answers[prompt.task_id] for prompt in prompts]


def test_a_batch_that_finds_no_memory_is_answered_in_smaller_ones(
    engine: TransformersEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = [asked(number, 48) for number in range(ROWS)]
    _, enough = peak(lambda: [engine.answer_of(prompt) for prompt in prompts])
    too_little, _ = peak(lambda: together(engine, prompts))
    assert "Out of memory" not in capsys.readouterr().out
    assert enough < too_little
    with gpu_memory((enough + too_little) // 2):
        answers = together(engine, prompts)
    assert f"Out of memory with {ROWS} prompts together" in capsys.readouterr().out
    assert all(isinstance(answer, Reply) and answer.output_tokens for answer in answers)


def test_a_prompt_that_finds_no_memory_fails_and_the_next_one_is_answered(engine: TransformersEngine) -> None:
    short, long = asked(1, 8), asked(2, 3_000)
    (_, enough), (too_little, _) = peak(lambda: engine.answer(short)), peak(lambda: engine.answer(long))
    assert enough < too_little
    with gpu_memory((enough + too_little) // 2):
        failed, answered = engine.answer_of(long), engine.answer_of(short)
    assert isinstance(failed, TaskFailed)
    assert failed.message.startswith("OOM: Text too large (")
    assert isinstance(answered, Reply)
