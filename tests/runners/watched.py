"""A model whose calls are watched, to compare prompts that it answers together with each of them alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.engines.base import Answer, Prompt, Reply
from hitui_runners.engines.batches import Batches
from hitui_runners.engines.prefix_cache import PrefixCache
from hitui_runners.engines.transformers import TransformersEngine

NEW_TOKENS = 6
OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 3 GiB"


@dataclass
class Watched:
    """An engine, and what its model was given and said."""

    engine: TransformersEngine
    rows: list[int] = field(default_factory=list)
    """For each call of the model, how many prompts it got."""
    scores: list[Any] = field(default_factory=list)
    """For each prompt that was answered, the scores of all words at each new token, shape (new tokens, words)."""
    failures: list[BaseException | None] = field(default_factory=list)
    """For the next calls: what each raises when half of its work is done; None: nothing."""

    def __post_init__(self) -> None:
        import torch

        generate = self.engine._model.generate

        def watched(**inputs: Any) -> Any:
            self.rows.append(len(inputs["input_ids"]))
            if self.failures and (failure := self.failures.pop(0)) is not None:
                generate(**{**inputs, "max_new_tokens": 2})
                raise failure
            output = generate(**inputs, output_logits=True, return_dict_in_generate=True)
            self.scores.extend(torch.stack(output.logits, dim=1))
            return output.sequences

        self.engine._model.generate = watched

    def budget(self, tokens: int) -> None:
        self.engine._batches = Batches(self.engine._model, tokens, NEW_TOKENS)
        self.engine._rows = {}

    def together(self, prompts: Sequence[Prompt]) -> list[Answer]:
        """What comes of prompts that it takes as one batch, by their places."""
        assert self.engine.together(prompts) == len(prompts)
        answers: dict[int, Answer] = {}
        for came in self.engine.answer_all(prompts):
            assert not answers.keys() & came.keys()
            answers.update(came)
        return [answers[place] for place in range(len(prompts))]

    def alone(self, prompts: Sequence[Prompt]) -> list[Answer]:
        return [self.engine.answer_of(prompt) for prompt in prompts]


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
    """What PROMPTS say each by itself, in answers of one length."""

    answers: list[Answer]
    scores: list[Any]


@pytest.fixture(scope="module")
def plain(one_engine: Watched) -> Alone:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one_engine.engine._model.generation_config, "eos_token_id", None)
        one_engine.scores.clear()
        return Alone(one_engine.alone(PROMPTS), list(one_engine.scores))


@pytest.fixture
def model(one_engine: Watched, plain: Alone, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Answers of one length, which say something; batches of any size."""
    monkeypatch.setattr(one_engine.engine._model.generation_config, "eos_token_id", None)
    one_engine.budget(100_000)
    one_engine.rows.clear()
    one_engine.scores.clear()
    one_engine.failures.clear()
    return one_engine


@pytest.fixture
def sharing(model: Watched, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """No prompt is short, and beginnings are shared."""
    monkeypatch.setattr(model.engine, "_prefixes", PrefixCache(model.engine._model))
    model.engine._batches._short = 0
    return model


def from_their_start(model: Watched, prompts: Sequence[Prompt]) -> Alone:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.engine, "_prefixes", PrefixCache(model.engine._model, enabled=False))
        model.scores.clear()
        alone = Alone(model.alone(prompts), list(model.scores))
    model.scores.clear()
    model.rows.clear()
    return alone


def asked(number: int, picture: Path | None = None) -> Prompt:
    """Of 70 to 230 tokens, in no order."""
    rows = number * 3 % 7 * 2
    table = "".join(f"Harbour {number}-{row},{number * 37 % 101 + row}\n" for row in range(rows))
    question = f"How many boats lie in Harbour {number}, and how many in {number * 7 % 16}?"
    return Prompt(number, "A table follows.\n\n", table, f"\n\nQuestion: {question}", question, picture)


PROMPTS = [asked(number) for number in range(6)]


def longest_first(answers: Sequence[Answer]) -> list[int]:
    """The places in the order in which rows of short prompts stand in a batch."""
    tokens = [answer.input_tokens or 0 for answer in answers if isinstance(answer, Reply)]
    return sorted(range(len(answers)), key=lambda place: -tokens[place])


def end_early(model: Watched, alone: Alone, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lets some answers end before the others; how many new tokens each has then."""
    said = [scores.argmax(1).tolist() for scores in alone.scores]
    # What one says third and another second.
    ends = [said[1][2], said[3][1]]
    monkeypatch.setattr(model.engine._model.generation_config, "eos_token_id", ends)
    lengths = [next((step for step, token in enumerate(row, 1) if token in ends), NEW_TOKENS) for row in said]
    assert len(set(lengths)) > 2
    return lengths


def each_at_its_end(
    model: Watched, prompts: Sequence[Prompt], alone: Alone, lengths: Sequence[int], order: Sequence[int]
) -> dict[int, Answer]:
    """What comes of prompts answered together, when each came as soon as it had so many new tokens; `order`: the places
    as the rows stand in the batch."""
    import torch

    assert model.engine.together(prompts) == len(prompts)
    model.rows.clear()
    model.scores.clear()
    answers: dict[int, Answer] = {}
    ends = sorted(set(lengths))
    for end, came in zip(ends, model.engine.answer_all(prompts), strict=True):
        assert sorted(came) == [place for place, length in enumerate(lengths) if length == end]
        answers |= came
    # Those that are not short are each computed before.
    scores = iter(model.scores[len(model.rows) - len(ends) :])
    parts: list[list[Any]] = [[] for _ in prompts]
    for step in [0, *ends[:-1]]:
        for place in order:
            if lengths[place] > step:
                parts[place].append(next(scores))
    assert not list(scores)
    for place, length in enumerate(lengths):
        torch.testing.assert_close(
            torch.cat(parts[place]), alone.scores[place][:length], rtol=1e-3, atol=1e-2
        )
    return answers
