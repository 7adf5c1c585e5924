"""The engine with weights in the numbers that GPUs get: whatever is kept is in them too, and all of it is a number."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.engines import side_by_side
from hitui_runners.engines.base import Reply
from hitui_runners.engines.transformers import TransformersEngine

from tests.runners.watched import PROMPTS, asked
from tests.tools.benchmark import png

pytestmark = pytest.mark.model

TABLE = "".join(f"<tr><td>Harbour {row}</td><td>{row * 37 % 101}</td></tr>\n" for row in range(12))


def test_keys_and_values_stay_in_the_numbers_of_the_model(
    middle_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    picture = tmp_path / "shown.png"
    picture.write_bytes(png(192, 160))
    over_one = [
        replace(asked(number, shown), table=TABLE, task_id=f"{number} {shown}")
        for shown in (None, picture)
        for number in (0, 1)
    ]
    engine = TransformersEngine(middle_model, 100_000, 3, None)
    engine.load()
    model = engine._model.to(torch.bfloat16)
    generate, filled = model.generate, side_by_side._filled
    rows: list[int] = []

    def watched(**inputs: Any) -> Any:
        output = generate(**inputs, output_logits=True, return_dict_in_generate=True)
        rows.append(len(output.sequences))
        kept = [part for layer in inputs["past_key_values"].layers for part in (layer.keys, layer.values)]
        # Also of what a row is filled up with, which reads nothing.
        assert all(part.dtype == torch.bfloat16 and bool(part.isfinite().all()) for part in kept)
        assert all(bool(scores.isfinite().all()) for scores in output.logits)
        return output.sequences

    def put_together(rows: Any) -> Any:
        assert filled(rows).dtype == torch.bfloat16
        return filled(rows)

    monkeypatch.setattr(model, "generate", watched)
    monkeypatch.setattr(side_by_side, "_filled", put_together)
    answers = [answer for came in engine.answer_all(deque([*PROMPTS[:4], *over_one])) for _, answer in came]

    assert all(isinstance(answer, Reply) for answer in answers)
    assert len(answers) == 8
    # None was asked once more because it failed with others.
    assert "asking each alone" not in capsys.readouterr().out
    assert max(rows) > 4
    engine.close()
