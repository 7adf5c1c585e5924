"""Other kinds of models than the one that all other tests have: their prompts share beginnings and are answered together,
and every answer and score is that of the prompt alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hitui_runners.engines.base import Prompt, Reply
from hitui_runners.engines.processors import load_processor
from hitui_runners.engines.transformers import TransformersEngine

from tests.runners.watched import (
    NEW_TOKENS,
    PROMPTS,
    Alone,
    Watched,
    asked,
    end_early,
    from_their_start,
    model,
    one_engine,
    plain,
    same_scores,
    sharing,
    tokens_of,
)
from tests.tools.benchmark import png
from tests.tools.tiny_kinds import INTERNVL, KINDS

__all__ = ["model", "one_engine", "plain", "sharing"]

pytestmark = pytest.mark.model
OTHERS = [name for name in KINDS if name != "qwen3_vl"]
TABLE = "".join(f"<tr><td>Harbour {row}</td><td>{row * 37 % 101}</td></tr>\n" for row in range(12))


@pytest.fixture(scope="module", params=OTHERS)
def middle_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tools import tiny_model

    folder = tmp_path_factory.mktemp("models") / request.param
    return tiny_model.build(
        folder, size={**tiny_model.MIDDLE, "num_hidden_layers": 3}, kind=KINDS[request.param]
    )


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> list[Prompt]:
    """Of all modalities: text, pictures, and both; over two tables, and two pictures of one size."""
    folder = tmp_path_factory.mktemp("pictures")
    shown, other = folder / "shown.png", folder / "other.png"
    shown.write_bytes(png(192, 160))
    other.write_bytes(png(192, 160, 11))
    asked_of = [
        (TABLE, None), (TABLE, None), (TABLE, shown), (TABLE, shown), ("", shown), ("", shown),
        ("", other), (TABLE.replace("Harbour", "Quay"), other), (TABLE.replace("Harbour", "Quay"), other),
    ]  # fmt: skip
    return [replace(asked(number, picture), table=table) for number, (table, picture) in enumerate(asked_of)]


@pytest.fixture(scope="module")
def alone(one_engine: Watched, prompts: list[Prompt]) -> Alone:
    """What they say each by itself, in answers of one length."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one_engine.engine._model.generation_config, "eos_token_id", None)
        return from_their_start(one_engine, prompts)


def test_what_begins_alike_is_computed_once_and_answered_together(
    sharing: Watched, prompts: list[Prompt], alone: Alone
) -> None:
    assert sharing.together(prompts) == alone.answers
    assert max(sharing.rows) == len(prompts)
    assert sharing.engine._prefixes.shared_tokens > sharing.engine._prefixes.tokens / 4
    same_scores(sharing, alone)
    # On a model whose answers are all alike this would say little.
    assert len({answer.text for answer in alone.answers if isinstance(answer, Reply)}) > len(prompts) / 2


def test_one_after_the_other_they_go_on_from_what_is_kept(
    sharing: Watched, prompts: list[Prompt], alone: Alone
) -> None:
    assert sharing.alone(prompts) == alone.answers
    assert sharing.engine._prefixes.shared_tokens > sharing.engine._prefixes.tokens / 4
    same_scores(sharing, alone)


def test_where_one_has_ended_the_next_one_joins(
    sharing: Watched, prompts: list[Prompt], alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_early(sharing, alone, monkeypatch)
    ending = from_their_start(sharing, prompts)
    sharing.budget(3 * (max(tokens_of(ending)) + NEW_TOKENS))
    sharing.engine._budget._short = 0

    assert sharing.together(prompts) == ending.answers
    assert max(sharing.rows) < len(prompts)
    assert len(sharing.rows) > len(prompts) / 3
    same_scores(sharing, ending)


def test_short_ones_are_computed_together(model: Watched, plain: Alone) -> None:
    assert model.together(PROMPTS) == plain.answers
    assert (model.computed, model.rows) == ([6], [6])
    same_scores(model, plain)


def test_a_picture_made_smaller_is_another_one(sharing: Watched, prompts: list[Prompt]) -> None:
    """Also where it has as many tokens as before."""
    asked_twice = [replace(prompts[2], task_id=0), replace(prompts[2], task_id=1, pixel_share=0.1)]
    alone = from_their_start(sharing, asked_twice)

    assert sharing.alone(asked_twice) == alone.answers
    same_scores(sharing, alone)
    assert len({answer.text for answer in alone.answers if isinstance(answer, Reply)}) == 2


def test_what_a_folder_says_of_its_processor_counts(tmp_path: Path) -> None:
    from tests.tools import tiny_model

    folder = tiny_model.build(tmp_path / "model", kind=INTERNVL)
    (folder / "processor_config.json").write_text('{"image_seq_length": 41, "of_no_use": true}')

    assert load_processor(folder).image_seq_length == 41


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl"])
def test_layers_that_read_the_last_tokens_alone_are_not_known(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.tools import tiny_model

    folder = tiny_model.build(tmp_path / "model", kind=KINDS[name])
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1}
    (folder / "config.json").write_text(json.dumps(settings))
    engine = TransformersEngine(folder, 100_000, 4, None)
    engine.load()

    assert f"Models as this one ({name}) are asked one prompt at a time" in capsys.readouterr().out
    assert not engine._prefixes.enabled
    assert engine._budget.tokens == 0
    assert isinstance(engine.answer(asked(1)), Reply)
