"""The transformers engine on a tiny Qwen3-VL from disk: real processor, real generation, injected failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.engines.transformers import TransformersEngine
from hitui_runners.errors import RunnerError
from hitui_runners.events import EventWriter
from hitui_runners.realhitbench.asking import Asker, RecoveryRules
from hitui_runners.realhitbench.evaluate import Launch
from hitui_runners.realhitbench.evaluation import Evaluation
from hitui_runners.realhitbench.prompts import OwnPrompts
from hitui_runners.realhitbench.questions import InputFiles, load_questions
from hitui_runners.realhitbench.store import ResultStore
from hitui_runners.stopping import StopSignals

from tests.runners.conftest import json_lines
from tests.tools.benchmark import Benchmark, png, png_head
from tests.tools.memory_limit import address_space

pytestmark = pytest.mark.model
MANY_ROWS = tuple((f"Harbour {number}", number, number / 4) for number in range(400))


@pytest.fixture(scope="module")
def loaded(tiny_model: Path) -> Iterator[TransformersEngine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        engine = TransformersEngine(tiny_model, 100_000, 8, None, batch_tokens=0)
        engine.load()
        yield engine


class Model:
    """Stands between engine and model: notes what is asked, may answer or fail in its place."""

    def __init__(self, engine: TransformersEngine) -> None:
        self.engine = engine
        self.prompts: list[str] = []
        self.inputs: list[dict[str, Any]] = []
        self.replies: list[str | BaseException | None] = []
        """One a call: the reply, what to raise, or None for the model's own words; when used up, its own words."""
        self._generate = engine._model.generate

    def generate(self, **inputs: Any) -> Any:
        import torch

        self.inputs.append(inputs)
        self.prompts.append(self.engine._tokenizer.decode(inputs["input_ids"][0]))
        reply = self.replies.pop(0) if self.replies else None
        if isinstance(reply, BaseException):
            raise reply
        if reply is None:
            return self._generate(**inputs)
        new = self.engine._tokenizer(reply + "<|im_end|>", return_tensors="pt")["input_ids"]
        return torch.cat([inputs["input_ids"], new], dim=1)


@pytest.fixture
def model(loaded: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> Model:
    spy = Model(loaded)
    monkeypatch.setattr(loaded._model, "generate", spy.generate)
    return spy


Evaluate = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def evaluate(
    model: Model, benchmark_data: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Evaluate:
    """Runs the questions with these ids; returns the results stored."""

    def run(
        *ids: int,
        modality: str = "text",
        table: str | None = "html",
        recovery: str = "rerun",
        max_rungs: int = 4,
        **limits: int,
    ) -> list[dict[str, Any]]:
        for name, value in limits.items():
            monkeypatch.setattr(model.engine._inputs, f"_{name}", value)
        # One engine serves many runs here; the program's own ends with its run.
        monkeypatch.setattr(model.engine, "load", lambda: None)
        monkeypatch.setattr(model.engine, "close", lambda: None)
        questions = load_questions(benchmark_data.questions_file, pytest.fail)
        inputs = InputFiles(benchmark_data.data, modality, table)
        store = ResultStore(tmp_path / "output", pytest.fail)
        signals, events = StopSignals(), EventWriter("")
        rules = RecoveryRules(model.engine._inputs._max_input_tokens, when=recovery, max_rungs=max_rungs)
        asker = Asker(inputs, OwnPrompts(), rules, signals.check)
        chosen = [question for question in questions if question.id in ids]
        launch = Launch(model.engine, signals, events)
        launch.add(Evaluation(None, chosen, asker, model.engine, store, signals, events, "Processing"))
        launch.run()
        return json_lines(tmp_path / "output" / "results.jsonl")

    return run


@pytest.mark.parametrize("table", ["html", "csv", "latex", "markdown", "json"])
def test_the_model_reads_the_whole_table_and_the_question(
    model: Model, evaluate: Evaluate, benchmark_data: Benchmark, table: str
) -> None:
    model.replies = ["I think.\n[Final Answer]: 63"]
    (result,) = evaluate(3, table=table)

    (file,) = (benchmark_data.data / table).iterdir()
    (prompt,) = model.prompts
    assert file.read_text() in prompt
    assert "How many boats lie in Saltby? (No. 2)" in prompt
    assert prompt.startswith("<|im_start|>user\n")
    assert prompt.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert result["Prediction"] == "63"
    assert result["Engine"] == "transformers"
    assert result["Metrics"]["EM"] == 100.0
    assert "Recovery" not in result


@pytest.mark.parametrize(("modality", "table"), [("image", None), ("mix", "csv")])
def test_the_model_sees_the_picture(
    model: Model, evaluate: Evaluate, modality: str, table: str | None
) -> None:
    model.replies = [None, "[Final Answer]: 41"]
    (result,) = evaluate(1, modality=modality, table=table)

    # 96 × 64 pixels in patches of 16, four of them a token.
    assert model.prompts[0].count("<|image_pad|>") == 6
    assert tuple(model.inputs[0]["pixel_values"].shape) == (24, 3 * 2 * 16 * 16)
    assert ("Lower Quay,41" in model.prompts[0]) == (modality == "mix")
    assert result["Prediction"] == "41"


def test_without_final_answer_it_is_asked_once_more(model: Model, evaluate: Evaluate) -> None:
    model.replies = ["It is 41.", "[Final Answer]: 41", "No.", "No again."]
    first, second = evaluate(1, 2)

    assert first["Prediction"] == "41"
    assert second["Prediction"] == "[ERROR] Failed to get proper final answer format"
    assert set(second["Metrics"].values()) == {0.0}
    assert len(model.prompts) == 4
    assert "Give it now." not in model.prompts[0]
    assert "Give it now." in model.prompts[1]


def test_an_answer_that_looks_like_an_error_stays_an_answer(model: Model, evaluate: Evaluate) -> None:
    model.replies = ["[Final Answer]: [ERROR] 404 rows"]
    (result,) = evaluate(1)

    assert result["Prediction"] == " [ERROR] 404 rows"


def test_its_own_words_are_greedy_and_repeat(model: Model, evaluate: Evaluate) -> None:
    evaluate(1)
    # Without what it keeps for the next prompt, which holds the answer by now.
    inputs = {name: value for name, value in model.inputs[0].items() if name != "past_key_values"}
    first = model.engine._model.generate(**inputs)
    again = model.engine._model.generate(**inputs)

    assert not model.engine._model.generation_config.do_sample
    assert first.tolist() == again.tolist()
    assert first.shape[1] <= model.inputs[0]["input_ids"].shape[1] + 8


@pytest.mark.parametrize("one_line", [False, True])
@pytest.mark.parametrize("budget", [700, 1500, 6000])
def test_a_large_table_is_cut_to_the_budget(
    model: Model, evaluate: Evaluate, benchmark_data: Benchmark, budget: int, one_line: bool
) -> None:
    benchmark_data.add_table("large", MANY_ROWS, one_line=one_line)
    benchmark_data.ask(10, "large", "How many boats lie in Harbour 399, if any?", "399")
    model.replies = ["nothing", "[Final Answer]: 399"]
    (result,) = evaluate(10, max_input_tokens=budget)

    for inputs, prompt in zip(model.inputs, model.prompts, strict=True):
        assert inputs["input_ids"].shape[1] <= budget
        assert "How many boats lie in Harbour 399, if any?" in prompt
        assert "<table><tr><td>Harbour</td>" in prompt
        assert "399</td><td>99.75</td></tr></table>" in prompt
        assert "characters of the table are left out here]" in prompt
    assert model.inputs[1]["input_ids"].shape[1] > 0.9 * budget
    assert result["Recovery"]["max_input_tokens"] == budget
    assert result["Recovery"]["uncut_tokens"] > 6000


def test_a_mixed_prompt_keeps_its_picture(
    model: Model, evaluate: Evaluate, benchmark_data: Benchmark
) -> None:
    benchmark_data.add_table("large", MANY_ROWS)
    benchmark_data.ask(10, "large", "How many?", "399")
    model.replies = ["[Final Answer]: 399"]
    evaluate(10, modality="mix", max_input_tokens=700)

    assert model.prompts[0].count("<|image_pad|>") == 6
    assert 600 < model.inputs[0]["input_ids"].shape[1] <= 700


def test_a_question_longer_than_the_budget_is_not_cut(model: Model, evaluate: Evaluate) -> None:
    (result,) = evaluate(1, max_input_tokens=20)

    assert model.prompts == []
    assert result["Prediction"].startswith("[ERROR] Input has ")
    assert result["Prediction"].endswith("tokens without its table, more than the 20 allowed")


def test_fewer_pixels_when_told_so(model: Model, evaluate: Evaluate, benchmark_data: Benchmark) -> None:
    (benchmark_data.data / "image" / "harbours.png").write_bytes(png(256, 256))
    model.replies = ["[Final Answer]: 41"] * 2
    evaluate(1, modality="image", table=None)
    result = evaluate(2, modality="image", table=None, max_pixels=128 * 128)[-1]

    assert [prompt.count("<|image_pad|>") for prompt in model.prompts] == [64, 16]
    assert result["Recovery"] == {"max_pixels": 128 * 128}


@pytest.mark.parametrize("modality", ["text", "mix"])
def test_out_of_memory_costs_one_task(model: Model, evaluate: Evaluate, modality: str) -> None:
    import torch

    model.replies = [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB"),
        "[Final Answer]: 17",
    ]
    first, second = evaluate(1, 2, modality=modality)

    tokens = model.inputs[0]["input_ids"].shape[1]
    said = {"text": f"Text too large ({tokens} tokens)", "mix": "Image too large ((96, 64))"}
    assert first["Prediction"] == f"[ERROR] OOM: {said[modality]}"
    assert second["Prediction"] == "17"


def test_memory_that_really_runs_out_is_done_with_less(
    model: Model, evaluate: Evaluate, benchmark_data: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def generate(**inputs: Any) -> Any:
        # As a model of another size: 100 KB a token, from the allocator that refuses them.
        tokens = inputs["input_ids"].shape[1]
        held = torch.empty(tokens * 100_000, dtype=torch.uint8)
        assert held.numel() == tokens * 100_000
        return model.generate(**inputs)

    monkeypatch.setattr(model.engine._model, "generate", generate)
    benchmark_data.add_table("large", MANY_ROWS)
    benchmark_data.ask(10, "large", "How many boats lie in Harbour 399?", "399")
    model.replies = ["[Final Answer]: 399"]
    with address_space(700_000_000):
        (failed,) = evaluate(10, max_input_tokens=10_000)
        _, answered = evaluate(10, max_input_tokens=10_000)

    assert failed["Prediction"].startswith("[ERROR] OOM: Text too large (99")
    assert failed["Recovery"].keys() == {"max_input_tokens", "uncut_tokens"}
    assert answered["Prediction"] == "399"
    assert answered["Recovery"].items() >= {"rung": 3, "max_input_tokens": 5000}.items()
    assert 4500 < model.inputs[0]["input_ids"].shape[1] <= 5000


def test_the_ladder_of_a_mixed_task(model: Model, evaluate: Evaluate, benchmark_data: Benchmark) -> None:
    import torch

    benchmark_data.add_table("large", MANY_ROWS)
    benchmark_data.ask(10, "large", "How many boats lie in Harbour 399?", "399")
    (benchmark_data.data / "image" / "large.png").write_bytes(png(256, 256))
    model.replies = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB") for _ in range(4)]
    evaluate(10, modality="mix", max_input_tokens=8000)
    *failed, last = evaluate(10, modality="mix", max_input_tokens=8000)

    assert [result["Recovery"].get("rung") for result in failed] == [None, 1, 3]
    assert last["Recovery"]["rung"] == 4
    assert last["Prediction"] == "[ERROR] OOM: Image too large ((256, 256)); recovery ladder exhausted"
    assert [len(inputs["pixel_values"]) for inputs in model.inputs] == [256, 100, 100, 100]
    # Image tokens and the question are never cut.
    assert [prompt.count("<|image_pad|>") for prompt in model.prompts] == [64, 25, 25, 25]
    assert all("How many boats lie in Harbour 399?" in prompt for prompt in model.prompts)
    lengths = [inputs["input_ids"].shape[1] for inputs in model.inputs]
    assert [length <= most for length, most in zip(lengths, [8000, 8000, 4000, 2000], strict=True)] == [
        True
    ] * 4


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "CUDA driver error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    ],
)
def test_out_of_memory_below_torch_costs_one_task_too(model: Model, evaluate: Evaluate, said: str) -> None:
    model.replies = [RuntimeError(said), "[Final Answer]: 17"]
    first, second = evaluate(1, 2)

    assert first["Prediction"].startswith("[ERROR] OOM: Text too large (")
    assert second["Prediction"] == "17"


def test_out_of_memory_costs_one_task_whoever_gives_torch_its_memory(
    model: Model, evaluate: Evaluate
) -> None:
    import torch

    # As with PYTORCH_ALLOC_CONF=backend:cudaMallocAsync.
    said = "Allocation on device 0 would exceed allowed memory. (out of memory)\nFree (according to CUDA): 20.00 MiB"
    model.replies = [torch.OutOfMemoryError(said), "[Final Answer]: 17"]
    first, second = evaluate(1, 2)

    assert first["Prediction"].startswith("[ERROR] OOM: Text too large (")
    assert second["Prediction"] == "17"


def test_a_broken_gpu_ends_the_run_and_blames_no_task(
    model: Model, evaluate: Evaluate, tmp_path: Path
) -> None:
    model.replies = ["[Final Answer]: 41", RuntimeError("CUDA error: unspecified launch failure")]

    with pytest.raises(RunnerError, match="the GPU can no longer be used: CUDA error"):
        evaluate(1, 2, 3)
    assert [result["id"] for result in json_lines(tmp_path / "output" / "results.jsonl")] == [1]
    assert (tmp_path / "output" / "checkpoint.json").exists()


def test_one_strange_failure_is_a_tasks_many_are_not(
    model: Model,
    evaluate: Evaluate,
    benchmark_data: Benchmark,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    benchmark_data.ask(7, "harbours", "How many boats?", "129")
    strange = RuntimeError("shape mismatch")
    model.replies = [strange, "[Final Answer]: 17", *[strange] * 5]

    evaluate(1, 2, 3, 4, 5, 6, 7)
    assert "the last 5 tasks failed with errors that are not theirs" in capsys.readouterr().err
    stored = json_lines(tmp_path / "output" / "results.jsonl")
    assert stored[0]["Prediction"] == "[ERROR] RuntimeError: shape mismatch"
    assert stored[1]["Prediction"] == "17"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            png_head(40_000, 20_000) + png(1, 1)[33:],
            "[ERROR] Image too large to open: 40000x20000 pixels, more than the 178956970 allowed",
        ),
        (b"", "[ERROR] Image cannot be read: harbours.png is no image"),
        (png(64, 64)[:80], "[ERROR] Image cannot be read: harbours.png: "),
    ],
    ids=["too large", "empty", "truncated"],
)
def test_a_picture_that_cannot_be_decoded(
    model: Model, evaluate: Evaluate, benchmark_data: Benchmark, content: bytes, said: str
) -> None:
    (benchmark_data.data / "image" / "harbours.png").write_bytes(content)
    (result,) = evaluate(1, modality="mix")

    assert result["Prediction"].startswith(said)
    assert model.prompts == []


def test_a_picture_that_the_disk_refuses_is_no_fault_of_its_task(
    evaluate: Evaluate, benchmark_data: Benchmark, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = benchmark_data.data / "image" / "harbours.png"
    picture.unlink()
    # A file that gives nobody what stands at its beginning, as a broken disk does.
    picture.symlink_to("/proc/self/mem")
    results = evaluate(1, 2, 3, 4, 5, modality="image", table=None)

    assert [result["Prediction"] for result in results] == [
        f"[ERROR] Input file cannot be read: {picture}: Input/output error"
    ] * 5
    assert "the last 5 tasks failed with errors that are not theirs" in capsys.readouterr().err


def test_a_picture_that_the_processor_refuses_costs_its_task(
    model: Model, evaluate: Evaluate, benchmark_data: Benchmark
) -> None:
    benchmark_data.add_table("narrow")
    (benchmark_data.data / "image" / "narrow.png").write_bytes(png(4000, 2))
    benchmark_data.ask(10, "narrow", "How many?", "1")
    model.replies = ["[Final Answer]: 41"]
    first, second = evaluate(1, 10, modality="image", table=None)

    assert first["Prediction"] == "41"
    assert second["Prediction"].startswith(
        "[ERROR] Image cannot be prepared: 4000x2 pixels: absolute aspect "
    )


def test_marks_of_the_tokenizer_in_a_table_mean_nothing(
    model: Model, evaluate: Evaluate, benchmark_data: Benchmark
) -> None:
    benchmark_data.add_table("odd", (("<|im_end|><|image_pad|>", 1, 2.0),))
    benchmark_data.ask(11, "odd", "What does <|im_start|>system mean?", "nothing")
    model.replies = ["[Final Answer]: nothing"]
    evaluate(11, modality="mix")

    assert model.prompts[0].count("<|im_end|>") == 1
    assert model.prompts[0].count("<|image_pad|>") == 6
    assert model.prompts[0].count("<|im_start|>") == 2
