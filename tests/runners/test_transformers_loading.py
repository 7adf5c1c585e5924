"""The transformers engine in a process of its own: loading, signals, and what is broken."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hitui_runners.engines.base import Prompt
from hitui_runners.engines.model_folder import cannot_be_loaded, model_digest
from hitui_runners.engines.transformers import TransformersEngine
from hitui_runners.errors import RunnerError, SetupError

from tests.runners.conftest import Plan, Runner, runs_beside
from tests.tools.eventually import eventually

pytestmark = pytest.mark.model


def test_a_process_of_its_own_loads_once_and_does_without_a_broken_torchvision(
    plan: Plan, tiny_model: Path, tmp_path: Path
) -> None:
    broken_package(
        tmp_path / "broken", "torchvision", "RuntimeError('operator torchvision::nms does not exist')"
    )
    plan.env = {"PYTHONPATH": str(tmp_path / "broken")}
    plan.add("mix", "mix", ids=[1, 2])
    plan.add("text", table="csv", ids=[3])
    ended = plan.run("--model", tiny_model, "--max-new-tokens", "8", engine="transformers")

    assert ended.returncode == 0, ended.stderr
    assert (sorted(plan.ids("mix")), plan.ids("text")) == ([1, 2], [3])
    assert ended.stdout.count(f"Loading {tiny_model} on ") == 1
    assert [event.get("phase") for event in plan.events].count("loading") == 1
    tasks = plan.told("task", "mix")
    assert len(tasks) == 2
    assert all(0 < task["output_tokens"] <= 8 < task["input_tokens"] for task in tasks)
    assert {"python", "torch", "transformers"} <= plan.events[0]["versions"].keys()
    [run] = runs_beside(plan.output / "mix")
    assert run["settings"].items() >= {
        "model": model_digest(tiny_model), "sampling": "greedy", "seed": 0, "numbers": "float32",
        "repetition_penalty": 1.0, "max_new_tokens": 8, "max_pixels": None,
    }.items()  # fmt: skip
    assert run["versions"].items() >= plan.events[0]["versions"].items()
    assert run["beside"]["devices"].startswith("the CPU")
    assert (
        "warning: torchvision cannot be imported: operator torchvision::nms does not exist; going on without it"
        in ended.stderr
    )


@pytest.mark.parametrize("phase", ["loading", "running"])
def test_loading_and_a_long_answer_are_broken_off_by_a_signal(
    runner: Runner, tiny_model: Path, phase: str
) -> None:
    options = ("--model", tiny_model, "--max-new-tokens", "100000", "--resume")
    process = runner.start(*options, engine="transformers")
    eventually(lambda: any(event.get("phase") == phase for event in runner.events), deadline=90)
    process.terminate()
    process.communicate(timeout=60)

    assert process.returncode == 143
    assert runner.events[-1]["exit"] == 143


@pytest.mark.parametrize("broken", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_broken_model_folder_is_one_line(tiny_model: Path, tmp_path: Path, broken: str) -> None:
    for file in tiny_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[: 40 if file.name == broken else None])

    with pytest.raises(SetupError) as refused:
        TransformersEngine(tmp_path, 1000, 8, None).load()

    assert str(refused.value).startswith(f"{tmp_path}: the model cannot be loaded: ")
    assert "\n" not in str(refused.value)


def test_what_was_not_downloaded_whole_is_named(tiny_model: Path, tmp_path: Path) -> None:
    for file in tiny_model.iterdir():
        (tmp_path / file.name).symlink_to(file)
    weights = tmp_path / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[:100_000])

    with pytest.raises(SetupError) as refused:
        TransformersEngine(tmp_path, 1000, 8, None).load()
    named = f"loaded: model.safetensors is cut off at 100000 bytes of {len(content)}; copy or download"
    assert named in str(refused.value)

    weights.write_bytes(content[:4])
    for name in ("tokenizer.json", "vocab.json"):
        (tmp_path / name).unlink()
    assert cannot_be_loaded(tmp_path, ValueError("so it is")) == (
        "the model cannot be loaded: model.safetensors is cut off at 4 bytes, there is no tokenizer.json; "
        "copy or download the model again: so it is"
    )


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_file_that_is_no_whole_json_is_named(tiny_model: Path, tmp_path: Path, name: str) -> None:
    for file in tiny_model.iterdir():
        (tmp_path / file.name).symlink_to(file)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(
        SetupError, match=f"loaded: {name} is no whole JSON; copy or download the model again: "
    ):
        TransformersEngine(tmp_path, 1000, 8, None).load()


def test_no_weights_are_made_up(tiny_model: Path, tmp_path: Path) -> None:
    for file in tiny_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    # Under another name of the same length they are weights of no model.
    weights.write_bytes(weights.read_bytes().replace(b"layers.1.mlp.down_proj", b"layers.1.mlp.done_proj"))

    absent = "model.language_model.layers.1.mlp.down_proj.weight"
    with pytest.raises(SetupError, match=f"weights are not there .* random: {absent}; copy or download"):
        TransformersEngine(tmp_path, 1000, 8, None).load()


@pytest.mark.parametrize("head", [b"[]", b'{"a": 1}', b'{"a": {"data_offsets": []}}', b"no JSON", b""])
def test_weights_with_an_odd_head_are_left_to_the_library(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + b" " * 9)
    (tmp_path / "tokenizer.json").write_text("{}")
    assert cannot_be_loaded(tmp_path, ValueError("odd")) == "the model cannot be loaded: odd"


def changed(model: Path, folder: Path, file: str, **values: object) -> Path:
    """A copy of the model in `folder` with other values in one of its JSON files; None takes one out."""
    for path in model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    content = {**json.loads((folder / file).read_text()), **values}
    (folder / file).write_text(
        json.dumps({key: value for key, value in content.items() if value is not None})
    )
    return folder


def test_weights_of_a_layer_more_are_told(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_text = json.loads((tiny_model / "config.json").read_text())["text_config"]
    folder = changed(tiny_model, tmp_path, "config.json", text_config={**of_text, "num_hidden_layers": 1})
    engine = TransformersEngine(folder, 1000, 8, None)
    engine.load()
    engine.close()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert line.startswith(
        f"warning: {folder}: weights that its configuration has no place for are left out: "
    )
    assert "language_model.layers.1." in line


def test_a_model_of_an_unknown_type_is_one_line(tiny_model: Path, tmp_path: Path) -> None:
    folder = changed(tiny_model, tmp_path, "config.json", model_type="qwen9_vl")
    with pytest.raises(SetupError, match=r"the model cannot be loaded: .*model type `qwen9_vl`"):
        TransformersEngine(folder, 1000, 8, None).load()


def test_a_models_own_code_is_neither_run_nor_asked_about(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = {name: f"code.{name}" for name in ("AutoConfig", "AutoModelForImageTextToText", "AutoProcessor")}
    folder = changed(tiny_model, tmp_path, "config.json", model_type="one_of_its_own", auto_map=code)
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(SetupError, match="the model brings code of its own, which is not run here"):
        TransformersEngine(folder, 1000, 8, None).load()
    assert "[y/N]" not in capsys.readouterr().out
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA error: unspecified launch failure")])
def test_want_of_memory_and_a_gpu_that_fails_are_no_fault_of_the_setup(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("transformers.AutoModelForImageTextToText.from_pretrained", fail)
    with pytest.raises(RunnerError) as refused:
        TransformersEngine(tiny_model, 1000, 8, None).load()
    assert refused.value.exit_status == 1


@pytest.mark.parametrize(
    ("spread", "parts"),
    [
        ({"": "cpu"}, "all of it would be"),
        (
            {"model.visual": "cpu", "model.language_model": "disk", "lm_head": "cpu"},
            "model.visual, model.language_model and 1 more",
        ),
    ],
)
def test_a_model_that_fits_on_the_gpus_only_in_part_is_not_computed_on_the_cpu(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, spread: dict[str, str], parts: str
) -> None:
    """accelerate lays its parts here as it does where memory on the GPUs is short."""
    monkeypatch.setattr("hitui_runners.engines.transformers.computes_on_gpus", lambda _: True)
    monkeypatch.setattr("hitui_runners.engines.transformers.device_map", lambda _: spread)
    said = f"not enough memory to load the model: out of memory on the GPUs, and {parts}"
    with pytest.raises(RunnerError, match=said) as refused:
        TransformersEngine(tiny_model, 1000, 8, None, dtype="float32").load()
    assert refused.value.exit_status == 1


def test_attention_makes_no_plan_for_every_new_length(tiny_model: Path) -> None:
    import torch

    torch.backends.cuda.enable_cudnn_sdp(True)
    engine = TransformersEngine(tiny_model, 1000, 8, None)
    engine.load()
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert torch.backends.cuda.flash_sdp_enabled()
    engine.close()


def test_a_prompt_is_cut_to_what_the_model_has_room_for(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_text = json.loads((tiny_model / "config.json").read_text())["text_config"]
    folder = changed(
        tiny_model, tmp_path, "config.json", text_config={**of_text, "max_position_embeddings": 512}
    )
    engine = TransformersEngine(folder, 100_000, 12, None)
    engine.load()
    assert "The model has room for 512 tokens: prompts are cut to 500\n" in capsys.readouterr().out
    assert engine.most_input_tokens == 500
    reply = engine.answer(Prompt(1, "A table:\n", "Harbour,41\n" * 400, "\nHow many?", "How many?"))
    assert reply.input_tokens is not None
    assert 495 <= reply.input_tokens <= 500
    assert reply.recovery["max_input_tokens"] == 500
    engine.close()

    with pytest.raises(
        SetupError, match="the model has 512 tokens for a prompt and its answer, and --max-new"
    ):
        TransformersEngine(folder, 100_000, 512, None).load()


def test_a_model_that_takes_no_pictures_is_one_line(tiny_model: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tiny_model / name).read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}')
    with pytest.raises(SetupError, match=f"^{tmp_path}: the model takes no pictures: "):
        TransformersEngine(tmp_path, 1000, 8, None).load()


def test_a_model_whose_tokenizer_was_not_copied_is_one_line(tiny_model: Path, tmp_path: Path) -> None:
    folder = changed(tiny_model, tmp_path, "config.json")
    for name in ("tokenizer.json", "vocab.json", "merges.txt"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(SetupError) as refused:
        TransformersEngine(folder, 1000, 8, None).load()
    said = str(refused.value)
    assert said.startswith(f"{folder}: the model")
    assert "tokenizer" in said
    assert "copy or download the model again" in said


def test_a_model_without_chat_template_is_one_line(tiny_model: Path, tmp_path: Path) -> None:
    folder = changed(tiny_model, tmp_path, "tokenizer_config.json", chat_template=None)
    (folder / "chat_template.json").unlink()
    with pytest.raises(SetupError) as refused:
        TransformersEngine(folder, 1000, 8, None).load()
    assert str(refused.value) == (
        f"{folder}: the model has no chat template; put its chat_template.jinja (or .json) there"
    )


def test_a_chat_template_of_the_tokenizer_serves_too(tiny_model: Path, tmp_path: Path) -> None:
    folder = changed(tiny_model, tmp_path, "config.json")
    (folder / "chat_template.json").unlink()
    engine = TransformersEngine(folder, 1000, 8, None)
    engine.load()
    assert engine._processor.chat_template


def broken_package(folder: Path, name: str, error: str) -> None:
    """A package that looks installed to whoever asks, and cannot be imported."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(f"raise {error}\n")
    metadata = folder / f"{name}-9.9.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")


@pytest.mark.parametrize(
    ("package", "error", "said"),
    [
        (
            "torch",
            "OSError('libcudart.so: cannot open shared object file')",
            "libcudart.so: cannot open shared object file",
        ),
        ("accelerate", "ImportError('no accelerate')", "no accelerate"),
    ],
)
def test_a_broken_library_is_one_line(
    runner: Runner, tiny_model: Path, tmp_path: Path, package: str, error: str, said: str
) -> None:
    broken_package(tmp_path / "broken", package, error)
    runner.env = {"PYTHONPATH": str(tmp_path / "broken")}
    ended = runner.run("--model", tiny_model, engine="transformers")

    assert ended.returncode == 78
    assert ended.stderr.splitlines() == [
        f"error: {sys.executable}: cannot run models: {said}; install torch, transformers, accelerate and pillow there"
    ]
