"""An adapter on a model: what it changes, how it is recorded, and what is refused."""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.engines.adapter import ADAPTER_CONFIG, adapted
from hitui_runners.engines.base import Prompt, Reply
from hitui_runners.engines.model_folder import model_digest, weights_digest
from hitui_runners.engines.options import model_folder
from hitui_runners.engines.transformers import TransformersEngine
from hitui_runners.errors import RunnerError, SetupError
from hitui_runners.realhitbench.run_settings import options

from tests.tools.benchmark import png

pytestmark = [
    pytest.mark.model,
    # What peft asks of the newest transformers.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
NEW_TOKENS = 8
WEIGHTS = "adapter_model.safetensors"


def make_adapter(model: Path, folder: Path, seed: int = 1, **settings: Any) -> Path:
    """An adapter with random weights, as a trained one has them."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(seed)
    modules = r".*language_model.*\.(q_proj|v_proj|down_proj)|.*visual.*\.qkv"
    config = LoraConfig(**{"r": 4, "target_modules": modules, "init_lora_weights": False, **settings})
    get_peft_model(AutoModelForImageTextToText.from_pretrained(model), config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tiny_model, tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module")
def engine(tiny_model: Path, adapter: Path) -> Iterator[TransformersEngine]:
    engine = TransformersEngine(tiny_model, 100_000, NEW_TOKENS, None, adapter=adapter)
    engine.load()
    yield engine
    engine.close()


def copied(folder: Path, to: Path) -> Path:
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def prompts(picture: Path) -> list[Prompt]:
    picture.write_bytes(png(64, 48))
    table = "".join(f"Harbour {number},{number * 37 % 101}\n" for number in range(12))
    asked = [f"How many boats lie in Harbour {number}?" for number in range(4)]
    return [
        Prompt(
            number,
            "A table follows.\n\n",
            table,
            f"\n\nQuestion: {question}",
            question,
            picture if number else None,
        )
        for number, question in enumerate(asked)
    ]


def logits(model: Any) -> Any:
    import torch

    with torch.inference_mode():
        return model(input_ids=torch.arange(20, 60)[None]).logits


def test_answers_are_those_of_the_adapted_model_alone_and_together(
    engine: TransformersEngine, tiny_model: Path, adapter: Path, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    plain = AutoModelForImageTextToText.from_pretrained(tiny_model).eval()
    of_plain = logits(plain)
    wanted = logits(PeftModel.from_pretrained(plain, adapter).eval())
    assert (wanted - of_plain).abs().max() > 0.1
    assert (logits(engine._model) - wanted).abs().max() < 1e-4

    asked = prompts(tmp_path / "picture.png")
    alone = {prompt.task_id: engine.answer(prompt) for prompt in asked}
    together = {prompt.task_id: reply for some in engine.answer_all(deque(asked)) for prompt, reply in some}
    assert together == alone
    assert all(isinstance(reply, Reply) for reply in together.values())


def test_both_make_up_the_model_on_record(
    engine: TransformersEngine, tiny_model: Path, adapter: Path, tmp_path: Path
) -> None:
    told = engine.facts()
    assert told.beside["model_folder"] == f"{tiny_model.name} + {adapter.name}"
    # Neither where it lies nor how that is asked for what `numbers` says is a setting.
    assert options({"adapter": adapter, "dtype": "float32"}, engine) == ({}, {})

    def settings(adapter: Path | None) -> tuple[object, object]:
        facts = TransformersEngine(tiny_model, 1000, 8, None, adapter=adapter).facts().settings
        return facts["model"], facts["weights"]

    both = told.settings["model"], told.settings["weights"]
    assert settings(None) == (model_digest(tiny_model), weights_digest(tiny_model))
    assert settings(adapter) == both
    assert not set(both) & set(settings(None))
    scaled = copied(adapter, tmp_path)
    config = json.loads((scaled / ADAPTER_CONFIG).read_text())
    (scaled / ADAPTER_CONFIG).write_text(json.dumps({**config, "lora_alpha": 99}))
    assert settings(scaled)[0] != both[0]


def test_beside_quantized_weights_it_stays_by_itself(tiny_model: Path, adapter: Path) -> None:
    from transformers import AutoModelForImageTextToText

    merged = adapted(AutoModelForImageTextToText.from_pretrained(tiny_model), adapter)
    quantized = AutoModelForImageTextToText.from_pretrained(tiny_model)
    quantized.is_quantized = True
    beside = adapted(quantized, adapter).eval()
    assert type(beside) is type(merged)
    assert any("lora_" in name for name, _ in beside.named_parameters())
    assert not any("lora_" in name for name, _ in merged.named_parameters())
    assert (logits(beside) - logits(merged.eval())).abs().max() < 1e-4


def test_what_does_not_fit_the_model_whole_is_refused(
    tiny_model: Path, middle_model: Path, adapter: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    partial = copied(adapter, tmp_path)
    tensors = load_file(adapter / WEIGHTS)
    first = min(tensors)
    save_file({name: tensor for name, tensor in tensors.items() if name != first}, partial / WEIGHTS)
    refused = {
        tiny_model: (partial, "the adapter does not belong to this model: it lacks "),
        middle_model: (adapter, "the adapter cannot be put onto the model: "),
    }
    for model, (folder, said) in refused.items():
        with pytest.raises(SetupError, match=f"^{folder}: {said}"):
            TransformersEngine(model, 1000, 8, None, adapter=folder).load()
    save_file(
        {**tensors, "base_model.model.model.visual.nothing.lora_A.weight": tensors[first].clone()},
        partial / WEIGHTS,
    )
    with pytest.raises(SetupError, match=r"it has no place there for .*visual\.nothing"):
        TransformersEngine(tiny_model, 1000, 8, None, adapter=partial).load()
    (partial / WEIGHTS).unlink()
    with pytest.raises(RunnerError, match=f"^{partial}: the adapter cannot be put onto the model: "):
        TransformersEngine(tiny_model, 1000, 8, None, adapter=partial).load()


def test_an_adapter_that_changes_prompts_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    from peft import PromptTuningConfig

    PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4).save_pretrained(tmp_path)
    with pytest.raises(SetupError, match=r"changes prompts and no weights \(PROMPT_TUNING\)"):
        TransformersEngine(tiny_model, 1000, 8, None, adapter=tmp_path).load()


def test_without_peft_it_says_what_to_install(
    tiny_model: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(SetupError, match=r"cannot use an adapter: .*; install peft there"):
        TransformersEngine(tiny_model, 1000, 8, None, adapter=adapter).load()


def test_one_that_was_trained_on_another_model_is_told(
    tiny_model: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "the adapter was trained on some/Other-8B, and is put onto"
    folder = copied(adapter, tmp_path)
    config = json.loads((folder / ADAPTER_CONFIG).read_text())
    for base, told in ((f"hub/{tiny_model.name.upper()}", False), ("some/Other-8B", True)):
        (folder / ADAPTER_CONFIG).write_text(json.dumps({**config, "base_model_name_or_path": base}))
        engine = TransformersEngine(tiny_model, 1000, 8, None, adapter=folder)
        engine.load()
        engine.close()
        assert (said in capsys.readouterr().err) is told


def test_where_a_folder_of_the_other_kind_is_named_it_says_so(tiny_model: Path, adapter: Path) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--engine", default="transformers")
    for argument, default in (("--max-input-tokens", 1000), ("--max-new-tokens", 8)):
        parser.add_argument(argument, default=default)
    TransformersEngine.add_arguments(parser)
    with pytest.raises(
        SetupError, match=f"^{adapter}: is an adapter and no model; give {tiny_model} by --model, and"
    ):
        model_folder(parser.parse_args(["--model", str(adapter)]))
    with pytest.raises(
        SetupError, match=f"^{tiny_model}: is no folder of an adapter, it has no {ADAPTER_CONFIG}"
    ):
        TransformersEngine.from_arguments(
            parser.parse_args(["--model", str(tiny_model), "--adapter", str(tiny_model)])
        )
