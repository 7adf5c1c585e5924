"""What prompts that begin alike share: answers and scores are those of prompts computed from their start."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.engines import prefix_cache
from hitui_runners.engines.base import Prompt, Reply, TaskFailed
from hitui_runners.engines.transformers import TransformersEngine

from tests.tools.benchmark import png

pytestmark = pytest.mark.model
NEW_TOKENS = 8
TABLE = "".join(f"<tr><td>Harbour {number}</td><td>{number * 37 % 101}</td></tr>\n" for number in range(16))
OTHER_TABLE = TABLE.replace("Harbour", "Quay")


@dataclass
class Asked:
    """An engine, and what its model was given and said."""

    engine: TransformersEngine
    computed: list[int] = field(default_factory=list)
    """For each call of the model, how many tokens of the prompt it had to compute."""
    scores: list[Any] = field(default_factory=list)
    """For each call that ended, the scores of all words at each new token, shape (new tokens, words)."""
    caches: list[Any] = field(default_factory=list)
    """For each call, a weak reference to what it was to keep."""
    failures: list[BaseException] = field(default_factory=list)
    """Raised by the next calls, when half of their work is done."""

    def __post_init__(self) -> None:
        generate = self.engine._model.generate

        def watched(**inputs: Any) -> Any:
            cache = inputs.get("past_key_values")
            self.computed.append(inputs["input_ids"].shape[1] - (cache.get_seq_length() if cache else 0))
            self.caches.append(None if cache is None else weakref.ref(cache))
            del cache
            if self.failures:
                generate(**inputs, max_new_tokens=2)
                raise self.failures.pop(0)
            output = generate(**inputs, output_logits=True, return_dict_in_generate=True)
            self.scores.append([scores[0] for scores in output.logits])
            return output.sequences

        self.engine._model.generate = watched

    def ask(self, prompt: Prompt) -> Reply:
        return self.engine.answer(prompt)


def loaded(folder: Path, *, share_prefixes: bool) -> Asked:
    engine = TransformersEngine(folder, 100_000, NEW_TOKENS, None, share_prefixes=share_prefixes)
    engine.load()
    # Answers of one length, which say something.
    engine._model.generation_config.eos_token_id = None
    return Asked(engine)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Several wait for each other where the machine is busy."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def from_start(middle_model: Path) -> Asked:
    return loaded(middle_model, share_prefixes=False)


@pytest.fixture(scope="module")
def one_engine(middle_model: Path) -> Asked:
    return loaded(middle_model, share_prefixes=True)


@pytest.fixture
def sharing(one_engine: Asked) -> Iterator[Asked]:
    one_engine.engine._prefixes.drop()
    for noted in (one_engine.computed, one_engine.scores, one_engine.caches):
        noted.clear()
    yield one_engine
    assert not one_engine.failures


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    """Two of the same size."""
    shown = tmp_path / "shown.png", tmp_path / "other.png"
    shown[0].write_bytes(png(192, 160))
    shown[1].write_bytes(png(192, 160, 11))
    return shown


def asked(number: int, table: str = TABLE, picture: Path | None = None) -> Prompt:
    question = f"How many boats lie in Harbour {number}, and how many in {number * 7 % 16}?"
    return Prompt(
        number, "A table follows.\n\n", table, f"\n\nSay a number.\nQuestion: {question}", question, picture
    )


def same(sharing: Asked, from_start: Asked, prompts: list[Prompt]) -> list[int]:
    """Asserts that both say the same with the same scores; returns how many tokens the one that shares computed."""
    import torch

    from_start.scores.clear()
    from_start.computed.clear()
    expected = [from_start.ask(prompt) for prompt in prompts]
    replies = [sharing.ask(prompt) for prompt in prompts]

    assert replies == expected
    assert len(sharing.scores) == len(from_start.scores) == len(prompts)
    for ours, theirs in zip(sharing.scores, from_start.scores, strict=True):
        torch.testing.assert_close(torch.stack(ours), torch.stack(theirs), rtol=1e-3, atol=1e-2)
    # On a model whose answers are all alike this would say little.
    assert len({tuple(torch.stack(ours).argmax(1).tolist()) for ours in sharing.scores}) > len(prompts) // 2
    return sharing.computed


@pytest.mark.parametrize(
    ("table", "has_picture"), [(TABLE, False), ("", True), (TABLE, True)], ids=["text", "image", "mix"]
)
def test_questions_over_one_table_compute_it_once(
    sharing: Asked, from_start: Asked, pictures: tuple[Path, Path], table: str, has_picture: bool
) -> None:
    prompts = [asked(number, table, pictures[0] if has_picture else None) for number in range(4)]
    first, *others = same(sharing, from_start, prompts)

    assert first == from_start.computed[0] > 60
    assert all(0 < computed < 45 for computed in others)


def test_text_and_pictures_in_turn(sharing: Asked, from_start: Asked, pictures: tuple[Path, Path]) -> None:
    kinds = [None, pictures[0], pictures[0], None, None, pictures[1], pictures[1]]
    computed = same(
        sharing, from_start, [asked(number, TABLE, picture) for number, picture in enumerate(kinds)]
    )

    assert [now == whole for now, whole in zip(computed, from_start.computed, strict=True)] == [
        True, True, False, True, False, True, False,
    ]  # fmt: skip


def test_a_picture_is_known_by_its_content(
    sharing: Asked, from_start: Asked, pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    """Not by the ids of its tokens, which are those of any picture, nor by the name of its file."""
    prompt, other = asked(1, "", pictures[0]), asked(1, "", pictures[1])
    replies = [asked_of.ask(shown) for asked_of in (from_start, sharing) for shown in (prompt, other)]
    pictures[0].write_bytes(pictures[1].read_bytes())
    replies.append(sharing.ask(prompt))

    texts = [reply.text for reply in replies]
    assert texts[0] != texts[1]
    assert texts == [texts[0], texts[1], texts[0], texts[1], texts[1]]
    assert sharing.computed[1] > 60


def test_a_picture_in_other_pixels_is_another(
    sharing: Asked, from_start: Asked, pictures: tuple[Path, Path]
) -> None:
    whole, halved = asked(1, "", pictures[0]), replace(asked(1, "", pictures[0]), pixel_share=0.5)
    computed = same(sharing, from_start, [whole, halved])

    assert computed == from_start.computed


def test_a_picture_that_stands_behind_the_words_is_computed_again(
    sharing: Asked, from_start: Asked, pictures: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what it takes the place of is in the token ids."""
    template = (
        "<|im_start|>user\n{% for part in messages[0].content %}{{ part.text }}{% endfor %}"
        "<|vision_start|><|image_pad|><|vision_end|><|im_end|>\n<|im_start|>assistant\n"
    )
    for one in (sharing, from_start):
        monkeypatch.setattr(one.engine._inputs._processor, "chat_template", template)
    computed = same(sharing, from_start, [asked(number, TABLE, pictures[0]) for number in range(3)])

    assert computed == from_start.computed


def test_where_the_mask_would_be_too_large_a_prompt_is_computed_from_its_start(
    sharing: Asked, from_start: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [asked(number) for number in range(3)]
    last = int(sharing.engine._inputs.of(prompts[2], None, {})["input_ids"].shape[1])
    monkeypatch.setattr(prefix_cache, "MASK_ENTRIES", 45 * last)
    sharing.ask(prompts[0])
    assert sharing.ask(prompts[1]) == from_start.ask(prompts[1])
    monkeypatch.setattr(prefix_cache, "MASK_ENTRIES", last)
    assert sharing.ask(prompts[2]) == from_start.ask(prompts[2])
    assert sharing.computed[1] < 45
    assert sharing.computed[2] == last


def test_a_prompt_that_continues_the_one_before_and_one_that_is_its_beginning(
    sharing: Asked, from_start: Asked
) -> None:
    prompt = asked(3)
    longer = replace(prompt, after=prompt.after + "\nGive it now, in one line.")
    computed = same(sharing, from_start, [prompt, longer])
    assert computed[1] < 45
    # The same once more: one token at the least is computed, whose scores begin the answer.
    again = sharing.ask(longer)

    assert again == sharing.ask(longer)
    assert sharing.computed[2:] == [1, 1]


def test_what_the_model_did_in_between_changes_nothing(
    sharing: Asked, from_start: Asked, pictures: tuple[Path, Path]
) -> None:
    """It holds how far positions are from token counts, of its last prompt, whoever asked it."""
    first, second = asked(1, "", pictures[0]), asked(2, "", pictures[0])
    sharing.ask(first)
    inputs = sharing.engine._inputs.of(asked(1), None, {})
    sharing.engine._model.generate(**inputs)

    assert sharing.ask(second) == from_start.ask(second)
    assert sharing.computed[-1] < 45


def test_little_in_common_starts_afresh(sharing: Asked, from_start: Asked) -> None:
    computed = same(sharing, from_start, [asked(1), asked(1, OTHER_TABLE), asked(1, "Town,Boats\n")])

    assert computed == from_start.computed


def test_what_is_kept_goes_before_a_prompt_that_shares_nothing(sharing: Asked) -> None:
    sharing.ask(asked(1))
    sharing.ask(asked(2))
    assert sharing.caches[0]() is sharing.caches[1]() is not None
    alive: list[object] = []
    generate = sharing.engine._prefixes._model.generate

    def looked_at(**inputs: Any) -> Any:
        alive.append(sharing.caches[0]())
        return generate(**inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing.engine._model, "generate", looked_at)
        sharing.ask(asked(3, OTHER_TABLE))
    assert alive == [None]


def test_a_prompt_runs_out_of_memory_only_when_it_does_so_from_its_start(
    sharing: Asked, from_start: Asked
) -> None:
    import torch

    sharing.ask(asked(1))
    sharing.failures.append(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB"))
    reply = sharing.ask(asked(2))

    assert reply == from_start.ask(asked(2))
    assert sharing.computed[1] < 45
    assert sharing.computed[2] == reply.input_tokens
    assert sharing.caches[0]() is None


def test_nothing_is_kept_when_a_failure_is_told(sharing: Asked, from_start: Asked) -> None:
    import torch

    sharing.ask(asked(1))
    sharing.failures += [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB")] * 2
    with pytest.raises(TaskFailed, match="OOM: Text too large") as failed:
        sharing.ask(asked(2))
    assert sharing.computed[1] < 45
    assert sharing.computed[2] == failed.value.input_tokens
    assert [cache() for cache in sharing.caches] == [None] * 3
    assert sharing.ask(asked(4)) == from_start.ask(asked(4))


def test_a_failure_in_the_middle_of_what_is_shared_spoils_nothing(sharing: Asked, from_start: Asked) -> None:
    sharing.ask(asked(1))
    sharing.failures.append(RuntimeError("shape mismatch"))
    with pytest.raises(TaskFailed, match="shape mismatch"):
        sharing.ask(asked(2))

    assert sharing.ask(asked(2)) == from_start.ask(asked(2))
    assert sharing.ask(asked(5)) == from_start.ask(asked(5))
    assert sharing.computed[3] < 45 < sharing.computed[2]


def test_questions_over_a_table_that_is_cut_share_what_is_left_of_it(
    sharing: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of about one length: a longer question leaves less room, but not for every token another cut."""
    import torch

    given: list[list[int]] = []

    def noted(**inputs: Any) -> Any:
        given.append(inputs["input_ids"][0].tolist())
        return torch.cat([inputs["input_ids"], torch.tensor([[0]])], dim=1)

    monkeypatch.setattr(sharing.engine._model, "generate", noted)
    monkeypatch.setattr(sharing.engine._inputs, "_max_input_tokens", 16_000)
    for number in range(12):
        prompt = asked(number, TABLE * 80)
        sharing.ask(replace(prompt, after=prompt.after + " Now." * 3 * number))

    assert all(15_840 < len(ids) <= 16_000 for ids in given)
    assert len({tuple(ids[:15_700]) for ids in given}) <= 3


def test_it_can_be_turned_off(from_start: Asked) -> None:
    from_start.computed.clear()
    for number in (1, 2):
        from_start.ask(asked(number))

    assert min(from_start.computed) > 300
