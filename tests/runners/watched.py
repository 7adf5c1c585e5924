"""A model whose calls are watched, to compare prompts that it answers together with each of them alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.engines.base import Answer, Prompt, Reply
from hitui_runners.engines.batch_budget import BatchBudget
from hitui_runners.engines.prefix_cache import PrefixCache
from hitui_runners.engines.transformers import TransformersEngine

NEW_TOKENS = 6
OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 3 GiB"


@dataclass
class Watched:
    """An engine, and what its model was given and said."""

    engine: TransformersEngine
    computed: list[int] = field(default_factory=list)
    """For each call of the model that computes prompts to be answered with others, how many it got."""
    rows: list[int] = field(default_factory=list)
    """For each call that answers, how many prompts it got."""
    filled: list[int] = field(default_factory=list)
    """For each of those, tokens in all its rows, padding and the rest of the longest answers included."""
    scores: dict[tuple[int, ...], Any] = field(default_factory=dict)
    """By the token ids of a prompt and its answer, the scores of all words at each new token, shape (new tokens, words);
    also of those that have not ended."""
    failures: list[BaseException | None] = field(default_factory=list)
    """For the next calls: what each raises when half of its work is done; None: nothing."""

    def __post_init__(self) -> None:
        import torch

        generate = self.engine._model.generate

        def watched(**inputs: Any) -> Any:
            ids, mask = inputs["input_ids"], inputs["attention_mask"]
            answers = "stopping_criteria" in inputs or "max_new_tokens" not in inputs
            (self.rows if answers else self.computed).append(len(ids))
            if "stopping_criteria" in inputs:
                self.filled.append(len(ids) * (ids.shape[1] + inputs["max_new_tokens"]))
            if self.failures and (failure := self.failures.pop(0)) is not None:
                generate(**{**inputs, "max_new_tokens": 2})
                raise failure
            output = generate(**inputs, output_logits=True, return_dict_in_generate=True)
            for row, left, whole, scores in zip(
                ids, mask, output.sequences, torch.stack(output.logits, dim=1), strict=True
            ):
                padding = int((left == 0).sum())
                before = self.scores.pop(tuple(row[padding:].tolist()), None) if answers else None
                if answers:
                    said = tuple(whole[padding:].tolist())
                    self.scores[said] = scores if before is None else torch.cat([before, scores])
            return output.sequences

        self.engine._model.generate = watched

    def budget(self, tokens: int | None) -> None:
        self.engine._budget = self.engine._turns._budget = BatchBudget(self.engine._model, tokens, NEW_TOKENS)

    def answers(self, prompts: Sequence[Prompt]) -> Iterator[dict[int | str, Answer]]:
        """What comes of prompts at a time, by their task ids, when all of them wait."""
        for came in self.engine.answer_all(deque(prompts)):
            yield {prompt.task_id: answer for prompt, answer in came}

    def together(self, prompts: Sequence[Prompt]) -> list[Answer]:
        """What comes of prompts that wait, by their places."""
        answers: dict[int | str, Answer] = {}
        for came in self.answers(prompts):
            assert not answers.keys() & came.keys()
            answers.update(came)
        return [answers[prompt.task_id] for prompt in prompts]

    def alone(self, prompts: Sequence[Prompt]) -> list[Answer]:
        return [self.engine.answer_of(prompt) for prompt in prompts]

    def forget(self) -> None:
        """What was watched until now."""
        for seen in (self.computed, self.rows, self.filled, self.scores, self.failures):
            seen.clear()


@pytest.fixture(scope="module")
def one_engine(middle_model: Path) -> Iterator[Watched]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    engine = TransformersEngine(middle_model, 100_000, NEW_TOKENS, None, share_prefixes=False)
    engine.load()
    yield Watched(engine)
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class Alone:
    """What prompts say each by itself, from its start."""

    answers: list[Answer]
    scores: dict[tuple[int, ...], Any]


def tokens_of(alone: Alone) -> list[int]:
    """Of each prompt that was answered."""
    return [answer.input_tokens or 0 for answer in alone.answers if isinstance(answer, Reply)]


@pytest.fixture(scope="module")
def plain(one_engine: Watched) -> Alone:
    """Of PROMPTS, in answers of one length."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one_engine.engine._model.generation_config, "eos_token_id", None)
        return from_their_start(one_engine, PROMPTS)


@pytest.fixture
def model(one_engine: Watched, plain: Alone, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Answers of one length, which say something; batches of any size."""
    monkeypatch.setattr(one_engine.engine._model.generation_config, "eos_token_id", None)
    one_engine.budget(100_000)
    one_engine.forget()
    return one_engine


@pytest.fixture
def sharing(model: Watched, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """No prompt is short, and beginnings are shared."""
    prefixes = PrefixCache(model.engine._model)
    monkeypatch.setattr(model.engine, "_prefixes", prefixes)
    monkeypatch.setattr(model.engine._turns._batch, "_prefixes", prefixes)
    model.engine._budget._short = 0
    return model


def from_their_start(model: Watched, prompts: Sequence[Prompt]) -> Alone:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.engine, "_prefixes", PrefixCache(model.engine._model, enabled=False))
        model.forget()
        alone = Alone(model.alone(prompts), dict(model.scores))
    model.forget()
    return alone


def same_scores(model: Watched, alone: Alone) -> None:
    """Token by token they are those of the prompts alone."""
    import torch

    assert model.scores.keys() == alone.scores.keys()
    for said, scores in model.scores.items():
        torch.testing.assert_close(scores, alone.scores[said], rtol=1e-3, atol=1e-2)


def asked(number: int, picture: Path | None = None) -> Prompt:
    """Of 70 to 230 tokens, in no order."""
    rows = number * 3 % 7 * 2
    table = "".join(f"Harbour {number}-{row},{number * 37 % 101 + row}\n" for row in range(rows))
    question = f"How many boats lie in Harbour {number}, and how many in {number * 7 % 16}?"
    return Prompt(number, "A table follows.\n\n", table, f"\n\nQuestion: {question}", question, picture)


PROMPTS = [asked(number) for number in range(6)]


def end_early(model: Watched, alone: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets some answers end before the others."""
    said = [scores.argmax(1).tolist() for scores in alone.scores.values()]
    # What one says third and another second.
    ends = [said[1][2], said[3][1]]
    monkeypatch.setattr(model.engine._model.generation_config, "eos_token_id", ends)
    lengths = {next((step for step, token in enumerate(row, 1) if token in ends), NEW_TOKENS) for row in said}
    assert len(lengths) > 2
